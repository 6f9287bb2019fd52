package access

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/pkg/docker/config"
	"go.podman.io/image/v5/pkg/sysregistriesv2"
	"go.podman.io/image/v5/types"

	"github.com/touchmark/touchmark/core/configfile"
	"github.com/touchmark/touchmark/core/credhelper"
)

// maxAuthFile bounds an auth file, in bytes. An entry has some hundred, with a cloud's token 4 KiB.
const maxAuthFile = 1 << 20

// noConf is read by the library in the place of registries.conf, which has been read.
const noConf = "/dev/null"

// keychain finds credentials as containers/image does: what is asked for is looked up anew each time.
type keychain struct{ access *Access }

// Resolve is [keychain.ResolveContext].
func (k keychain) Resolve(target authn.Resource) (authn.Authenticator, error) {
	return k.ResolveContext(context.Background(), target)
}

// ResolveContext finds the credentials for a repository or a registry; none is [authn.Anonymous]. An error names the file or the program.
func (k keychain) ResolveContext(ctx context.Context, target authn.Resource) (authn.Authenticator, error) {
	key, registry := target.String(), target.RegistryStr()
	if key != registry {
		named, err := reference.ParseNormalizedNamed(key)
		if err != nil {
			return nil, fmt.Errorf("repository %q: %w", key, err)
		}
		key, registry = named.Name(), reference.Domain(named)
	} else if registry == "index.docker.io" {
		key, registry = "docker.io", "docker.io"
	}
	found, err := k.access.credentials(ctx, key, registry)
	if err != nil {
		return nil, err
	}
	if found == (types.DockerAuthConfig{}) {
		return authn.Anonymous, nil
	}
	return authn.FromConfig(authn.AuthConfig{Username: found.Username, Password: found.Password, IdentityToken: found.IdentityToken}), nil
}

// credentials asks the credential helpers of registries.conf, of which one stands for the auth files and is the only one by default. As in the library, one that
// fails is an error only if no other has credentials.
func (a *Access) credentials(ctx context.Context, key, registry string) (types.DockerAuthConfig, error) {
	helpers := a.conf.helpers
	if len(helpers) == 0 {
		helpers = []string{sysregistriesv2.AuthenticationFileHelper}
	}
	var errs []error
	for _, helper := range helpers {
		var found types.DockerAuthConfig
		var err error
		if helper == sysregistriesv2.AuthenticationFileHelper {
			found, err = a.fromFiles(ctx, key, registry)
		} else {
			found, err = a.fromHelper(ctx, helper, registry)
		}
		if err == nil && found != (types.DockerAuthConfig{}) {
			return found, nil
		}
		errs = append(errs, err)
	}
	return types.DockerAuthConfig{}, errors.Join(errs...)
}

// fromFiles looks through the auth files. One that can't be read ends the search.
func (a *Access) fromFiles(ctx context.Context, key, registry string) (types.DockerAuthConfig, error) {
	for _, file := range a.authFiles {
		found, err := a.fromFile(ctx, file, key, registry)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return types.DockerAuthConfig{}, err
		}
		if found != (types.DockerAuthConfig{}) {
			return found, nil
		}
	}
	return types.DockerAuthConfig{}, nil
}

// fromFile reads one file with the library, but for its credential helpers, which the library would wait for without limit.
func (a *Access) fromFile(ctx context.Context, file, key, registry string) (types.DockerAuthConfig, error) {
	text, err := configfile.Read(file, maxAuthFile)
	if err != nil {
		return types.DockerAuthConfig{}, fmt.Errorf("reading credentials: %w", err) // names the file
	}
	var helpers struct {
		CredHelpers map[string]string `json:"credHelpers"`
	}
	if err := json.Unmarshal(text, &helpers); err != nil {
		return types.DockerAuthConfig{}, fmt.Errorf("reading credentials: %s: %w: log in anew, or mend the file", file, withoutText(err))
	}
	if helper, ok := helpers.CredHelpers[registry]; ok {
		return a.fromHelper(ctx, helper, registry)
	}
	found, err := config.GetCredentials(&types.SystemContext{AuthFilePath: file, SystemRegistriesConfPath: noConf, SystemRegistriesConfDirPath: nowhere}, key)
	if err != nil {
		return types.DockerAuthConfig{}, fmt.Errorf("reading credentials for %s: %s: %w: log in anew, or mend the file", key, file, err)
	}
	return found, nil
}

// withoutText keeps what may be a secret out of an error: some of encoding/json's quote what they stumble over.
func withoutText(err error) error {
	if bad := (*json.UnmarshalTypeError)(nil); errors.As(err, &bad) {
		return fmt.Errorf("%s is not of the right type", strings.TrimPrefix(bad.Field, "."))
	}
	return errors.New("not JSON")
}

// fromHelper asks a credential helper.
func (a *Access) fromHelper(ctx context.Context, helper, registry string) (types.DockerAuthConfig, error) {
	found, err := credhelper.Get(ctx, helper, registry, a.helperTimeout)
	return types.DockerAuthConfig{Username: found.Username, Password: found.Password, IdentityToken: found.IdentityToken}, err
}
