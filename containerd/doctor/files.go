package doctor

import (
	"context"
	"encoding/json"
	"os"

	"github.com/touchmark/touchmark/core/doctor"
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
	if s.NoPolicies(path) {
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
	for _, p := range doctor.Passes(set) {
		s.Find("policy-passes", path+": "+p.Policy, "admits %s without a signature", p.Glob)
	}
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
