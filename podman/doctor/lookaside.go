package doctor

import (
	"context"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/touchmark/touchmark/core/location"
	"github.com/touchmark/touchmark/podman/registriesd"
)

// lookasidePrefix is where the agent serves the lookaside.
const lookasidePrefix = "/lookaside/"

func checkLookaside(_ context.Context, s *snapshot) {
	var dirs []string
	for _, dir := range s.Host.RegistriesD() {
		if s.Exists(dir) {
			dirs = append(dirs, dir)
			s.CheckWritable("registriesd-writable", dir)
		}
	}
	for _, dir := range dirs {
		for _, file := range s.List(dir, ".yaml") {
			s.CheckWritable("registriesd-writable", file)
		}
	}
	config, err := registriesd.Load(dirs)
	if err != nil {
		s.explainRegistriesD(dirs, err)
		return
	}
	if e, file, ok := config.Entry(registriesd.DefaultKey); ok && s.Intent.agent() && s.toAgent(e.Lookaside) {
		s.Find("lookaside-for-everything", file+": "+registriesd.DefaultKey, "leads to the agent for every registry")
	}
	if s.policy.file == nil {
		return
	}
	for _, scope := range s.Intent.Scopes {
		reqs, _ := s.policy.file.Effective("docker", scope)
		if strings.HasPrefix(scope, "*.") || s.demand(reqs) != ours {
			continue
		}
		for _, place := range s.places(scope) {
			s.checkPlace(config, scope, place)
		}
	}
}

// explainRegistriesD says which file is to blame.
func (s *snapshot) explainRegistriesD(dirs []string, err error) {
	found := false
	for _, dir := range dirs {
		for _, file := range s.List(dir, ".yaml") {
			data, ok := s.Read(file)
			if !ok {
				found = true // a finding, too
				continue
			}
			if _, err := registriesd.ParseFile(data, file); err != nil {
				found = true
				s.Find("registriesd-unparsable", file, "%s", s.Name(err.Error()))
			}
		}
	}
	if !found {
		s.Find("registriesd-clash", strings.Join(dirs, ", "), "%s", s.Name(err.Error()))
	}
}

// places are where clients look for the images of a scope, the sample's name
// taken off.
func (s *snapshot) places(scope string) []location.Place {
	a := s.access()
	if a == nil {
		return nil
	}
	places, err := a.Table().Places(sample(scope))
	if err != nil {
		return nil // checkRegistries says why
	}
	for i := range places {
		places[i].Repository = strings.TrimSuffix(places[i].Repository, "/"+samplePath)
	}
	return places
}

// checkPlace looks at the lookaside of one place of a declared scope.
func (s *snapshot) checkPlace(config *registriesd.Config, scope string, place location.Place) {
	physical := place.Repository
	n, ok := config.For(physical)
	if !s.Intent.agent() {
		if s.wantsAttachments(scope) && !n.UseSigstoreAttachments {
			s.Find("attachments-off", cmpFile(n, s.Host.RegistriesDir()), "%s: use-sigstore-attachments is not set, so signatures in the registry are not looked for", physical)
		}
		return
	}
	if !ok {
		s.Find("lookaside-missing", s.Host.RegistriesDir(), "no lookaside is set for %s, where images of %s are looked for", physical, scope)
	} else {
		s.checkURL(n, physical)
	}
	for _, key := range config.Below(physical) {
		e, file, _ := config.Entry(key)
		if key != n.Key && e.Lookaside != "" && !s.leadsToAgent(e.Lookaside, key) {
			s.Find("lookaside-overridden", file+": docker["+key+"]", "%s leads to %s, not to the agent", key, e.Lookaside)
		}
	}
}

// checkURL looks at the lookaside that holds for a place.
func (s *snapshot) checkURL(n registriesd.Namespace, physical string) {
	where := n.File + ": docker[" + n.Key + "]"
	switch {
	case s.leadsToAgent(n.Lookaside, physical):
	case s.toAgent(n.Lookaside):
		s.Find("lookaside-other-registry", where, "%s asks the agent about another registry than %s", n.Lookaside, registryOf(physical))
	default:
		s.Find("lookaside-elsewhere", where, "%s is not the agent's address %s", n.Lookaside, s.lookasideOf(physical))
	}
	if u, err := url.Parse(n.Lookaside); err == nil && u.Scheme == "http" && !loopback(u.Hostname()) {
		s.Find("lookaside-not-loopback", where, "%s is asked by plain HTTP", n.Lookaside)
	}
	if n.Staging == n.Lookaside {
		s.Find("staging-missing", where, "there is no lookaside-staging")
	}
}

// wantsAttachments reports whether a scope demands Sigstore signatures.
func (s *snapshot) wantsAttachments(scope string) bool {
	reqs, _ := s.policy.file.Effective("docker", scope)
	for _, r := range reqs {
		if r.Type == "sigstoreSigned" {
			return true
		}
	}
	return false
}

// lookasideOf is the agent's URL for a place.
func (s *snapshot) lookasideOf(physical string) string {
	return strings.TrimSuffix(s.Intent.Lookaside, "/") + lookasidePrefix + registryOf(physical)
}

func (s *snapshot) leadsToAgent(lookaside, physical string) bool {
	return strings.TrimSuffix(lookaside, "/") == s.lookasideOf(physical)
}

// toAgent reports whether a URL is the agent's, about whatever registry.
func (s *snapshot) toAgent(lookaside string) bool {
	return s.Intent.Lookaside != "" && strings.HasPrefix(lookaside, strings.TrimSuffix(s.Intent.Lookaside, "/")+lookasidePrefix)
}

// registryOf is a repository's or namespace's registry.
func registryOf(repository string) string {
	host, _, _ := strings.Cut(repository, "/")
	return host
}

// loopback reports whether a host name or address is this host's own.
func loopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

func cmpFile(n registriesd.Namespace, otherwise string) string {
	if n.File != "" {
		return n.File
	}
	return filepath.Clean(otherwise)
}
