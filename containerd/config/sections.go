package config

import "time"

// The sections of the plugins, in the newest version, as far as they are of use.
// Fields have containerd's types, so that what it refuses is refused here.

type verifierSection struct {
	BinDir             string   `toml:"bin_dir"`
	MaxVerifiers       int      `toml:"max_verifiers"`
	PerVerifierTimeout duration `toml:"per_verifier_timeout"`
}

type transferSection struct {
	MaxConcurrentDownloads int    `toml:"max_concurrent_downloads"`
	ConfigPath             string `toml:"config_path"`
}

type imagesSection struct {
	Snapshotter                string            `toml:"snapshotter"`
	DisableSnapshotAnnotations bool              `toml:"disable_snapshot_annotations"`
	DiscardUnpackedLayers      bool              `toml:"discard_unpacked_layers"`
	PinnedImages               map[string]string `toml:"pinned_images"`
	Registry                   struct {
		ConfigPath string `toml:"config_path"`
		Mirrors    map[string]struct {
			Endpoints []string `toml:"endpoint"`
		} `toml:"mirrors"`
		Configs map[string]struct {
			Auth *Auth `toml:"auth"`
		} `toml:"configs"`
		Auths   map[string]Auth     `toml:"auths"`
		Headers map[string][]string `toml:"headers"`
	} `toml:"registry"`
	MaxConcurrentDownloads   int    `toml:"max_concurrent_downloads"`
	ImagePullProgressTimeout string `toml:"image_pull_progress_timeout"`
	ImagePullWithSyncFs      bool   `toml:"image_pull_with_sync_fs"`
	UseLocalImagePull        bool   `toml:"use_local_image_pull"`
}

type nriSection struct {
	Disable                   bool     `toml:"disable"`
	SocketPath                string   `toml:"socket_path"`
	PluginPath                string   `toml:"plugin_path"`
	PluginConfigPath          string   `toml:"plugin_config_path"`
	PluginRegistrationTimeout duration `toml:"plugin_registration_timeout"`
	PluginRequestTimeout      duration `toml:"plugin_request_timeout"`
	DisableConnections        bool     `toml:"disable_connections"`
	DefaultValidator          struct {
		Enable                    bool     `toml:"enable"`
		RequiredPlugins           []string `toml:"required_plugins"`
		TolerateMissingAnnotation string   `toml:"tolerate_missing_plugins_annotation"`
	} `toml:"default_validator"`
}

type serverSection struct {
	Address string `toml:"address"`
}

// duration is "10s" in TOML. A number is nanoseconds, as in containerd.
type duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = duration(v)
	return err
}

// sections are those of all plugins that count.
type sections struct {
	verifier verifierSection
	transfer transferSection
	images   imagesSection
	nri      nriSection
	server   serverSection
}

// defaults are a release's.
func defaults(r Release) *sections {
	s := &sections{
		verifier: verifierSection{BinDir: "/opt/containerd/image-verifier/bin", MaxVerifiers: 10, PerVerifierTimeout: duration(10 * time.Second)},
		transfer: transferSection{MaxConcurrentDownloads: 3},
		images: imagesSection{
			Snapshotter: "overlayfs", DisableSnapshotAnnotations: true, MaxConcurrentDownloads: 3, ImagePullProgressTimeout: "5m0s",
			PinnedImages: map[string]string{"sandbox": sandbox(r)},
		},
		nri: nriSection{
			Disable: r.Before(2, 0), SocketPath: "/var/run/nri/nri.sock", PluginPath: "/opt/nri/plugins", PluginConfigPath: "/etc/nri/conf.d",
			PluginRegistrationTimeout: duration(5 * time.Second), PluginRequestTimeout: duration(2 * time.Second),
		},
		server: serverSection{Address: defaultAddress},
	}
	if r == (Release{2, 2}) {
		s.images.Registry.ConfigPath = defaultConfigPath
	}
	return s
}

const (
	defaultRoot    = "/var/lib/containerd"
	defaultState   = "/run/containerd"
	defaultAddress = "/run/containerd/containerd.sock"
	// defaultConfigPath is CRI's since 2.2, where no mirrors are set.
	defaultConfigPath = "/etc/containerd/certs.d:/etc/docker/certs.d"
)

// sandbox is a release's default pause image.
func sandbox(r Release) string {
	switch {
	case r.Before(2, 0):
		return "registry.k8s.io/pause:3.8"
	case r.Before(2, 2):
		return "registry.k8s.io/pause:3.10"
	case r.Before(2, 3):
		return "registry.k8s.io/pause:3.10.1"
	}
	return "registry.k8s.io/pause:3.10.2"
}
