package doctor

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/touchmark/touchmark/core/doctor"
)

// verifierName is what the installer calls the verifier in bin_dir, and
// verifierPath the program's package.
const (
	verifierName = "touchmark-containerd"
	verifierPath = "/cmd/touchmark-containerd"
)

// program is a file of bin_dir.
type program struct {
	path     string // in bin_dir
	resolved string // where links lead
	err      error  // of resolving it
	info     fs.FileInfo
	ours     bool
	version  string // of ours, "" where it was built without one
}

// listVerifiers are the files of a bin_dir, in the order in which containerd runs
// them.
func (s *snapshot) listVerifiers(dir string) (out []program) {
	if dir == "" {
		return nil
	}
	resolved, _, err := s.Resolve(dir)
	if err != nil {
		return nil
	}
	if info, err := os.Stat(resolved); err != nil || !info.IsDir() {
		return nil
	}
	for _, path := range s.List(dir) {
		p := program{path: path}
		if p.resolved, _, p.err = s.Resolve(path); p.err == nil {
			p.info, p.err = os.Stat(p.resolved)
		}
		if p.err == nil && p.info.Mode().IsRegular() {
			p.ours, p.version = identify(p.resolved)
		}
		out = append(out, p)
	}
	return out
}

// identify reports whether a file is Touchmark's verifier, by what Go's linker
// wrote into it, and of which version.
func identify(path string) (ours bool, version string) {
	info, err := buildinfo.ReadFile(path)
	if err != nil || !strings.HasSuffix(info.Path, verifierPath) {
		return false, ""
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return true, v
	}
	return true, ""
}

// checkDirectory looks at bin_dir and at each file in it, as containerd's
// pkg/imageverifier/bindir does.
func checkDirectory(_ context.Context, s *snapshot) {
	if s.config == nil || !s.hook() || s.builtIn() {
		return
	}
	v, dir := s.config.Verifier, s.binDir()
	where := s.origin(v.From["bin_dir"], "bin_dir")
	switch {
	case v.BinDir == "":
		s.Find("bindir-unset", where, `bin_dir = "" is no directory`)
		return
	case !filepath.IsAbs(v.BinDir):
		s.Find("bindir-relative", where, "bin_dir = %q", v.BinDir)
	}
	resolved, _, err := s.Resolve(dir)
	var info fs.FileInfo
	if err == nil {
		info, err = os.Stat(resolved)
	}
	switch {
	case err != nil && doctor.Missing(err) && s.belowFile(dir):
		s.Find("bindir-not-directory", dir, "what should be a directory above it is a file")
	case err != nil && doctor.Missing(err):
		s.Find("bindir-missing", dir, "it does not exist")
		s.checkElsewhere(dir)
	case err != nil:
		s.Unreadable(dir, err)
	case !info.IsDir():
		s.Find("bindir-not-directory", dir, "it is a file")
	case len(s.verifiers) == 0:
		s.Find("bindir-empty", dir, "there is no program in it")
		s.checkElsewhere(dir)
	}
	if err != nil {
		return
	}
	if at, why := s.Weakness(dir); at == resolved {
		s.Find("bindir-writable", dir, "%s", why)
	} else if why != "" {
		s.Find("bindir-above-writable", dir, "%s %s", s.Name(at), why)
	}
	for _, p := range s.verifiers {
		s.checkEntry(p)
	}
}

// belowFile reports whether something above a path is no directory, which blocks
// pulls where a directory that is missing would admit all.
func (s *snapshot) belowFile(path string) bool {
	for path = filepath.Dir(path); path != "/" && path != "."; path = filepath.Dir(path) {
		if resolved, _, err := s.Resolve(path); err == nil {
			info, err := os.Stat(resolved)
			return err == nil && !info.IsDir()
		}
	}
	return false
}

// checkElsewhere finds the verifier where containerd does not look for it.
func (s *snapshot) checkElsewhere(dir string) {
	for _, other := range []string{s.Intent.BinDir, s.Host.BinDir()} {
		if other == "" || s.At(other) == dir {
			continue
		}
		for _, p := range s.listVerifiers(s.At(other)) {
			if p.ours {
				s.Find("bindir-elsewhere", s.origin(s.config.Verifier.From["bin_dir"], "bin_dir"), "containerd reads %s, and the verifier is %s", s.Name(dir), s.Name(p.path))
				return
			}
		}
	}
}

// checkEntry looks at what containerd is about to execute.
func (s *snapshot) checkEntry(p program) {
	switch {
	case p.err != nil && doctor.Missing(p.err):
		s.Find("bindir-dangling", p.path, "it leads to %s, which does not exist", s.Name(p.resolved))
	case p.err != nil:
		s.Unreadable(p.path, p.err)
	case p.info.IsDir():
		s.Find("bindir-subdirectory", p.path, "it is a directory")
	case !p.info.Mode().IsRegular() || p.info.Mode().Perm()&0o111 == 0:
		s.Find("bindir-not-executable", p.path, "has mode %s", p.info.Mode())
	case !executable(s.Head(p.path)):
		s.Find("bindir-not-program", p.path, "it begins like neither a program nor a script")
	case noExec(p.resolved):
		s.Find("bindir-noexec", p.path, "its file system is mounted noexec")
	case !p.ours && filepath.Base(p.path) != verifierName:
		s.Find("bindir-foreign", p.path, "it is not Touchmark's")
	}
}

// executable reports whether the kernel can execute a file that begins so.
func executable(head []byte) bool {
	return bytes.HasPrefix(head, []byte("\x7fELF")) || bytes.HasPrefix(head, []byte("#!"))
}

// noExec reports whether a file's file system is mounted so that nothing on it is
// executed.
func noExec(path string) bool {
	var fs unix.Statfs_t
	return unix.Statfs(path, &fs) == nil && fs.Flags&unix.ST_NOEXEC != 0
}

// origin is where a setting stands, for messages.
func (s *snapshot) origin(file, key string) string {
	if file == "" {
		return s.Name(s.configFile) + ": " + key + " (by default)"
	}
	return s.Name(file) + ": " + key
}

// builtIn reports whether the running containerd has Touchmark as a plugin of its
// own (containerd/plugin): then it needs no bin_dir.
func (s *snapshot) builtIn() bool {
	p, ok := s.plugin("io.containerd.image-verifier.v1", "touchmark")
	return ok && p.InitErr == ""
}
