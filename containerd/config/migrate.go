package config

import (
	"fmt"
	"strings"
)

// The plugins that count here, by their full names.
const (
	pluginVerifier = "io.containerd.image-verifier.v1.bindir"
	pluginTransfer = "io.containerd.transfer.v1.local"
	pluginCRI      = "io.containerd.grpc.v1.cri" // up to version 2 all of CRI, then its interface only
	pluginImages   = "io.containerd.cri.v1.images"
	pluginRuntime  = "io.containerd.cri.v1.runtime"
	pluginNRI      = "io.containerd.nri.v1.nri"
	pluginServer   = "io.containerd.server.v1.grpc"
)

// newest is the newest version of the configuration.
const newest = 4

// coreNames are the full names of the plugins that version 1 has short names for.
// Others with a short name belong to grpc, or are services.
func coreNames() map[string]string {
	return map[string]string{
		"cri":          pluginCRI,
		"cgroups":      "io.containerd.monitor.v1.cgroups",
		"linux":        "io.containerd.runtime.v1.linux",
		"scheduler":    "io.containerd.gc.v1.scheduler",
		"bolt":         "io.containerd.metadata.v1.bolt",
		"task":         "io.containerd.runtime.v2.task",
		"opt":          "io.containerd.internal.v1.opt",
		"restart":      "io.containerd.internal.v1.restart",
		"tracing":      "io.containerd.internal.v1.tracing",
		"otlp":         "io.containerd.tracing.processor.v1.otlp",
		"aufs":         "io.containerd.snapshotter.v1.aufs",
		"btrfs":        "io.containerd.snapshotter.v1.btrfs",
		"devmapper":    "io.containerd.snapshotter.v1.devmapper",
		"native":       "io.containerd.snapshotter.v1.native",
		"overlayfs":    "io.containerd.snapshotter.v1.overlayfs",
		"zfs":          "io.containerd.snapshotter.v1.zfs",
		"windows":      "io.containerd.snapshotter.v1.windows",
		"windows-lcow": "io.containerd.snapshotter.v1.windows-lcow",
	}
}

// fullName is the name that a plugin of version 1 has since version 2.
func fullName(name string) string {
	if strings.Contains(name, ".") {
		return name
	}
	if full, ok := coreNames()[name]; ok {
		return full
	}
	if strings.HasSuffix(name, "-service") {
		return "io.containerd.service.v1." + name
	}
	return "io.containerd.grpc.v1." + name
}

// migrateNames brings version 1 to version 2.
func (d *document) migrateNames() error {
	if _, both := d.Plugins[pluginCRI]; both {
		if _, both := d.Plugins["cri"]; both {
			return fmt.Errorf("plugins.cri and plugins.%q are the same in version 1, and chance decides which one counts: merge them", pluginCRI)
		}
	}
	plugins := make(map[string]any, len(d.Plugins))
	for name, section := range d.Plugins {
		plugins[fullName(name)] = section
	}
	d.Plugins = plugins
	for _, list := range [][]string{d.DisabledPlugins, d.RequiredPlugins} {
		for i, name := range list {
			list[i] = fullName(name)
		}
	}
	return nil
}

// migrateCRI moves what version 2 says of images from CRI's section to that of
// its image service. What stands in the old section wins over what stands in the
// new one already. Three settings are moved only if the old section has a table
// of runtimes, and use_local_image_pull never: it is of no effect there.
func (d *document) migrateCRI() error {
	section, ok := d.Plugins[pluginCRI]
	if !ok {
		return nil
	}
	old, ok := section.(map[string]any)
	if !ok {
		return notTable(pluginCRI)
	}
	images, err := subTable(d.Plugins, pluginImages)
	if err != nil {
		return err
	}
	d.Plugins[pluginImages] = images
	if image, ok := old["sandbox_image"]; ok {
		pinned, err := subTable(images, "pinned_images")
		if err != nil {
			return err
		}
		pinned["sandbox"] = image
		images["pinned_images"] = pinned
	}
	move(images, old, "registry", "image_decryption", "max_concurrent_downloads", "image_pull_progress_timeout", "image_pull_with_sync_fs", "stats_collect_period")
	rest := make(map[string]any)
	move(rest, old, "disable_tcp_service", "stream_server_address", "stream_server_port", "stream_idle_timeout", "enable_tls_streaming", "x509_key_pair_streaming")
	d.Plugins[pluginCRI] = rest

	runtime, ok := old["containerd"]
	if !ok {
		return nil
	}
	table, ok := runtime.(map[string]any)
	if !ok {
		return notTable(pluginCRI + ".containerd")
	}
	if runtimes, ok := table["runtimes"]; ok {
		if _, ok := runtimes.(map[string]any); !ok {
			return notTable(pluginCRI + ".containerd.runtimes")
		}
		move(images, table, "snapshotter", "disable_snapshot_annotations", "discard_unpacked_layers")
	}
	return nil
}

// migrateServer brings version 3 to version 4: the API's address is a plugin's.
func (d *document) migrateServer() {
	if d.GRPC.Address == "" || d.Plugins[pluginServer] != nil {
		return
	}
	if d.Plugins == nil {
		d.Plugins = make(map[string]any)
	}
	d.Plugins[pluginServer] = map[string]any{"address": d.GRPC.Address}
}

// migrate brings a document of its version to the newest one.
func (d *document) migrate() error {
	if d.Version > newest {
		return fmt.Errorf("version %d is newer than %d, the last that is known", d.Version, newest)
	}
	if d.Version >= newest {
		return nil
	}
	if d.Version < 2 {
		if err := d.migrateNames(); err != nil {
			return err
		}
	}
	if err := d.migrateCRI(); err != nil {
		return err
	}
	d.migrateServer()
	d.Version = newest
	return nil
}

// subTable is a table below another, a new one if there is none.
func subTable(table map[string]any, key string) (map[string]any, error) {
	v, ok := table[key]
	if !ok {
		return make(map[string]any), nil
	}
	sub, ok := v.(map[string]any)
	if !ok {
		return nil, notTable(key)
	}
	return sub, nil
}

func notTable(name string) error {
	return fmt.Errorf("plugins: %s: is not a table, on which containerd ends with a panic", name)
}

func move(to, from map[string]any, keys ...string) {
	for _, key := range keys {
		if v, ok := from[key]; ok {
			to[key] = v
		}
	}
}
