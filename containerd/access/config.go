package access

import (
	"fmt"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/touchmark/touchmark/containerd"
	"github.com/touchmark/touchmark/containerd/config"
)

// registries is what config.toml and what it imports say, by the rules of the newest
// release: the node's own is not known, and they differ in what no registry is about.
func (a *Access) registries() (*config.Registries, error) {
	return config.LoadRegistries(containerd.Host{}, a.config.Containerd, config.Newest())
}

// auths are the credentials, by registry.
func auths(r *config.Registries) (map[string]authn.AuthConfig, error) {
	out := make(map[string]authn.AuthConfig, len(r.Auths))
	for registry, a := range r.Auths {
		auth := authn.AuthConfig{Username: a.Username, Password: a.Password, IdentityToken: a.IdentityToken}
		if a.Auth != "" {
			var err error
			if auth.Username, auth.Password, err = decodeAuth(a.Auth); err != nil {
				return nil, fmt.Errorf("reading containerd's configuration: registry.configs.%q.auth.auth: %w", registry, err)
			}
		}
		out[key(registry)] = auth
	}
	return out, nil
}
