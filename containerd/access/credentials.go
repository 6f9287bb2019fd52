package access

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/touchmark/touchmark/containerd/kubelet"
	"github.com/touchmark/touchmark/core/configfile"
	"github.com/touchmark/touchmark/core/credhelper"
)

const (
	// maxAuthFile bounds a file with credentials, in bytes. An entry has some
	// hundred, with a cloud's token 4 KiB.
	maxAuthFile = 1 << 20
	// helperTimeout is below credhelper's, since all places together have eight
	// seconds.
	helperTimeout = 5 * time.Second
	// hubServer is what Docker calls Docker Hub when it asks a helper.
	hubServer = "https://index.docker.io/v1/"
)

// keychain finds credentials for one repository when they are needed: an answer
// that is known needs none. It gives them to that one registry.
type keychain struct {
	access   *Access
	physical string
	registry string
}

// Resolve is [keychain.ResolveContext].
func (k keychain) Resolve(target authn.Resource) (authn.Authenticator, error) {
	return k.ResolveContext(context.Background(), target)
}

// ResolveContext returns the credentials, or none for another registry.
func (k keychain) ResolveContext(ctx context.Context, target authn.Resource) (authn.Authenticator, error) {
	if target.RegistryStr() != k.registry {
		return authn.Anonymous, nil
	}
	found, err := k.access.find(ctx, k.physical)
	if err != nil {
		return nil, err
	}
	if found == (authn.AuthConfig{}) {
		return authn.Anonymous, nil
	}
	return authn.FromConfig(found), nil
}

// find looks for the credentials of a repository in the order that the package's
// comment states. A file that can't be read ends the search; a program that fails
// is an error only if nothing else has credentials.
func (a *Access) find(ctx context.Context, repository string) (authn.AuthConfig, error) {
	if rest, ok := strings.CutPrefix(repository, "registry-1.docker.io/"); ok {
		repository = "docker.io/" + rest
	}
	var failed error
	for _, file := range a.config.Credentials {
		auths, err := readAuthFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return authn.AuthConfig{}, fmt.Errorf("reading credentials: %w", err)
		}
		found, err := auths.find(ctx, repository)
		if found != (authn.AuthConfig{}) {
			return found, nil
		}
		failed = cmp.Or(failed, err)
	}
	providers, err := a.kubelet()
	if err != nil {
		return authn.AuthConfig{}, err
	}
	if providers != nil {
		found, err := providers.Get(ctx, repository)
		if found != (authn.AuthConfig{}) {
			return found, nil
		}
		failed = cmp.Or(failed, err)
	}
	registries, err := a.registries()
	if err != nil {
		return authn.AuthConfig{}, err
	}
	all, err := auths(registries)
	if err != nil {
		return authn.AuthConfig{}, err
	}
	if found, ok := longest(all, repository); ok {
		return found, nil
	}
	return authn.AuthConfig{}, failed
}

// kubelet are the credential providers, read again when their configuration
// changes; nil where none is configured.
func (a *Access) kubelet() (*kubelet.Providers, error) {
	c := a.config.Providers
	if c.File == "" {
		return nil, nil
	}
	var state string
	if info, err := os.Stat(c.File); err == nil {
		state = fmt.Sprint(info.Size(), info.ModTime().UnixNano())
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.providers == nil || a.providersState != state {
		opened, err := kubelet.Open(c)
		if err != nil {
			return nil, err
		}
		a.providers, a.providersState = opened, state
	}
	return a.providers, nil
}

// longest is what stands under the longest prefix of a name.
func longest[T any](all map[string]T, name string) (found T, ok bool) {
	for {
		if found, ok = all[name]; ok {
			return found, true
		}
		i := strings.LastIndexByte(name, '/')
		if i < 0 {
			return found, false
		}
		name = name[:i]
	}
}

// authFile is a file in the format of Docker's config.json.
type authFile struct {
	auths   map[string]authn.AuthConfig // by registry or namespace
	helpers map[string]string           // by registry
	store   string                      // the helper for all others
}

// find asks the registry's own helper, or else looks into the file, and asks the
// helper for all registries last.
func (f *authFile) find(ctx context.Context, repository string) (authn.AuthConfig, error) {
	registry, _, _ := strings.Cut(repository, "/")
	server := registry
	if registry == "docker.io" {
		server = hubServer
	}
	if helper, ok := f.helpers[registry]; ok {
		return credhelper.Get(ctx, helper, server, helperTimeout)
	}
	if found, ok := longest(f.auths, repository); ok {
		return found, nil
	}
	if f.store != "" {
		return credhelper.Get(ctx, f.store, server, helperTimeout)
	}
	return authn.AuthConfig{}, nil
}

// readAuthFile reads a file. No error has any of its text, which may be a secret.
func readAuthFile(file string) (*authFile, error) {
	data, err := configfile.Read(file, maxAuthFile)
	if err != nil {
		return nil, err
	}
	var doc struct {
		Auths map[string]struct {
			Auth          string `json:"auth"`
			Username      string `json:"username"`
			Password      string `json:"password"`
			IdentityToken string `json:"identitytoken"`
			RegistryToken string `json:"registrytoken"`
		} `json:"auths"`
		CredHelpers map[string]string `json:"credHelpers"`
		CredsStore  string            `json:"credsStore"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("%s: is not JSON as Docker's config.json has it", file)
	}
	f := &authFile{auths: make(map[string]authn.AuthConfig), helpers: make(map[string]string), store: doc.CredsStore}
	exact := make(map[string]authn.AuthConfig)
	for registry, e := range doc.Auths {
		auth := authn.AuthConfig{Username: e.Username, Password: e.Password, IdentityToken: e.IdentityToken, RegistryToken: e.RegistryToken}
		if e.Auth != "" {
			if auth.Username, auth.Password, err = decodeAuth(e.Auth); err != nil {
				return nil, fmt.Errorf("%s: auths.%q.auth: %w", file, registry, err)
			}
		}
		if auth == (authn.AuthConfig{}) {
			continue // what a credential helper keeps
		}
		f.auths[key(registry)] = auth
		if key(registry) == registry {
			exact[registry] = auth
		}
	}
	maps.Copy(f.auths, exact) // of two spellings the plain one counts
	for registry, helper := range doc.CredHelpers {
		f.helpers[key(registry)] = helper
	}
	for registry, helper := range doc.CredHelpers {
		if key(registry) == registry {
			f.helpers[registry] = helper
		}
	}
	for _, helper := range append(slices.Collect(maps.Values(f.helpers)), f.store) {
		if strings.ContainsAny(helper, `/\ `) {
			return nil, fmt.Errorf("%s: a credential helper's name is not that of a program", file)
		}
	}
	return f, nil
}

// key is the name that a registry's or namespace's credentials are kept under:
// older files have URLs.
func key(registry string) string {
	for _, scheme := range []string{"https://", "http://"} {
		registry = strings.TrimPrefix(registry, scheme)
	}
	for _, version := range []string{"/", "/v1", "/v2"} {
		registry = strings.TrimSuffix(registry, version)
	}
	switch registry {
	case "index.docker.io", "registry-1.docker.io":
		return "docker.io"
	}
	return registry
}

// decodeAuth is the user's name and password of base64("name:password").
func decodeAuth(text string) (user, password string, err error) {
	raw, err := base64.StdEncoding.DecodeString(text)
	user, password, ok := strings.Cut(strings.TrimRight(string(raw), "\x00"), ":")
	if err != nil || !ok {
		return "", "", errors.New("is not base64 of NAME:PASSWORD")
	}
	return user, password, nil
}
