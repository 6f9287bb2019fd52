package config

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// newConfig assembles what the sections say.
func newConfig(d *document, s *sections, files []*file, release Release) *Config {
	c := &Config{
		Release: release, Root: d.Root, State: d.State, Address: s.server.Address,
		DisabledPlugins: d.DisabledPlugins, RequiredPlugins: d.RequiredPlugins,
		Verifier: Verifier{
			BinDir: s.verifier.BinDir, MaxVerifiers: s.verifier.MaxVerifiers, PerVerifierTimeout: time.Duration(s.verifier.PerVerifierTimeout),
		},
		Transfer: Transfer{MaxConcurrentDownloads: s.transfer.MaxConcurrentDownloads, ConfigPath: s.transfer.ConfigPath},
		CRI:      newCRI(&s.images, files, release),
		NRI:      newNRI(&s.nri, release),
	}
	if len(files) > 0 {
		c.Version = files[0].version
	}
	for _, f := range files {
		c.Files = append(c.Files, f.path)
		for _, pattern := range f.Imports {
			c.Imports = append(c.Imports, Import{Pattern: absolute(f.path, pattern), File: f.path})
		}
	}
	disabled := func(plugins ...string) bool {
		return slices.ContainsFunc(plugins, func(p string) bool { return slices.Contains(d.DisabledPlugins, p) })
	}
	c.Verifier.Disabled = disabled(pluginVerifier) || !release.Verifies()
	c.Transfer.Disabled = disabled(pluginTransfer)
	c.CRI.Disabled = disabled(pluginCRI, pluginImages, pluginRuntime) || release.Transfers() && c.Transfer.Disabled
	c.NRI.Disabled = c.NRI.Disabled || disabled(pluginNRI)
	c.Verifier.From = origins(files, pluginVerifier)
	c.Transfer.From = origins(files, pluginTransfer)
	c.CRI.From = origins(files, pluginImages, pluginCRI, pluginRuntime)
	c.NRI.From = origins(files, pluginNRI)
	return c
}

func newCRI(s *imagesSection, files []*file, release Release) CRI {
	c := CRI{
		Transfers: release.Transfers(), ConfigPath: s.configPath(release), Pinned: s.PinnedImages,
		Mirrors: names(s.Registry.Mirrors), Configs: names(s.Registry.Configs), Auths: names(s.Registry.Auths),
		UseLocalImagePull: s.UseLocalImagePull, DisableSnapshotAnnotations: s.DisableSnapshotAnnotations, DiscardUnpackedLayers: s.DiscardUnpackedLayers,
		ImagePullWithSyncFs: s.ImagePullWithSyncFs, MaxConcurrentDownloads: s.MaxConcurrentDownloads, Snapshotter: s.Snapshotter,
	}
	c.Invalid = s.invalid(c.ConfigPath)
	if c.Transfers {
		c.LocalPull = localPull(s, files)
	}
	return c
}

// configPath is where hosts.toml is, in a release.
func (s *imagesSection) configPath(release Release) string {
	if s.Registry.ConfigPath == "" && len(s.Registry.Mirrors) == 0 && !release.Before(2, 3) {
		return defaultConfigPath
	}
	return s.Registry.ConfigPath
}

// invalid says why containerd would not start CRI's image service.
func (s *imagesSection) invalid(configPath string) string {
	if configPath != "" && len(s.Registry.Mirrors) > 0 {
		return "registry.mirrors cannot be set together with registry.config_path"
	}
	for _, endpoint := range names(s.Registry.Auths) {
		if _, err := url.Parse(endpoint); err != nil {
			return fmt.Sprintf("registry.auths: %q is not a URL", endpoint)
		}
	}
	if t := s.ImagePullProgressTimeout; t != "" {
		if _, err := time.ParseDuration(t); err != nil {
			return fmt.Sprintf("image_pull_progress_timeout: %q is not a duration", t)
		}
	}
	return ""
}

// localPull are the settings by which CRI pulls without the transfer service.
func localPull(s *imagesSection, files []*file) []Setting {
	var out []Setting
	scalar := func(open bool, name, value, want string) {
		if open {
			out = append(out, Setting{Name: name, Value: value, File: origins(files, pluginImages)[name], Want: want})
		}
	}
	scalar(s.UseLocalImagePull, "use_local_image_pull", "true", "false")
	scalar(!s.DisableSnapshotAnnotations, "disable_snapshot_annotations", "false", "true")
	scalar(s.DiscardUnpackedLayers, "discard_unpacked_layers", "true", "false")
	out = append(out, tables(files, "mirrors", names(s.Registry.Mirrors))...)
	out = append(out, tables(files, "configs", names(s.Registry.Configs))...)
	out = append(out, tables(files, "auths", names(s.Registry.Auths))...)
	scalar(s.MaxConcurrentDownloads != 3, "max_concurrent_downloads", strconv.Itoa(s.MaxConcurrentDownloads), "3")
	scalar(s.ImagePullWithSyncFs, "image_pull_with_sync_fs", "true", "false")
	return out
}

// tables are the entries of a table of registries, by the files that have them: a
// later file can add to it only.
func tables(files []*file, table string, all []string) []Setting {
	if len(all) == 0 {
		return nil
	}
	var out []Setting
	for _, f := range files {
		images, _ := f.Plugins[pluginImages].(map[string]any)
		registry, _ := lookup(images, "registry").(map[string]any)
		entries, _ := lookup(registry, table).(map[string]any)
		if len(entries) > 0 {
			out = append(out, Setting{Name: "registry." + table, Value: strings.Join(names(entries), ", "), File: f.path, Edit: true})
		}
	}
	if out == nil {
		out = []Setting{{Name: "registry." + table, Value: strings.Join(all, ", "), Edit: true}}
	}
	return out
}

func newNRI(s *nriSection, release Release) NRI {
	n := NRI{
		Disabled: s.Disable, SocketPath: s.SocketPath, PluginPath: s.PluginPath, PluginConfigPath: s.PluginConfigPath, DisableConnections: s.DisableConnections,
		RegistrationTimeout: time.Duration(s.PluginRegistrationTimeout), RequestTimeout: time.Duration(s.PluginRequestTimeout),
	}
	if v := s.DefaultValidator; !release.Before(2, 2) { // which brought it
		n.Validator = Validator{Enabled: v.Enable, RequiredPlugins: v.RequiredPlugins, TolerateMissing: v.TolerateMissingAnnotation}
	}
	return n
}

// origins are the files that the keys of some plugins' sections come from: the
// last that has it. A key of a table below is "table.key"; disabled_plugins has
// the first file that names one of the plugins.
func origins(files []*file, plugins ...string) map[string]string {
	out := make(map[string]string)
	for _, f := range files {
		for _, p := range plugins {
			section, _ := f.Plugins[p].(map[string]any)
			mark(out, "", section, f.path)
			if slices.Contains(f.DisabledPlugins, p) && out["disabled_plugins"] == "" {
				out["disabled_plugins"] = f.path
			}
		}
	}
	return out
}

// mark notes where the keys of a section come from, two tables deep.
func mark(out map[string]string, prefix string, section map[string]any, path string) {
	for key, v := range section {
		name := prefix + strings.ToLower(key)
		if table, ok := v.(map[string]any); ok && prefix == "" {
			mark(out, name+".", table, path)
			continue
		}
		out[name] = path
	}
}

// lookup is a key's value, whose letters may be in another case.
func lookup(table map[string]any, key string) any {
	if v, ok := table[key]; ok {
		return v
	}
	for k, v := range table {
		if strings.EqualFold(k, key) {
			return v
		}
	}
	return nil
}

func names[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
