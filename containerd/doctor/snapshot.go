package doctor

import (
	"context"
	"path/filepath"

	"github.com/touchmark/touchmark/containerd/config"
	"github.com/touchmark/touchmark/containerd/node"
	"github.com/touchmark/touchmark/core/doctor"
)

// checks are all there are. Their order is that of the catalog.
var checks = []func(context.Context, *snapshot){
	checkDirectory, checkVerifier, checkMounts, checkPrograms,
	checkConfig, checkCRI, checkDaemon, checkReading, checkImages, checkNRI,
	checkHosts, checkProxy, checkAgent, checkClock, checkFiles, checkOthers,
}

// snapshot is the node as one examination sees it. Checks read from it and add
// findings to it.
type snapshot struct {
	Config
	doctor.Examination

	config     *config.Config // nil if it cannot be used
	configFile string
	configErr  error
	process    process       // of the running containerd; zero if that is not known
	version    string        // of the running containerd; "" if none answers
	plugins    []node.Plugin // of the running containerd
	daemonErr  error         // that it gave in the place of an answer
	verifiers  []program     // in bin_dir, in the order in which they are run
	notes      []string
	displaced  []func() error // puts back what [Fix] took out of bin_dir
}

// take reads what several checks need.
func take(ctx context.Context, c Config) *snapshot {
	s := &snapshot{Config: c, Examination: doctor.Examination{Client: "containerd", Root: c.Host.Root, Catalog: Catalog()}}
	s.configFile = c.Intent.ContainerdConfig
	if s.configFile == "" {
		s.configFile = c.Host.Config()
	}
	release := config.Newest()
	if c.Daemon != nil {
		s.askDaemon(ctx)
		if r, err := config.ParseRelease(s.version); err == nil {
			release = r
		}
	}
	if s.process.config != "" {
		s.configFile = s.process.config
	}
	s.config, s.configErr = config.Load(c.Host, s.At(s.configFile), release)
	if s.config != nil {
		s.verifiers = s.listVerifiers(s.binDir())
	}
	return s
}

// askDaemon asks the running containerd what it is.
func (s *snapshot) askDaemon(ctx context.Context) {
	if s.version, _, s.daemonErr = s.Daemon.Version(ctx); s.daemonErr != nil {
		return
	}
	if s.plugins, s.daemonErr = s.Daemon.Plugins(ctx); s.daemonErr != nil {
		return
	}
	if !s.Live {
		return
	}
	if pid, err := s.Daemon.Server(ctx); err == nil {
		s.process = s.readProcess(pid)
	}
}

// binDir is where containerd looks for verifiers, for us. A relative one is taken
// from where the running containerd stands.
func (s *snapshot) binDir() string {
	dir := s.config.Verifier.BinDir
	if dir == "" {
		return ""
	}
	if !filepath.IsAbs(dir) {
		dir = filepath.Join("/", s.process.dir, dir)
	}
	return s.At(dir)
}

// plugin is a plugin of the running containerd.
func (s *snapshot) plugin(kind, id string) (node.Plugin, bool) {
	for _, p := range s.plugins {
		if p.Type == kind && p.ID == id {
			return p, true
		}
	}
	return node.Plugin{}, false
}

// hook reports whether it matters what containerd asks its verifiers.
func (s *snapshot) hook() bool { return !s.Intent.ProxyOnly }
