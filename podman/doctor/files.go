package doctor

import (
	"context"
	"os"
	"path/filepath"
	"syscall"

	"github.com/touchmark/touchmark/core/doctor"
	"github.com/touchmark/touchmark/core/keys"
)

func checkFiles(_ context.Context, s *snapshot) {
	if s.Intent.Problem != nil {
		code := "config-unusable"
		if doctor.Missing(s.Intent.Problem) {
			code = "config-missing"
		}
		s.Find(code, s.Intent.File, "%s", s.Name(s.Intent.Problem.Error()))
	}
	for _, path := range append([]string{s.Intent.File}, s.Intent.Files...) {
		if path != "" {
			s.CheckTree("config-writable", s.At(path), 0)
		}
	}
	if !s.Intent.agent() {
		return
	}
	s.checkKey()
	if s.Intent.Policies != "" && s.noPolicies(s.At(s.Intent.Policies)) {
		s.Find("policies-missing", s.At(s.Intent.Policies), "there is no policy document")
	}
	if state := s.At(s.Intent.State); s.Intent.State != "" && s.Exists(state) {
		s.checkState(state)
	}
}

// checkKey looks at the secret key's file: who can read it signs what they
// like.
func (s *snapshot) checkKey() {
	if s.Intent.SecretKey == "" || keys.IsRemote(s.Intent.SecretKey) {
		return
	}
	path := s.At(s.Intent.SecretKey)
	resolved, _, err := s.Resolve(path)
	if err != nil {
		if doctor.Missing(err) {
			s.Find("key-missing", path, "there is no such file")
		} else {
			s.Unreadable(path, err)
		}
		return
	}
	info, err := os.Stat(resolved)
	if err != nil {
		s.Unreadable(path, err)
		return
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		s.Find("key-readable", path, "has mode %04o", mode)
	}
	s.CheckWritable("key-readable", filepath.Dir(path))
}

// noPolicies reports whether a policy file or directory holds nothing.
func (s *snapshot) noPolicies(path string) bool {
	if !s.Exists(path) {
		return true
	}
	for _, entry := range s.ListDir(path) {
		if doctor.HasExtension(entry, []string{".yaml", ".yml", ".json"}) {
			return false
		}
	}
	resolved, _, err := s.Resolve(path)
	info, statErr := os.Stat(resolved)
	return err == nil && statErr == nil && info.IsDir()
}

// checkState looks at the agent's state, which belongs to its own user.
func (s *snapshot) checkState(path string) {
	resolved, _, err := s.Resolve(path)
	if err != nil {
		s.Unreadable(path, err)
		return
	}
	info, err := os.Stat(resolved)
	if err != nil {
		s.Unreadable(path, err)
		return
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		gid := -1
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			gid = int(stat.Gid)
		}
		if mode&0o002 != 0 || gid != 0 {
			s.Find("state-writable", path, "has mode %04o, group %d", mode, gid)
		}
	}
}
