package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/touchmark/touchmark/containerd"
)

// Load reads config.toml, with or without the host's root before it, and what
// it imports, as a release of containerd does, and fills in its defaults. A
// file that does not exist is an empty one; an import that does not exist is an
// error, as is all that keeps containerd from starting. Files must be regular
// ones of at most 1 MiB, and at most 256.
func Load(h containerd.Host, main string, release Release) (*Config, error) {
	return Preview(h, main, release, nil)
}

// Preview is what [Load] would return if some files had other contents: by their
// paths on the node, with or without the host's root; nil is a file that does not
// exist.
func Preview(h containerd.Host, main string, release Release, changed map[string][]byte) (*Config, error) {
	c, err := load(h, h.Within(main), release, changed)
	if err != nil {
		return nil, fmt.Errorf("reading containerd's configuration: %w", err)
	}
	return c, nil
}

func load(h containerd.Host, main string, release Release, changed map[string][]byte) (*Config, error) {
	r := &reader{host: h, changed: make(map[string][]byte, len(changed))}
	for path, content := range changed {
		r.changed[h.Within(path)] = content
	}
	files, err := r.all(main)
	if err != nil {
		return nil, err
	}
	merged, err := mergeAll(files, release)
	if err != nil {
		return nil, err
	}
	c, err := model(merged, files, release)
	if err != nil {
		return nil, err
	}
	c.Main = main
	return c, nil
}

// mergeAll merges files into the defaults of a release and brings the result to
// the newest version. Each file has been brought to it as well afterwards, as far
// as the release does, so that one can see what it says.
func mergeAll(files []*file, release Release) (*document, error) {
	merged := &document{
		Version: release.version(), Root: defaultRoot, State: defaultState,
		Plugins: map[string]any{pluginServer: map[string]any{"address": defaultAddress}},
	}
	merged.GRPC.Address = defaultAddress
	for _, f := range files {
		if err := f.adapt(merged.Version, release); err != nil {
			return nil, fmt.Errorf("%s: %w", f.path, err)
		}
		merged.merge(&f.document, release)
	}
	if merged.Version > release.version() {
		return nil, fmt.Errorf("%s: version %d is newer than %d, the last that containerd %s reads", files[len(files)-1].path, merged.Version, release.version(), release)
	}
	for _, name := range append(append([]string(nil), merged.DisabledPlugins...), merged.RequiredPlugins...) {
		if !strings.Contains(name, ".") {
			return nil, fmt.Errorf("disabled_plugins, required_plugins: %q is not a plugin's full name", name)
		}
	}
	if release.Before(2, 3) { // which made a plugin of it
		merged.Plugins[pluginServer] = map[string]any{"address": merged.GRPC.Address}
	}
	if merged.Version < 3 {
		for _, f := range files {
			if err := f.migrateCRI(); err != nil {
				return nil, fmt.Errorf("%s: %w", f.path, err)
			}
		}
		_, old := merged.Plugins[pluginCRI]
		if err := merged.migrateCRI(); err != nil {
			return nil, err
		}
		if old && release == (Release{2, 2}) { // which takes an empty path out of the old section for none
			images, _ := merged.Plugins[pluginImages].(map[string]any)
			if registry, _ := images["registry"].(map[string]any); registry["config_path"] == "" {
				registry["config_path"] = defaultConfigPath
			}
		}
	}
	return merged, nil
}

// adapt brings a file to the version that it is merged in.
func (f *file) adapt(to int, release Release) error {
	if !release.Before(2, 3) {
		return f.migrate()
	}
	if f.Version < 2 && !release.Before(2, 0) {
		if err := f.migrateNames(); err != nil {
			return err
		}
		f.Version = to // whatever else that version has elsewhere
	}
	return nil
}

// model reads the sections of the plugins. That of a disabled one containerd does
// not look at.
func model(d *document, files []*file, release Release) (*Config, error) {
	s := defaults(release)
	for _, p := range []struct {
		name string
		to   any
	}{
		{pluginVerifier, &s.verifier}, {pluginTransfer, &s.transfer}, {pluginImages, &s.images}, {pluginNRI, &s.nri}, {pluginServer, &s.server},
	} {
		if err := decode(d.Plugins, p.name, p.to); err != nil && !slices.Contains(d.DisabledPlugins, p.name) {
			return nil, fmt.Errorf("%splugins.%q: %w", culprit(files, p.name), p.name, err)
		}
	}
	return newConfig(d, s, files, release), nil
}

// decode reads a plugin's section over its defaults, by the way containerd does it.
func decode(plugins map[string]any, name string, to any) error {
	section, ok := plugins[name]
	if !ok {
		return nil
	}
	data, err := toml.Marshal(section)
	if err != nil {
		return err
	}
	return toml.Unmarshal(data, to)
}

// culprit is the file, and a colon, whose own section of a plugin cannot be read.
func culprit(files []*file, plugin string) string {
	for _, f := range files {
		s := defaults(Newest())
		to := map[string]any{pluginVerifier: &s.verifier, pluginTransfer: &s.transfer, pluginImages: &s.images, pluginNRI: &s.nri, pluginServer: &s.server}[plugin]
		if decode(f.Plugins, plugin, to) != nil {
			return f.path + ": "
		}
	}
	return ""
}
