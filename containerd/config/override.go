package config

import (
	"bytes"
	"fmt"
	"time"

	"github.com/pelletier/go-toml/v2"
)

// Field is a setting that [Override] can write.
type Field int

// The settings, by their keys in TOML and the type of their values.
const (
	BinDir                     Field = iota // bin_dir: string
	MaxVerifiers                            // max_verifiers: int
	PerVerifierTimeout                      // per_verifier_timeout: time.Duration
	UseLocalImagePull                       // use_local_image_pull: bool
	DisableSnapshotAnnotations              // disable_snapshot_annotations: bool
	DiscardUnpackedLayers                   // discard_unpacked_layers: bool
	MaxConcurrentDownloads                  // max_concurrent_downloads: int
	ImagePullWithSyncFs                     // image_pull_with_sync_fs: bool
	ConfigPath                              // registry.config_path: string
	NRIDisable                              // disable: bool
	NRISocketPath                           // socket_path: string
	NRIRequestTimeout                       // plugin_request_timeout: time.Duration
	ValidatorEnable                         // default_validator.enable: bool
	ValidatorRequired                       // default_validator.required_plugins: []string
	ValidatorTolerate                       // default_validator.tolerate_missing_plugins_annotation: string
	TransferDownloads                       // max_concurrent_downloads of the transfer service: int
)

// Set is a setting and its value, of the field's type.
type Set struct {
	Field Field
	Value any
}

// place is where a field stands.
type place struct {
	plugin, table, key string
	// old is the table below CRI's section of version 2 that has the key too; "." is
	// that section itself, "" none.
	old string
}

// places has those of all fields.
func places() map[Field]place {
	return map[Field]place{
		BinDir:                     {plugin: pluginVerifier, key: "bin_dir"},
		MaxVerifiers:               {plugin: pluginVerifier, key: "max_verifiers"},
		PerVerifierTimeout:         {plugin: pluginVerifier, key: "per_verifier_timeout"},
		UseLocalImagePull:          {plugin: pluginImages, key: "use_local_image_pull"},
		DisableSnapshotAnnotations: {plugin: pluginImages, key: "disable_snapshot_annotations", old: "containerd"},
		DiscardUnpackedLayers:      {plugin: pluginImages, key: "discard_unpacked_layers", old: "containerd"},
		MaxConcurrentDownloads:     {plugin: pluginImages, key: "max_concurrent_downloads", old: "."},
		ImagePullWithSyncFs:        {plugin: pluginImages, key: "image_pull_with_sync_fs", old: "."},
		ConfigPath:                 {plugin: pluginImages, table: "registry", key: "config_path", old: "registry"},
		NRIDisable:                 {plugin: pluginNRI, key: "disable"},
		NRISocketPath:              {plugin: pluginNRI, key: "socket_path"},
		NRIRequestTimeout:          {plugin: pluginNRI, key: "plugin_request_timeout"},
		ValidatorEnable:            {plugin: pluginNRI, table: "default_validator", key: "enable"},
		ValidatorRequired:          {plugin: pluginNRI, table: "default_validator", key: "required_plugins"},
		ValidatorTolerate:          {plugin: pluginNRI, table: "default_validator", key: "tolerate_missing_plugins_annotation"},
		TransferDownloads:          {plugin: pluginTransfer, key: "max_concurrent_downloads"},
	}
}

// Override is the text of a drop-in that sets fields, in a version of the
// configuration, that of [Config.DropInVersion]. Below version 3 CRI's old section
// is written beside the new one: up to containerd 2.2 what the main file says
// there wins otherwise. It is not for 1.7, which would take the sections that it
// has for the whole of them. An error is a value that is not of its field's type.
func Override(version int, set ...Set) ([]byte, error) {
	if version < 1 || version > newest {
		return nil, fmt.Errorf("version %d of containerd's configuration is not known", version)
	}
	plugins := make(map[string]any)
	for _, s := range set {
		p, ok := places()[s.Field]
		if !ok {
			return nil, fmt.Errorf("field %d is not known", s.Field)
		}
		value, err := encodable(s.Value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.key, err)
		}
		put(plugins, value, p.plugin, p.table, p.key)
		if p.old != "" && version < 3 {
			put(plugins, value, pluginCRI, p.old, p.key)
		}
	}
	if _, err := model(&document{Plugins: plugins}, nil, Newest()); err != nil {
		return nil, err // a value of another type
	}
	out := bytes.NewBufferString("# Written by touchmark: keeps containerd asking its image verifiers.\n")
	doc := struct {
		Version int            `toml:"version"`
		Plugins map[string]any `toml:"plugins"`
	}{version, plugins}
	if err := toml.NewEncoder(out).SetIndentTables(true).Encode(doc); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// encodable is a value as TOML has it.
func encodable(v any) (any, error) {
	switch v := v.(type) {
	case time.Duration:
		return v.String(), nil
	case bool, int, string, []string:
		return v, nil
	}
	return nil, fmt.Errorf("%T is not a type of a field", v)
}

// put sets a key in a table of a plugin's section; "" and "." are the section.
func put(plugins map[string]any, value any, plugin, table, key string) {
	at := plugins
	for _, name := range []string{plugin, table} {
		if name == "" || name == "." {
			continue
		}
		sub, ok := at[name].(map[string]any)
		if !ok {
			sub = make(map[string]any)
			at[name] = sub
		}
		at = sub
	}
	at[key] = value
}
