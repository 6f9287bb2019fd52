package doctor

import (
	"context"
	"os"

	"github.com/touchmark/touchmark/core/doctor"
	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/registry-proxy/auth"
	"github.com/touchmark/touchmark/registry-proxy/config"
)

// checkFiles looks who could change what the proxy is made from.
func checkFiles(_ context.Context, s *snapshot) {
	if s.err != nil {
		code := "config-unusable"
		if !s.Exists(s.File) {
			code = "config-missing"
		}
		s.Find(code, s.File, "%v", s.err)
	}
	s.checkTree("config-writable", s.File)
	if s.conf == nil {
		return
	}
	c := s.conf
	s.checkTree("tls-writable", c.TLS.Cert)
	s.checkTree("tls-writable", c.TLS.Key)
	s.checkTree("login-writable", c.Auth.Htpasswd)
	s.checkTree("login-writable", c.TLS.ClientCA)
	for _, i := range c.Auth.Issuers {
		s.checkTree("login-writable", i.CA)
	}
	for _, r := range c.Followed() {
		s.checkTree("trust-writable", r.TUF.Root)
		s.checkTree("state-writable", r.TUF.CA)
		s.checkTree("state-writable", c.TUFDir(r))
	}
	for _, r := range c.Registries {
		s.checkTree("policy-writable", r.Policy)
		for _, root := range r.Trust {
			s.checkTree("trust-writable", root.File)
		}
		s.checkTree("upstream-writable", r.CA)
		s.checkTree("upstream-writable", r.Credentials.DockerConfig)
		s.checkTree("upstream-writable", r.Credentials.PasswordFile)
	}
}

func (s *snapshot) checkTree(code, path string) {
	if path != "" {
		s.CheckTree(code, path, 0)
	}
}

// checkSecrets looks who could read what nobody is to know.
func checkSecrets(_ context.Context, s *snapshot) {
	if s.conf == nil {
		return
	}
	s.checkSecret("tls-key-readable", s.conf.TLS.Key)
	if !keys.IsRemote(s.conf.Countersign.Key) {
		s.checkSecret("countersign-key-readable", s.conf.Countersign.Key)
	}
	s.checkSecret("peers-secret-readable", s.conf.Peers.SecretFile)
	s.checkSecret("password-readable", s.conf.Auth.Htpasswd)
	for _, r := range s.conf.Registries {
		s.checkSecret("credentials-readable", r.Credentials.DockerConfig)
		s.checkSecret("credentials-readable", r.Credentials.PasswordFile)
	}
}

// checkSecret adds a finding if others can read a file. One that is not there is for
// those to say who need it.
func (s *snapshot) checkSecret(code, path string) {
	if path == "" {
		return
	}
	resolved, _, err := s.Resolve(path)
	if err != nil {
		if !doctor.Missing(err) {
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
		s.Find(code, path, "has mode %04o", mode)
	}
}

// checkLogins looks whether clients can be told apart as is configured.
func checkLogins(_ context.Context, s *snapshot) {
	if s.conf == nil {
		return
	}
	if _, err := auth.New(s.conf.Auth); err != nil {
		s.Find("logins-unusable", s.field("auth"), "%v", err)
	}
	if file := s.conf.TLS.ClientCA; file != "" {
		if data, ok := s.Read(file); !ok && s.Exists(file) {
			return // said already
		} else if len(certificates(data)) == 0 {
			s.Find("logins-unusable", file, "holds no PEM certificate")
		}
	}
}

// registryField is a field of a registry's section of proxy.yaml.
func (s *snapshot) registryField(r config.Registry, name string) string {
	return s.field(r.LogicalName() + ": " + name)
}
