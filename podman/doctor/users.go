package doctor

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/touchmark/touchmark/core/countersign"
	"github.com/touchmark/touchmark/core/doctor"
	"github.com/touchmark/touchmark/podman"
	"github.com/touchmark/touchmark/podman/access"
	"github.com/touchmark/touchmark/podman/registriesd"
)

// maxAccounts bounds the users that are looked at.
const maxAccounts = 1024

// account is a user of the host. home is as passwd(5) has it.
type account struct {
	name, home string
	uid        int
}

// readAccounts are the users whose files count: of a user's host that user's,
// of the system's root's and everybody's with a home. Users whom a directory
// service knows do not stand in passwd(5): each home in /home is somebody's.
func (s *snapshot) readAccounts() []account {
	if s.Host.User() {
		return []account{{"this user", strings.TrimPrefix(s.Host.Home, s.Host.Root), s.Host.UID}}
	}
	data, _ := s.Read(s.At("/etc/passwd"))
	accounts := []account{{"root", "/root", 0}}
	add := func(a account) {
		a.home = filepath.Clean(a.home)
		if len(accounts) > maxAccounts || a.home == "/" || !ownHome(a.home) || slices.ContainsFunc(accounts, func(b account) bool { return a.home == b.home && a.uid == b.uid }) {
			return
		}
		if s.Exists(s.At(a.home)) {
			accounts = append(accounts, a)
		}
	}
	for _, line := range strings.Split(string(data), "\n") {
		// name:password:UID:GID:GECOS:directory:shell
		f := strings.Split(line, ":")
		if len(f) != 7 || !filepath.IsAbs(f[5]) {
			continue
		}
		if uid, err := strconv.Atoi(f[2]); err == nil {
			add(account{f[0], f[5], uid})
		}
	}
	for _, home := range s.List(s.At("/home")) {
		add(account{filepath.Base(home), s.Name(home), s.OwnerOf(home)})
	}
	if len(accounts) > maxAccounts {
		s.Unreadable(s.At("/etc/passwd"), fmt.Errorf("there are more than %d users, and the files of the rest are not looked at", maxAccounts))
		accounts = accounts[:maxAccounts]
	}
	return accounts
}

// ownHome says that a directory is not one of those that many services share.
func ownHome(home string) bool {
	switch filepath.Clean(home) {
	case "/bin", "/usr/bin", "/sbin", "/usr/sbin", "/dev", "/tmp", "/run", "/etc", "/usr":
		return false
	}
	return true
}

func checkUsers(_ context.Context, s *snapshot) {
	if s.Host.User() {
		return // policy.json is that user's already
	}
	for _, a := range s.accounts {
		h := podman.Host{Root: s.Host.Root, Home: a.home, UID: a.uid}
		path := h.PolicyJSON()
		if _, _, err := s.Resolve(path); err == nil {
			s.checkUserPolicy(a, path, h.Touchmark())
			continue
		} else if !doctor.Missing(err) {
			s.Unreadable(path, err)
		}
		s.checkUserLookaside(a, h)
		s.checkUserRegistries(a, h)
	}
}

// checkUserPolicy looks at a user's own policy.json. What that user's own agent
// signs, for which touchmark is the configuration, is that agent's business.
func (s *snapshot) checkUserPolicy(a account, path, touchmark string) {
	if why, open := s.opens(s.Name(path), countersign.PublicFiles(touchmark)...); open {
		s.Find("user-policy", path, "is what counts for %s, %s", a.name, why)
		return
	}
	s.Find("user-policy-own", path, "is what counts for %s", a.name)
}

// checkUserLookaside is about the releases before 2026, which read a user's
// registries.d alone.
func (s *snapshot) checkUserLookaside(a account, h podman.Host) {
	dir := h.RegistriesD()[0]
	if !s.Intent.agent() || s.policy.file == nil || len(s.List(dir, ".yaml")) == 0 {
		return
	}
	config, err := registriesd.Load([]string{dir})
	if err != nil {
		s.Find("user-lookaside", dir, "%s: %s", a.name, s.Name(err.Error()))
		return
	}
	for _, scope := range s.Intent.Scopes {
		reqs, _ := s.policy.file.Effective("docker", scope)
		if strings.HasPrefix(scope, "*.") || s.demand(reqs) != ours {
			continue
		}
		for _, place := range s.places(scope) {
			if n, _ := config.For(place.Repository); !s.leadsToAgent(n.Lookaside, place.Repository) {
				s.Find("user-lookaside", dir, "%s gets no image of %s: this directory is read in the place of the system's", a.name, scope)
				return
			}
		}
	}
}

func (s *snapshot) checkUserRegistries(a account, h podman.Host) {
	if !s.Exists(h.RegistriesConf()) && len(s.List(h.RegistriesConfD()[0], ".conf")) == 0 {
		return
	}
	for _, scope := range s.Intent.Scopes {
		if !s.leftToProxy(scope) {
			continue
		}
		reach, err := access.Load(h)
		if err != nil {
			return // that user's clients refuse to start
		}
		places, err := reach.Table().Places(sample(scope))
		if err != nil {
			continue
		}
		for _, p := range places {
			if !s.atProxy(p.Repository) {
				s.Find("user-registries", h.RegistriesConf(), "%s fetches images of %s from %s, past the proxy", a.name, scope, registryOf(p.Repository))
				return
			}
		}
	}
}
