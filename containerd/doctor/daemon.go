package doctor

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// changeTime is when a file's content, mode or owner was last changed. A program
// can set the time of modification, but not this one.
func changeTime(info fs.FileInfo) time.Time {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return time.Unix(stat.Ctim.Unix())
	}
	return info.ModTime()
}

// checkDaemon holds the running containerd against its configuration.
func checkDaemon(_ context.Context, s *snapshot) {
	address := s.address()
	switch {
	case s.Daemon == nil && s.Live:
		message := "nobody answers"
		if s.Down != nil {
			message = s.Name(s.Down.Error())
		}
		s.Find("containerd-down", address, "%s", message)
	case s.Daemon != nil && s.daemonErr != nil:
		s.Find("containerd-down", address, "%s", s.Name(s.daemonErr.Error()))
	}
	if s.Exists(address) {
		s.CheckWritable("containerd-socket-writable", address)
	}
	if s.config == nil {
		return
	}
	s.checkChanged(address)
	if s.Daemon == nil || s.daemonErr != nil {
		return
	}
	if told := s.Intent.ContainerdConfig; s.process.config != "" && told != "" && s.Name(s.process.config) != s.Name(told) {
		s.Find("config-elsewhere", s.process.config, "containerd was started with it, and Touchmark is told of %s", s.Name(told))
	}
	if s.hook() && !s.builtIn() && !s.config.Verifier.Disabled {
		if p, ok := s.plugin("io.containerd.image-verifier.v1", "bindir"); !ok {
			s.Find("verifier-not-loaded", address, "io.containerd.image-verifier.v1.bindir is not among its plugins")
		} else if p.InitErr != "" {
			s.Find("verifier-not-loaded", address, "io.containerd.image-verifier.v1.bindir: %s", p.InitErr)
		}
	}
	if p, ok := s.plugin("io.containerd.transfer.v1", "local"); ok && p.InitErr != "" {
		s.Find("transfer-failed", address, "io.containerd.transfer.v1.local: %s", p.InitErr)
	}
}

// address is the running containerd's socket, for us.
func (s *snapshot) address() string {
	switch {
	case s.Intent.Address != "":
		return s.At(s.Intent.Address)
	case s.config != nil && s.config.Address != "":
		return s.At(s.config.Address)
	}
	return s.Host.Address()
}

// Address is where the node's containerd is to be reached: where Intent says, or
// else its configuration.
func (c Config) Address() string {
	c.Daemon = nil
	return take(context.Background(), c).address()
}

// checkChanged looks for files that are younger than the socket, which containerd
// makes when it has read them. What was taken out of a directory of drop-ins shows
// in the directory.
func (s *snapshot) checkChanged(address string) {
	resolved, _, err := s.Resolve(address)
	if err != nil {
		return
	}
	info, err := os.Stat(resolved)
	if err != nil || s.Live && (s.Daemon == nil || s.daemonErr != nil) {
		return // nothing runs
	}
	started := info.ModTime()
	files := slices.Clone(s.config.Files)
	for _, i := range s.config.Imports {
		// The directory of config.toml itself changes for many other reasons.
		if dir := filepath.Dir(i.Pattern); strings.Contains(i.Pattern, "*") && dir != filepath.Dir(s.Host.Within(s.configFile)) {
			files = append(files, dir)
		}
	}
	for _, file := range files {
		// Of the same tick of the kernel's clock is too late, too: containerd takes longer
		// than that from reading its files to making its socket.
		if at, ok := s.modified(file); ok && !at.Before(started) {
			s.Find("config-changed", file, "was changed at %s, and containerd runs since %s", at.UTC().Format(time.RFC3339), started.UTC().Format(time.RFC3339))
		}
	}
}
