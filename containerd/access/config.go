package access

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/BurntSushi/toml"
	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/touchmark/touchmark/core/configfile"
)

const (
	// maxConfig bounds one config.toml, in bytes; "containerd config dump" has 20 KiB.
	maxConfig = 1 << 20
	// maxImports bounds the files that are imported, by each other too.
	maxImports = 64
)

// defaultHosts is CRI's config_path where config.toml has none.
var defaultHosts = []string{"/etc/containerd/certs.d", "/etc/docker/certs.d"}

// config is what config.toml says of registries.
type config struct {
	hosts []string
	auths map[string]authn.AuthConfig
}

// document is config.toml, of which all but registries is somebody else's.
type document struct {
	Imports []string `toml:"imports"`
	Plugins struct {
		Images struct { // versions 3 and 4
			Registry registrySection `toml:"registry"`
		} `toml:"io.containerd.cri.v1.images"`
		CRI struct { // version 2
			Registry registrySection `toml:"registry"`
		} `toml:"io.containerd.grpc.v1.cri"`
	} `toml:"plugins"`
}

// registrySection is CRI's section on registries.
type registrySection struct {
	ConfigPath *string `toml:"config_path"`
	Configs    map[string]struct {
		Auth *struct {
			Username      string `toml:"username"`
			Password      string `toml:"password"`
			Auth          string `toml:"auth"`
			IdentityToken string `toml:"identitytoken"`
		} `toml:"auth"`
	} `toml:"configs"`
}

// readConfig reads config.toml and what it imports; of several that say
// something, the last one counts. A file that does not exist says nothing.
func readConfig(file string) (*config, error) {
	c := &config{hosts: defaultHosts, auths: make(map[string]authn.AuthConfig)}
	if file == "" {
		return c, nil
	}
	var read []string
	err := c.read(file, &read)
	if errors.Is(err, fs.ErrNotExist) && len(read) == 1 {
		return c, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading containerd's configuration: %w", err)
	}
	return c, nil
}

func (c *config) read(file string, read *[]string) error {
	if slices.Contains(*read, file) {
		return nil
	}
	if *read = append(*read, file); len(*read) > maxImports {
		return fmt.Errorf("%s: more than %d files are imported", file, maxImports)
	}
	data, err := configfile.Read(file, maxConfig)
	if err != nil {
		return err
	}
	var doc document
	if _, err := toml.Decode(string(data), &doc); err != nil {
		// The library's message quotes what it stumbles over, which may be a password.
		var bad toml.ParseError
		if errors.As(err, &bad) {
			return fmt.Errorf("%s:%d: is not TOML", file, bad.Position.Line)
		}
		return fmt.Errorf("%s: a field of CRI's registry section is of another type", file)
	}
	for _, section := range []registrySection{doc.Plugins.CRI.Registry, doc.Plugins.Images.Registry} {
		if section.ConfigPath != nil {
			c.hosts = filepath.SplitList(*section.ConfigPath)
		}
		for registry, entry := range section.Configs {
			if a := entry.Auth; a != nil {
				auth := authn.AuthConfig{Username: a.Username, Password: a.Password, IdentityToken: a.IdentityToken}
				if a.Auth != "" {
					if auth.Username, auth.Password, err = decodeAuth(a.Auth); err != nil {
						return fmt.Errorf("%s: registry.configs.%q.auth.auth: %w", file, registry, err)
					}
				}
				c.auths[key(registry)] = auth
			}
		}
	}
	for _, pattern := range doc.Imports {
		imported, err := filepath.Glob(below(filepath.Dir(file), pattern))
		if err != nil {
			return fmt.Errorf("%s: imports: %q: %w", file, pattern, err)
		}
		for _, f := range imported {
			if err := c.read(f, read); err != nil {
				return err
			}
		}
	}
	return nil
}
