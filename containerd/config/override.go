package config

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

// Override is the text of a drop-in that sets fields, in a version of the
// configuration: that of the file that imports it ([Config.Version]), since up
// to 2.2 a drop-in of another one changes what containerd reads in that file. An
// error is a value of another type than the field's.
func Override(version int, set ...Set) ([]byte, error) {
	panic("being written")
}

// DropIn is where a drop-in named NAME.toml is read, after all other files, and
// whether a file imports it already. If none does, the directory is that of
// containerd's own default, and [AddImport] extends the main file.
func (c *Config) DropIn(name string) (file string, imported bool) {
	panic("being written")
}

// AddImport is a main file's text with one more pattern in its imports, and
// nothing else changed. An error means that it must be edited by hand.
func AddImport(main []byte, pattern string) ([]byte, error) {
	panic("being written")
}
