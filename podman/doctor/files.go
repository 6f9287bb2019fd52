package doctor

import (
	"context"
	"os"
	"path/filepath"
	"syscall"

	"github.com/touchmark/touchmark/core/keys"
)

// maxDepth bounds how deep Touchmark's own directories are looked into:
// policies and trust roots lie flat.
const maxDepth = 3

func checkFiles(_ context.Context, s *snapshot) {
	if s.Intent.Problem != nil {
		code := "config-unusable"
		if missing(s.Intent.Problem) {
			code = "config-missing"
		}
		s.find(code, s.Intent.File, "%s", s.name(s.Intent.Problem.Error()))
	}
	for _, path := range append([]string{s.Intent.File}, s.Intent.Files...) {
		if path != "" {
			s.checkTree("config-writable", s.at(path), 0)
		}
	}
	if !s.Intent.agent() {
		return
	}
	s.checkKey()
	if s.Intent.Policies != "" && s.noPolicies(s.at(s.Intent.Policies)) {
		s.find("policies-missing", s.at(s.Intent.Policies), "there is no policy document")
	}
	if state := s.at(s.Intent.State); s.Intent.State != "" && s.exists(state) {
		s.checkState(state)
	}
}

// checkTree adds a finding for each file and directory that others can change.
func (s *snapshot) checkTree(code, path string, depth int) {
	if !s.exists(path) {
		return
	}
	s.checkWritable(code, path)
	if depth == maxDepth {
		return
	}
	for _, entry := range s.listDir(path) {
		s.checkTree(code, entry, depth+1)
	}
}

// listDir is list for what may be no directory.
func (s *snapshot) listDir(path string) []string {
	resolved, _, err := s.resolve(path)
	if err != nil {
		return nil
	}
	info, err := os.Stat(resolved)
	if err != nil || !info.IsDir() {
		return nil
	}
	return s.list(path)
}

// checkKey looks at the secret key's file: who can read it signs what they
// like.
func (s *snapshot) checkKey() {
	if s.Intent.SecretKey == "" || keys.IsRemote(s.Intent.SecretKey) {
		return
	}
	path := s.at(s.Intent.SecretKey)
	resolved, _, err := s.resolve(path)
	if err != nil {
		if missing(err) {
			s.find("key-missing", path, "there is no such file")
		} else {
			s.unreadable(path, err)
		}
		return
	}
	info, err := os.Stat(resolved)
	if err != nil {
		s.unreadable(path, err)
		return
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		s.find("key-readable", path, "has mode %04o", mode)
	}
	s.checkWritable("key-readable", filepath.Dir(path))
}

// noPolicies reports whether a policy file or directory holds nothing.
func (s *snapshot) noPolicies(path string) bool {
	if !s.exists(path) {
		return true
	}
	for _, entry := range s.listDir(path) {
		if hasExtension(entry, []string{".yaml", ".yml", ".json"}) {
			return false
		}
	}
	resolved, _, err := s.resolve(path)
	info, statErr := os.Stat(resolved)
	return err == nil && statErr == nil && info.IsDir()
}

// checkState looks at the agent's state, which belongs to its own user.
func (s *snapshot) checkState(path string) {
	resolved, _, err := s.resolve(path)
	if err != nil {
		s.unreadable(path, err)
		return
	}
	info, err := os.Stat(resolved)
	if err != nil {
		s.unreadable(path, err)
		return
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		gid := -1
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			gid = int(stat.Gid)
		}
		if mode&0o002 != 0 || gid != 0 {
			s.find("state-writable", path, "has mode %04o, group %d", mode, gid)
		}
	}
}
