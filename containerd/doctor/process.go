package doctor

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/touchmark/touchmark/containerd/commandline"
	"github.com/touchmark/touchmark/containerd/distribution"
	"github.com/touchmark/touchmark/core/configfile"
)

// maxProcess bounds what is read of a process, in bytes: an environment has a few
// KiB, the kernel's limit is some MiB.
const maxProcess = 4 << 20

// process is the running containerd, by proc(5).
type process struct {
	environment map[string]string // nil if it is not known
	config      string            // that a flag names, absolute; "" for the default
	dir         string            // where it stands
	program     string            // whose process it is; "" where that is not certain
	root        string            // its /, if it may have other mounts than this process; "" if not
}

// readProcess reads what is known of a process. Without the rights to, nothing is.
func (s *snapshot) readProcess(pid int) (p process) {
	dir := s.At(fmt.Sprintf("/proc/%d", pid))
	if cwd, err := os.Readlink(filepath.Join(dir, "cwd")); err == nil {
		p.dir = cwd
	}
	if text, err := configfile.Read(filepath.Join(dir, "environ"), maxProcess); err == nil {
		p.environment = make(map[string]string)
		for _, variable := range strings.Split(string(text), "\x00") {
			if name, value, ok := strings.Cut(variable, "="); ok {
				p.environment[name] = value
			}
		}
	}
	var args []string
	if text, err := configfile.Read(filepath.Join(dir, "cmdline"), maxProcess); err == nil {
		args = strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")
		p.config = commandline.Flag(args, "config", "c")
	}
	own, errOwn := os.Readlink(s.At("/proc/self/ns/mnt"))
	its, errIts := os.Readlink(filepath.Join(dir, "ns/mnt"))
	top, errTop := os.Readlink(filepath.Join(dir, "root"))
	if errOwn == nil && errIts == nil && own != its || errTop == nil && top != "/" {
		p.root = filepath.Join(dir, "root")
	} else if len(args) > 0 {
		p.program = s.programOf(filepath.Join(dir, "exe"), args[0])
	}
	if p.config != "" && !filepath.IsAbs(p.config) {
		p.config = filepath.Join("/", p.dir, p.config)
	}
	return p
}

// programOf is the program of a process, by the name that it was started by or the
// distribution knows it by: programs such as that of k3s are several in one, and go by
// their name. It is "" if neither leads to what runs.
func (s *snapshot) programOf(exe, name string) string {
	runs, err := os.Stat(exe)
	if err != nil {
		return ""
	}
	for _, path := range []string{name, distribution.Detect(s.Host).Program} {
		if info, err := os.Stat(s.At(path)); filepath.IsAbs(path) && err == nil && os.SameFile(info, runs) {
			return s.At(path)
		}
	}
	return ""
}

// path are the directories of containerd's PATH; nil if it is not known.
func (p process) path() []string {
	if p.environment == nil {
		return nil
	}
	return filepath.SplitList(p.environment["PATH"])
}
