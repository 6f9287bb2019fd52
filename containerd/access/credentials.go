package access

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/touchmark/touchmark/core/configfile"
)

// maxAuthFile bounds a file with credentials, in bytes. An entry has some hundred,
// with a cloud's token 4 KiB.
const maxAuthFile = 1 << 20

// credentials are those of this host, by registry or namespace.
type credentials struct{ auths []map[string]authn.AuthConfig }

// credentials reads the files, and containerd's configuration last.
func (a *Access) credentials() (*credentials, error) {
	c := new(credentials)
	for _, file := range a.config.Credentials {
		auths, err := readAuths(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading credentials: %w", err)
		}
		c.auths = append(c.auths, auths)
	}
	config, err := readConfig(a.config.Containerd)
	if err != nil {
		return nil, err
	}
	c.auths = append(c.auths, config.auths)
	return c, nil
}

// find returns the credentials for a repository: of the first file that has any,
// those with the longest name. nil is none.
func (c *credentials) find(repository string) *authn.AuthConfig {
	if rest, ok := strings.CutPrefix(repository, "registry-1.docker.io/"); ok {
		repository = "docker.io/" + rest
	}
	for _, auths := range c.auths {
		for scope := repository; ; {
			if auth, ok := auths[scope]; ok {
				return &auth
			}
			i := strings.LastIndexByte(scope, '/')
			if i < 0 {
				break
			}
			scope = scope[:i]
		}
	}
	return nil
}

// readAuths reads a file in the format of Docker's config.json. No error has any
// of the file's text, which may be a secret.
func readAuths(file string) (map[string]authn.AuthConfig, error) {
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
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("%s: is not JSON as Docker's config.json has it", file)
	}
	exact, auths := make(map[string]authn.AuthConfig), make(map[string]authn.AuthConfig)
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
		auths[key(registry)] = auth
		if key(registry) == registry {
			exact[registry] = auth
		}
	}
	maps.Copy(auths, exact) // of two spellings the plain one counts
	return auths, nil
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

// keychain gives credentials to the one registry that they are for.
type keychain struct {
	registry string
	auth     authn.Authenticator
}

// Resolve returns the credentials, or none for another registry.
func (k keychain) Resolve(target authn.Resource) (authn.Authenticator, error) {
	if target.RegistryStr() != k.registry {
		return authn.Anonymous, nil
	}
	return k.auth, nil
}
