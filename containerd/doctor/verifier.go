package doctor

import (
	"context"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/touchmark/touchmark/core/hostconfig"
)

// checkVerifier looks whether ours is among what containerd runs, and whether it
// is what it was when it was installed.
func checkVerifier(_ context.Context, s *snapshot) {
	if s.config == nil || !s.hook() || s.builtIn() || len(s.verifiers) == 0 {
		return
	}
	dir, v := s.binDir(), s.config.Verifier
	at := slices.IndexFunc(s.verifiers, func(p program) bool { return p.ours })
	if at < 0 {
		for _, p := range s.verifiers {
			if filepath.Base(p.path) != verifierName {
				continue
			}
			if p.err == nil {
				s.Find("verifier-impostor", p.path, "%s is not the verifier", s.Name(p.resolved))
			}
			return // a link that dangles is named already
		}
		s.Find("verifier-missing", dir, "it is not among %s", names(s.verifiers))
		s.checkElsewhere(dir)
		return
	}
	ours := s.verifiers[at]
	if v.MaxVerifiers > 0 && at >= v.MaxVerifiers {
		s.Find("verifier-cut", s.origin(v.From["max_verifiers"], "max_verifiers"), "%d are run, and %s is number %d", v.MaxVerifiers, filepath.Base(ours.path), at+1)
	}
	// What is above bin_dir is named already.
	if weak, why := s.Weakness(ours.path); why != "" && !above(weak, dir) {
		s.Find("verifier-writable", ours.path, "%s %s", s.Name(weak), why)
	}
	if mine := s.ownVersion(); ours.version != "" && mine != "" && ours.version != mine {
		s.Find("verifier-version", ours.path, "it is %s, and this is %s", ours.version, mine)
	}
}

// ownVersion is this program's; "" where it was built without one.
func (s *snapshot) ownVersion() string {
	if s.Version != "" {
		return s.Version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "(devel)" {
		return ""
	}
	return info.Main.Version
}

// above reports whether a path is a directory or lies above it.
func above(path, dir string) bool {
	return path == dir || strings.HasPrefix(dir, strings.TrimSuffix(path, "/")+"/")
}

// names are the names of programs.
func names(programs []program) string {
	var out []string
	for _, p := range programs {
		out = append(out, filepath.Base(p.path))
	}
	return strings.Join(out, ", ")
}

// checkPrograms looks at what the verifier finds when it runs: the configuration,
// and touchmark for where no agent answers. It has containerd's environment.
func checkPrograms(_ context.Context, s *snapshot) {
	if !s.hook() {
		return
	}
	named := s.process.environment["TOUCHMARK_CONFIG"]
	if s.process.environment != nil {
		meant := s.Intent.File
		if meant == "" {
			meant = hostconfig.System("/").File
		}
		standard := hostconfig.System("/").File
		if named != "" && s.Name(named) != s.Name(meant) {
			s.Find("environment-config", "TOUCHMARK_CONFIG", "containerd has %s in its environment, and this node is to follow %s", named, s.Name(meant))
		} else if named == "" && s.Name(meant) != standard {
			s.Find("environment-config", "TOUCHMARK_CONFIG", "containerd has none in its environment, so that the verifier reads %s, and this node is to follow %s", standard, s.Name(meant))
		}
	}
	at := slices.IndexFunc(s.verifiers, func(p program) bool { return p.ours })
	if at < 0 || !s.Intent.Standalone || s.builtIn() {
		return
	}
	s.checkCommand(s.verifiers[at])
}

// checkCommand looks for touchmark as core/child.Find does: beside the verifier,
// by both its names, and in PATH.
func (s *snapshot) checkCommand(verifier program) {
	dirs := []string{filepath.Dir(verifier.path), filepath.Dir(verifier.resolved)}
	for i, dir := range slices.Concat(dirs, s.process.path()) {
		path := filepath.Join(s.At(dir), "touchmark")
		if !filepath.IsAbs(dir) {
			continue // exec.LookPath takes nothing from there
		}
		resolved, _, err := s.Resolve(path)
		if err == nil {
			info, err := os.Stat(resolved)
			if err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 {
				if weak, why := s.Weakness(path); why != "" {
					s.Find("touchmark-writable", path, "%s %s", s.Name(weak), why)
				}
				return
			}
		}
		if i < len(dirs) || !s.exists(dir) {
			continue
		}
		if weak, why := s.Weakness(s.At(dir)); why != "" {
			s.Find("path-writable", s.At(dir), "%s %s, and touchmark is looked for there first", s.Name(weak), why)
		}
	}
	if s.process.environment != nil {
		s.Find("touchmark-missing", verifier.path, "PATH is %s", s.process.environment["PATH"])
	}
}

func (s *snapshot) exists(dir string) bool { return s.Exists(s.At(dir)) }
