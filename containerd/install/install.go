// Package install writes a node's configuration so that containerd asks Touchmark
// before it pulls an image, and takes it back.
//
//	plan, err := install.New(install.Options{...}) // nothing is written
//	fmt.Print(plan.Diff())
//	err = plan.Apply(ctx)
//	...
//	changes, err := install.Removal(host, hostfiles.Edited{})
//	err = changes.Apply(ctx)
//
// What is written:
//
//   - config.yaml, policies and trust roots of Touchmark itself.
//   - policy.d/containerd-boot.yaml: the digests of images that a node needs before
//     the agent and the network are up.
//   - hosts.toml, so that registries are reached through a proxy: as `server`,
//     since containerd goes on to the next host where a mirror refuses.
//   - A drop-in of containerd's configuration, where that configuration keeps
//     containerd or CRI from asking verifiers; an entry in the imports of the main
//     file, where it reads no drop-ins; lines of it are commented out where no later
//     file can override them, if [Options.Fix] says so.
//   - The program in containerd's bin_dir, last: from then on images are judged.
//
// The first and the last need no restart of containerd, its own configuration does:
// [Plan.Restart].
//
// What is written and undone is the business of core/hostfiles: installing again
// starts from the files as they were before the first time, and uninstalling restores
// them to the byte. Before anything is written, the configuration as it will be is
// read as containerd reads it; what still lets images in is in [Plan.Open].
package install

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/touchmark/touchmark/containerd"
	"github.com/touchmark/touchmark/containerd/config"
	"github.com/touchmark/touchmark/containerd/distribution"
	"github.com/touchmark/touchmark/core/hostfiles"
)

// The modes.
const (
	Enforce = "enforce"
	Observe = "observe"
)

// Program is what the verifier is called in bin_dir.
const Program = "touchmark-containerd"

// nriSocket is where the agent looks for NRI by default.
const nriSocket = "/run/nri/nri.sock"

// nriPlugin is what the agent's plugin registers as, see containerd/nri.
const nriPlugin = "touchmark"

// BootFile is the file in the policy directory with the pins of a fresh node.
const BootFile = "containerd-boot.yaml"

// Settings are what an administrator decided. They are remembered: installing
// again without saying otherwise keeps them.
type Settings struct {
	// Mode is [Enforce] or [Observe].
	Mode string `json:"mode"`
	// BinDir is the directory of verifiers, on the node, in the place of the one
	// that containerd's configuration has.
	BinDir string `json:"binDir,omitempty"`
	// Copy puts a copy of the program into bin_dir and not a link to it.
	Copy bool `json:"copy,omitempty"`
	// Proxy is the URL of a registry proxy, for Registries, or for all of them
	// if none is named.
	Proxy      string   `json:"proxy,omitempty"`
	Registries []string `json:"registries,omitempty"`
	// ProxyOnly leaves containerd's verifiers alone, for a containerd that has none.
	ProxyOnly bool `json:"proxyOnly,omitempty"`
	// NRI has containers judged when they are made, too, by the agent's NRI plugin.
	NRI bool `json:"nri,omitempty"`
	// Systemd says that units are installed.
	Systemd bool `json:"systemd,omitempty"`
	// Fix allows lines of somebody's containerd configuration to be commented out.
	Fix bool `json:"fix,omitempty"`
}

// Options say what is to be installed, and where.
type Options struct {
	Host containerd.Host
	Settings
	// Distribution is who put containerd on the node.
	Distribution distribution.Distribution
	// Release is containerd's.
	Release config.Release
	// Verifier is the program for bin_dir: its path on the node, and its content if
	// a copy is wanted.
	Verifier string
	Content  []byte
	// Policies and Roots are files to put into the policy directory and the
	// directory of trust roots, by name. Both may be empty if files are there.
	Policies, Roots map[string][]byte
	// PolicyDir and TrustDir are these directories.
	PolicyDir, TrustDir string
	// Boot is the text of [BootFile]; nil leaves one that is there.
	Boot []byte
	// Units are systemd units, by name, installed if Settings say so.
	Units map[string][]byte
}

// Plan is what has to be done to a node.
type Plan struct {
	*hostfiles.Changes
	// Config is containerd's configuration as it will be.
	Config *config.Config
	// BinDir is the directory of verifiers, on the node.
	BinDir string
	// Restart says that containerd has to be restarted for the changes to hold.
	Restart bool
	// Agent says that config.yaml changes, which an agent reads when it starts.
	Agent bool
	// Open is what lets images in that nobody admitted, one sentence each, although
	// everything is done that is planned.
	Open []string
}

// place is where a node's record lies.
func place(h containerd.Host) hostfiles.Place {
	return hostfiles.Place{Root: h.Root, Record: filepath.Join(h.Touchmark(), "install", "containerd.json"), Client: "containerd", Denied: "run this as root"}
}

// Installed are the settings of what is installed; ok is false if nothing is.
func Installed(h containerd.Host) (s Settings, ok bool, err error) {
	r, err := place(h).Installed()
	if err != nil || r == nil {
		return Settings{}, false, err
	}
	return s, true, r.Decode(&s)
}

