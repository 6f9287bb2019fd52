package doctor

import (
	"context"
	"encoding/json"
	"os"
	"strings"

	"github.com/touchmark/touchmark/core/doctor"
	"github.com/touchmark/touchmark/core/policy"
)

// checkFiles looks at Touchmark's own files.
func checkFiles(ctx context.Context, s *snapshot) {
	i := s.Intent
	if i.Problem != nil {
		code := "config-unusable"
		if doctor.Missing(i.Problem) {
			code = "config-missing"
		}
		s.Find(code, i.File, "%s", s.Name(i.Problem.Error()))
	}
	if i.Observe {
		s.Find("observing", i.File+": containerd.observe", "is true")
	}
	s.checkTree("config-writable", i.File)
	s.checkTree("policy-writable", i.Policies)
	for _, path := range i.Trust {
		s.checkTree("trust-writable", path)
	}
	s.checkPolicies(ctx)
	if state := s.At(i.State); i.State != "" && s.Exists(state) {
		if _, why := s.Weakness(state); why != "" {
			s.Find("state-writable", state, "%s", why)
		}
	}
	s.checkCredentials()
}

func (s *snapshot) checkTree(code, path string) {
	if path != "" {
		s.CheckTree(code, s.At(path), 0)
	}
}

// checkPolicies looks at what the policies admit unseen.
func (s *snapshot) checkPolicies(ctx context.Context) {
	if s.Intent.Policies == "" {
		return
	}
	path := s.At(s.Intent.Policies)
	if !s.Exists(path) || s.isEmpty(path) {
		s.Find("policies-missing", path, "there is no policy document")
		return
	}
	if s.Policies == nil {
		return
	}
	set, err := s.Policies(ctx)
	if err != nil {
		s.Find("policies-unusable", path, "%s", s.Name(err.Error()))
		return
	}
	for _, p := range set.Policies {
		for _, glob := range p.Globs {
			if everything(glob) && passes(p) {
				s.Find("policy-passes", path+": "+p.Name, "admits %s without a signature", glob)
			}
		}
	}
}

// isEmpty reports whether a path is a directory without a policy.
func (s *snapshot) isEmpty(path string) bool {
	resolved, _, err := s.Resolve(path)
	if err != nil {
		return false
	}
	info, err := os.Stat(resolved)
	return err == nil && info.IsDir() && len(s.List(path, ".yaml")) == 0
}

// everything reports whether a glob is about all images of a registry, or of all.
func everything(glob string) bool {
	return glob == "*" || glob == "**" || strings.HasSuffix(glob, "/**") && strings.Count(glob, "/") == 1
}

// passes reports whether one of a policy's authorities admits everything.
func passes(p *policy.Policy) bool {
	for _, a := range p.Authorities {
		if a.Static != nil && a.Static.Pass {
			return true
		}
	}
	return false
}

// checkCredentials looks at the node's own credentials for registries.
func (s *snapshot) checkCredentials() {
	path := s.At(s.Intent.Credentials)
	if s.Intent.Credentials == "" || !s.Exists(path) {
		return
	}
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
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		s.Find("credentials-readable", path, "has mode %04o", mode)
	}
	data, ok := s.Read(path)
	if !ok {
		return
	}
	var file struct {
		Auths map[string]json.RawMessage `json:"auths"`
	}
	if json.Unmarshal(data, &file) != nil { // the error may quote a password
		s.Find("credentials-unusable", path, "it is not a file like Docker's config.json")
	}
}
