package service

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	dockerconfig "github.com/docker/cli/cli/config/configfile"
	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/touchmark/touchmark/core/configfile"
	"github.com/touchmark/touchmark/core/credhelper"
	"github.com/touchmark/touchmark/registry-proxy/config"
)

const (
	// maxDockerConfig bounds a config.json, in bytes.
	maxDockerConfig = 1 << 20
	// maxSecret bounds a password's file, in bytes; cloud registries' tokens have 4 KiB.
	maxSecret = 64 << 10
)

// keychain is where credentials for an upstream come from; nil is nowhere. The files
// are read with each handshake, and now, so that one that is missing is found at once.
func keychain(c config.Credentials) (authn.Keychain, error) {
	var k authn.Keychain
	switch {
	case c.DockerConfig != "":
		k = dockerConfig(c.DockerConfig)
	case c.Username != "":
		k = password(c)
	case c.Account:
		return authn.DefaultKeychain, nil
	default:
		return nil, nil
	}
	_, err := k.Resolve(nowhere{})
	return k, err
}

// nowhere is a registry that nobody has credentials for.
type nowhere struct{}

func (nowhere) String() string      { return "registry.invalid" }
func (nowhere) RegistryStr() string { return "registry.invalid" }

// dockerConfig is the path of a file in the format of Docker's config.json, with its
// credential helpers.
type dockerConfig string

// Resolve implements authn.Keychain.
func (file dockerConfig) Resolve(target authn.Resource) (authn.Authenticator, error) {
	return file.ResolveContext(context.Background(), target)
}

// ResolveContext implements authn.ContextKeychain. No error holds the file's text, which may be a secret.
func (file dockerConfig) ResolveContext(ctx context.Context, target authn.Resource) (authn.Authenticator, error) {
	data, err := configfile.Read(string(file), maxDockerConfig)
	if err != nil {
		return nil, err
	}
	parsed := dockerconfig.New(string(file))
	if parsed.LoadFromReader(bytes.NewReader(data)) != nil {
		return nil, fmt.Errorf("%s: is not JSON as Docker's config.json has it", file)
	}
	if target == (nowhere{}) {
		return authn.Anonymous, nil // without asking a credential helper
	}
	for _, key := range []string{target.String(), target.RegistryStr()} {
		if key == "index.docker.io" {
			key = authn.DefaultAuthKey
		}
		found := parsed.AuthConfigs[key]
		auth := authn.AuthConfig{Username: found.Username, Password: found.Password, Auth: found.Auth, IdentityToken: found.IdentityToken, RegistryToken: found.RegistryToken}
		if helper := cmp.Or(parsed.CredentialHelpers[key], parsed.CredentialsStore); helper != "" {
			if auth, err = credhelper.Get(ctx, helper, key, credhelper.Timeout); err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
		}
		if auth != (authn.AuthConfig{}) {
			return authn.FromConfig(auth), nil
		}
	}
	return authn.Anonymous, nil
}

// password is a name, and a password in a file.
type password config.Credentials

// Resolve implements authn.Keychain.
func (p password) Resolve(authn.Resource) (authn.Authenticator, error) {
	data, err := configfile.Read(p.PasswordFile, maxSecret)
	if err != nil {
		return nil, err
	}
	secret := strings.TrimRight(string(data), "\r\n")
	if secret == "" {
		return nil, errors.New(p.PasswordFile + ": is empty")
	}
	return &authn.Basic{Username: p.Username, Password: secret}, nil
}