// New finds out what has to be changed. It writes nothing.
func New(o Options) (*Plan, error) {
	last, err := place(o.Host).Installed()
	if err != nil {
		return nil, err
	}
	p := &planner{Options: o, last: last, changed: map[string][]byte{}, original: map[string][]byte{}}
	for _, step := range []func() error{p.check, p.asItWas, p.inputs, p.overrides, p.proxies, p.ready, p.verifier} {
		if err := step(); err != nil {
			return nil, fmt.Errorf("planning the installation: %w", err)
		}
	}
	changes, err := hostfiles.Wanted{Place: place(o.Host), Settings: o.Settings, Last: last, Files: p.files, Notes: p.notes}.Plan()
	if err != nil {
		return nil, err
	}
	plan := &Plan{Changes: changes, Config: p.after, BinDir: p.binDir, Open: p.open}
	for _, path := range changes.Paths() {
		if p.containerds(path) {
			plan.Restart = true
		}
		plan.Agent = plan.Agent || path == p.configYAML()
	}
	return plan, nil
}

// planner collects what every file is to be.
type planner struct {
	Options
	last  *hostfiles.Record
	files []hostfiles.File // in the order in which they are written
	notes []string
	open  []string
	// before is containerd's configuration without us, after as it will be.
	before, after *config.Config
	// changed are files of containerd's configuration as they are to be, by their
	// path on the node; nil is none.
	changed map[string][]byte
	// original are files as they were before the first thing was taken out of them.
	original map[string][]byte
	binDir   string // on the node
	// templated says that the main file is made from a template, which is written.
	templated bool
}

func (p *planner) check() error {
	switch {
	case p.Mode != Enforce && p.Mode != Observe:
		return fmt.Errorf("mode %q: neither %s nor %s", p.Mode, Enforce, Observe)
	case p.BinDir != "" && !filepath.IsAbs(p.BinDir):
		return fmt.Errorf("bin_dir %q: is not an absolute path", p.BinDir)
	case p.ProxyOnly && p.Proxy == "":
		return fmt.Errorf("containerd %s: there is nothing to install but a proxy", p.Release)
	case !p.ProxyOnly && !p.Release.Verifies():
		return fmt.Errorf("containerd %s has no image verifiers", p.Release)
	}
	return hostfiles.Within(p.Host.Root, p.Host.Path(p.main())) // or another host's configuration is read
}

func (p *planner) note(format string, args ...any) {
	p.notes = append(p.notes, fmt.Sprintf(format, args...))
}

// configYAML is Touchmark's own configuration.
func (p *planner) configYAML() string { return filepath.Join(p.Host.Touchmark(), "config.yaml") }

// config is what config.yaml says: what it has to know of this containerd.
func (p *planner) config() {
	fields := []hostfiles.Field{}
	set := func(name string, value any) {
		fields = append(fields, hostfiles.Field{Section: "containerd", Name: name, Value: value})
	}
	if p.Distribution.Config != "" && p.Distribution.Config != p.Host.Within(p.Host.Config()) {
		set("config", p.Distribution.Config)
	}
	if p.Mode == Observe {
		set("observe", true)
		p.note("observing (containerd.observe in config.yaml): every image is admitted, and `touchmark report` shows which would not be")
	}
	if p.NRI {
		set("nri", true)
		if socket := p.before.NRI.SocketPath; socket != nriSocket && socket != "/var"+nriSocket { // /var/run is /run
			set("nriSocket", socket)
		}
		if p.Mode == Observe {
			p.note("observing, the NRI plugin is not required by containerd: containers are made without it")
		} else {
			p.note("while the agent does not run, no container is made, the control plane's neither: see docs/containerd.md")
		}
	}
	p.files = append(p.files, hostfiles.File{Path: p.configYAML(), Mode: 0o644, Fields: fields})
}

// inputs are Touchmark's own files.
func (p *planner) inputs() error {
	if p.ProxyOnly {
		return nil
	}
	for _, set := range []struct {
		dir   string
		files map[string][]byte
	}{{p.TrustDir, p.Roots}, {p.PolicyDir, p.Policies}} {
		for _, name := range slices.Sorted(maps.Keys(set.files)) {
			p.files = append(p.files, hostfiles.File{Path: filepath.Join(set.dir, name), Data: set.files[name], Mode: 0o644, Input: true})
		}
	}
	if p.Boot != nil {
		p.files = append(p.files, hostfiles.File{Path: filepath.Join(p.PolicyDir, BootFile), Data: p.Boot, Mode: 0o644, Input: true})
	}
	p.config()
	if p.Systemd {
		for _, name := range slices.Sorted(maps.Keys(p.Units)) {
			p.files = append(p.files, hostfiles.File{Path: filepath.Join(p.Host.SystemdUnits(), name), Data: p.Units[name], Mode: 0o644})
		}
	}
	return nil
}
