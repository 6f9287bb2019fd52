// Package config reads containerd's configuration as containerd itself does,
// and writes what overrides it.
//
// containerd skips its image verifiers without a word in a dozen ordinary
// configurations, and what it makes of its files is not what they seem to say:
// imports are merged key by key, sections of older versions are moved to other
// plugins, and some settings are lost on the way. [Load] does it as the given
// release does, [Dump] asks a containerd program ("containerd config dump");
// the tests hold the first to the second.
//
// # What containerd does (2.3 and later)
//
// config.toml is read, then the files of its imports, then those of theirs: all
// of one file before those of the next, each path once, in the order in which
// they are named, the matches of a pattern by name. A later file counts more:
// scalars and lists of a plugin's section replace, tables are merged key by key,
// so that nothing can be taken out of a table by a later file. Of what stands
// outside of [plugins], an empty value or 0 overrides nothing, and
// disabled_plugins, required_plugins and imports of all files are joined. A
// pattern is one only with "*"; a relative path is relative to the file that
// names it; an import that does not exist is an error. The default
// configuration names /etc/containerd/conf.d/*.toml in its imports, but that
// counts only where config.toml itself says so.
//
// Each file is brought to version 4 before it is merged, by its own version,
// which is 1 where it names none. Up to 2.2 the files are merged as they are, by
// the version of the last file that names one: a drop-in of version 3 below a
// config.toml of version 2 makes containerd forget what that says of CRI. So
// what [Override] writes is of the version of the main file. CRI of a file of
// version 1 they forget as well. 1.7 replaces whole sections of plugins.
//
// The rules are those of 2.4.2, to which integration/containerdconfig holds them,
// and were compared with 2.1.4 and 2.2.1 in the same way; what 1.7 and 2.0 do was
// read in their sources.
//
// Paths in a [Config] are the node's: without [containerd.Host.Root].
package config

import (
	"path/filepath"
	"time"
)

// Config is containerd's configuration, with the defaults of the release
// filled in, as far as it says whether images are verified.
type Config struct {
	// Release whose rules and defaults were used.
	Release Release
	// Main is the file that was asked for.
	Main string
	// Version of the main file; 0 where it names none, which is read as 1.
	Version int
	// Files that were read, in the order in which they were merged. The first is
	// the main file; none if there is no configuration, or if it came from Dump.
	Files []string
	// Imports are the patterns that the files import.
	Imports []Import
	// Root and State are containerd's directories.
	Root, State string
	// Address of the API's socket.
	Address string
	// DisabledPlugins and RequiredPlugins by their full names, those of all files.
	DisabledPlugins, RequiredPlugins []string

	Verifier Verifier
	Transfer Transfer
	CRI      CRI
	NRI      NRI
}

// Import is one entry of a file's imports.
type Import struct {
	Pattern string // absolute; with "*" it names what matches
	File    string // the file that says so
}

// Verifier is the plugin that executes the programs in a directory.
type Verifier struct {
	// Disabled: by disabled_plugins, or because the release has no such plugin.
	Disabled bool
	BinDir   string
	// MaxVerifiers is how many files of BinDir are executed, by name; all if negative.
	MaxVerifiers int
	// PerVerifierTimeout after which a verifier is killed and the pull blocked.
	PerVerifierTimeout time.Duration
	// From names the file that a field came from, by its key in TOML
	// ("bin_dir", "disabled_plugins"); no entry: it is the default.
	From map[string]string
}

// Transfer is the service that pulls images and asks the verifiers.
type Transfer struct {
	// Disabled by disabled_plugins: CRI does not start without it.
	Disabled bool
	// MaxConcurrentDownloads of one pull.
	MaxConcurrentDownloads int
	ConfigPath             string // of hosts.toml, for the service's own pulls
	From                   map[string]string
}

// CRI is what kubelets pull images by.
type CRI struct {
	// Disabled by disabled_plugins: the interface, or one of the services that it needs.
	Disabled bool
	// Transfers: this release's CRI pulls by the transfer service, unless LocalPull
	// has an entry. Where it is false, no pull of a kubelet is verified.
	Transfers bool
	// LocalPull is each setting that makes CRI pull by itself, without verifiers.
	LocalPull []Setting
	// ConfigPath of hosts.toml: directories, as PATH has them.
	ConfigPath string
	// Mirrors, Configs and Auths are the registries of the old sections, sorted.
	Mirrors, Configs, Auths []string
	// Pinned are images by their role; "sandbox" is the pause image of every pod.
	Pinned map[string]string
	// The settings that LocalPull is made of.
	UseLocalImagePull, DisableSnapshotAnnotations, DiscardUnpackedLayers, ImagePullWithSyncFs bool
	MaxConcurrentDownloads                                                                    int
	Snapshotter                                                                               string
	// Invalid says why containerd would refuse to start CRI's image service.
	Invalid string
	From    map[string]string
}

// IgnoresHosts reports whether no hosts.toml is read when CRI pulls by the transfer
// service: that takes a config_path of several directories, as the default of
// releases since 2.2 is, for the name of one (core/transfer/registry of containerd up
// to 2.4). CRI's own pulls split it.
func (c CRI) IgnoresHosts() bool {
	return c.Transfers && len(filepath.SplitList(c.ConfigPath)) > 1
}

// Sandbox is the image of every pod's first container, "" where none is pinned.
func (c CRI) Sandbox() string { return c.Pinned["sandbox"] }

// NRI is the interface of plugins that see each container before it is made.
type NRI struct {
	// Disabled by its own section or by disabled_plugins.
	Disabled                            bool
	SocketPath                          string
	PluginPath                          string // programs that containerd starts by itself
	PluginConfigPath                    string
	DisableConnections                  bool // no plugin but those of PluginPath
	RegistrationTimeout, RequestTimeout time.Duration
	// Validator is the built-in one that can require other plugins, since 2.2.
	Validator Validator
	From      map[string]string
}

// Validator is NRI's default validator.
type Validator struct {
	Enabled bool
	// RequiredPlugins without which no container is made.
	RequiredPlugins []string
	// TolerateMissing is the annotation by which a pod does without them; "" is none.
	TolerateMissing string
}

// Setting is a value that keeps containerd from asking verifiers.
type Setting struct {
	Name  string // in TOML, below the images section: "registry.mirrors"
	Value string // as TOML; the names only where there are credentials beside them
	File  string // "" where it is a default, or came from Dump
	Want  string // the value to set, or "" for none at all
	// Edit: no later file can undo it, so File itself has to be edited.
	Edit bool
}
