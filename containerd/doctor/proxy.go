package doctor

import (
	"context"
	"path/filepath"
	"slices"

	"github.com/touchmark/touchmark/containerd/access"
)

// sample is a repository of a registry, by which it is asked where its images come
// from.
const sample = "touchmark-doctor/touchmark-doctor"

// noHosts does not exist below Touchmark's directory.
const noHosts = "no-hosts"

// anyRegistry has no directory of its own: _default is what counts for it.
const anyRegistry = "touchmark-doctor.invalid"

// checkProxy looks whether every place that containerd takes a registry's images
// from is the proxy. With a mirror that refuses, containerd goes on to the next
// host, and to the server at last.
func checkProxy(_ context.Context, s *snapshot) {
	if len(s.Intent.Proxies) == 0 || s.config == nil {
		return
	}
	dirs := s.hostsDirs()
	if s.splitPath() {
		s.Find("proxy-path-list", s.origin(s.config.CRI.From["registry.config_path"], "registry.config_path"), "is %s", s.config.CRI.ConfigPath)
		return
	}
	registries := s.Intent.Registries
	if len(registries) == 0 {
		registries = []string{anyRegistry}
	}
	for _, registry := range registries {
		where := registry
		if dir := s.hostsDir(dirs, registry); dir != "" {
			where = filepath.Join(dir, "hosts.toml")
		}
		at, elsewhere, err := s.through(dirs, registry)
		switch {
		case err != nil:
			s.Find("proxy-unusable", where, "%s", s.Name(err.Error()))
		case at && len(elsewhere) > 0:
			s.Find("proxy-as-mirror", where, "images of %s come from %s, too", registry, elsewhere[0])
		case !at:
			s.checkBypass(dirs, registry, where, elsewhere[0])
		}
	}
}

// splitPath reports whether config_path is a list, and CRI pulls in such a way that
// none of it counts.
func (s *snapshot) splitPath() bool {
	return s.config.CRI.IgnoresHosts() && len(s.config.CRI.LocalPull) == 0
}

// checkHosts looks at every hosts.toml there is. containerd only logs what it
// cannot use.
func checkHosts(_ context.Context, s *snapshot) {
	if s.config == nil || s.config.CRI.Disabled {
		return
	}
	found := false
	for _, dir := range s.hostsDirs() {
		for _, about := range s.ListDir(dir) {
			file := filepath.Join(about, "hosts.toml")
			if !s.Exists(file) {
				continue
			}
			found = true
			s.CheckWritable("hosts-writable", file)
			if _, _, err := s.through([]string{dir}, filepath.Base(about)); err != nil && len(s.Intent.Proxies) == 0 {
				s.Find("hosts-unusable", file, "%s", s.Name(err.Error()))
			}
		}
	}
	if found && len(s.Intent.Proxies) == 0 && len(s.Intent.Hosts) == 0 && s.splitPath() {
		s.Find("hosts-path-list", s.origin(s.config.CRI.From["registry.config_path"], "registry.config_path"), "is %s", s.config.CRI.ConfigPath)
	}
}

// through says whether images of a registry come through the proxy, and from where
// else.
func (s *snapshot) through(dirs []string, registry string) (proxy bool, elsewhere []string, err error) {
	empty := filepath.Join(s.Host.Touchmark(), noHosts) // no directories would be those of config.toml
	places, err := access.New(access.Config{Hosts: append(slices.Clone(dirs), empty)}).Places(registry+"/"+sample, false)
	if err != nil {
		return false, nil, err
	}
	for _, p := range places {
		if slices.Contains(s.Intent.Proxies, p.Registry) {
			proxy = true
		} else {
			elsewhere = append(elsewhere, p.Registry)
		}
	}
	if !proxy && len(elsewhere) == 0 {
		elsewhere = []string{registry}
	}
	return proxy, elsewhere, nil
}

// checkBypass names why images of a registry don't come through the proxy.
func (s *snapshot) checkBypass(dirs []string, registry, where, from string) {
	for i := 1; i < len(dirs); i++ {
		if at, _, err := s.through(dirs[i:], registry); err == nil && at && s.hostsDir(dirs[:i], registry) != "" {
			s.Find("proxy-overridden", where, "images of %s come from %s; %s, which leads to the proxy, comes later in config_path", registry, from, s.Name(s.hostsDir(dirs[i:], registry)))
			return
		}
	}
	if at, _, err := s.through(dirs, anyRegistry); err == nil && at {
		s.Find("proxy-bypassed", where, "images of %s come from %s", registry, from)
		return
	}
	s.Find("proxy-missing", where, "images of %s come from %s", registry, from)
}

// hostsDirs are the directories of hosts.toml that CRI looks into, for us.
func (s *snapshot) hostsDirs() (dirs []string) {
	named := s.Intent.Hosts
	if len(named) == 0 {
		named = filepath.SplitList(s.config.CRI.ConfigPath)
	}
	for _, dir := range named {
		dirs = append(dirs, s.At(dir))
	}
	return dirs
}

// hostsDir is the directory about a registry that counts; "" if there is none.
func (s *snapshot) hostsDir(dirs []string, registry string) string {
	for _, dir := range dirs {
		for _, name := range []string{registry, "_default"} {
			if path := filepath.Join(dir, name); s.Exists(path) {
				return path
			}
		}
	}
	return ""
}
