package config

import (
	"maps"
	"slices"
)

// merge merges a file into what was read before it, by the rules of mergo's
// Merge with override, as containerd calls it.
func (d *document) merge(from *document, release Release) {
	if from.Version != 0 {
		d.Version = from.Version
	}
	for to, v := range map[*string]string{&d.Root: from.Root, &d.State: from.State, &d.GRPC.Address: from.GRPC.Address} {
		if v != "" {
			*to = v
		}
	}
	d.DisabledPlugins = join(d.DisabledPlugins, from.DisabledPlugins)
	d.RequiredPlugins = join(d.RequiredPlugins, from.RequiredPlugins)
	d.Imports = join(d.Imports, from.Imports)
	if release.Before(2, 0) {
		maps.Copy(d.Plugins, from.Plugins) // whole sections
		return
	}
	mergeTable(d.Plugins, from.Plugins)
}

// mergeTable merges tables key by key, and lets everything else replace.
func mergeTable(to, from map[string]any) {
	for key, v := range from {
		if table, ok := v.(map[string]any); ok {
			existing, ok := to[key].(map[string]any)
			if !ok {
				existing = make(map[string]any, len(table))
				to[key] = existing
			}
			mergeTable(existing, table)
			continue
		}
		to[key] = v
	}
}

// join appends what is not yet there.
func join(to, from []string) []string {
	for _, v := range from {
		if !slices.Contains(to, v) {
			to = append(to, v)
		}
	}
	return to
}
