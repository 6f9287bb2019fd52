package config

import (
	"fmt"
	"net/url"
	"path/filepath"

	"github.com/touchmark/touchmark/containerd"
)

// Registries is what CRI's configuration says of registries, with the credentials
// in it, which a [Config] does not have: that one is shown.
type Registries struct {
	// HostsDirs are the directories of hosts.toml, those of config_path.
	HostsDirs []string
	// Auths are the credentials, by the registry as registry.configs names it, or by
	// the host of a URL in registry.auths.
	Auths map[string]Auth
}

// Auth is credentials for a registry. It does not show them.
type Auth struct {
	Username      string `toml:"username"`
	Password      string `toml:"password"`
	Auth          string `toml:"auth"` // base64 of NAME:PASSWORD
	IdentityToken string `toml:"identitytoken"`
}

// String implements [fmt.Stringer].
func (Auth) String() string { return "credentials" }

// GoString implements [fmt.GoStringer].
func (a Auth) GoString() string { return a.String() }

// LoadRegistries reads what [Load] does, by the same rules.
func LoadRegistries(h containerd.Host, main string, release Release) (*Registries, error) {
	r, err := loadRegistries(h, h.Within(main), release)
	if err != nil {
		return nil, fmt.Errorf("reading containerd's configuration: %w", err)
	}
	return r, nil
}

func loadRegistries(h containerd.Host, main string, release Release) (*Registries, error) {
	files, err := (&reader{host: h}).all(main)
	if err != nil {
		return nil, err
	}
	merged, err := mergeAll(files, release)
	if err != nil {
		return nil, err
	}
	images := defaults(release).images
	if err := decode(merged.Plugins, pluginImages, &images); err != nil {
		return nil, fmt.Errorf("%splugins.%q: %w", culprit(files, pluginImages), pluginImages, err)
	}
	out := &Registries{HostsDirs: filepath.SplitList(images.configPath(release)), Auths: make(map[string]Auth)}
	for registry, c := range images.Registry.Configs {
		if c.Auth != nil {
			out.Auths[registry] = *c.Auth
		}
	}
	for endpoint, auth := range images.Registry.Auths {
		u, err := url.Parse(endpoint)
		if err != nil {
			return nil, fmt.Errorf("registry.auths: %q is not a URL", endpoint)
		}
		if u.Scheme != "" {
			endpoint = u.Host
		}
		out.Auths[endpoint] = auth // containerd prefers them to those of registry.configs, too
	}
	return out, nil
}
