package doctor

import (
	"cmp"
	"path/filepath"
	"slices"
	"strings"

	"github.com/touchmark/touchmark/podman/policyjson"
)

// opens says why another policy.json than the one that counts lets images in
// that this host's agent was not asked about. One that can't be used lets none
// in; one whose name has variables in it can't be looked at. A signature by the
// keys in one of the files of own is as good as the host's.
func (s *snapshot) opens(path string, own ...string) (why string, open bool) {
	if !filepath.IsAbs(path) || strings.ContainsAny(path, "$`*%") {
		return "which only the shell can find", true
	}
	p := s.readPolicy([]string{s.At(path)})
	if p.file == nil {
		return "", false
	}
	for _, scope := range s.Intent.Scopes {
		reqs, from := p.file.Effective("docker", scope)
		if why := s.lets(reqs, scope, own); why != "" {
			return "which " + why + " by its " + from, true
		}
	}
	for _, scope := range p.file.Scopes("docker") {
		reqs := p.file.Transports["docker"][scope]
		switch {
		case scope == "":
		case s.Intent.declared(scope):
			if why := s.lets(reqs, scope, own); why != "" {
				return "which " + why, true
			}
		case !s.Intent.OthersAccepted && s.demand(reqs) == accepts:
			return "which accepts " + scope, true
		}
	}
	if s.Intent.OthersAccepted {
		return "", false
	}
	if reqs, from := p.file.Effective("docker", ""); s.demand(reqs) == accepts {
		return "which accepts every registry by its " + from, true
	}
	for _, transport := range otherTransports {
		if slices.Contains(s.Intent.Transports, transport) {
			continue
		}
		for _, scope := range append(p.file.Scopes(transport), "") {
			if reqs, _ := p.file.Effective(transport, scope); s.demand(reqs) == accepts {
				return "which loads images from " + strings.TrimSuffix(transport+":"+scope, ":") + " unjudged", true
			}
		}
	}
	return "", false
}

// lets says what a rule lets in of a declared scope besides what the agent
// admits; "" if nothing.
func (s *snapshot) lets(reqs []policyjson.Requirement, scope string, own []string) string {
	named := cmp.Or(scope, "every registry")
	switch s.demand(reqs) {
	case accepts:
		return "accepts " + named
	case others:
		if !slices.ContainsFunc(reqs, func(r policyjson.Requirement) bool { return s.byFiles(r, own) }) {
			return "demands of " + named + " a signature that is not this host's"
		}
	case ours:
		if open, _ := s.problems(scope, reqs); len(open) > 0 {
			return "has in its rule for " + named + ": " + open[0].message
		}
	}
	return ""
}

// byFiles reports whether a requirement takes signatures by keys in some files
// alone, for nothing but the image itself.
func (s *snapshot) byFiles(r policyjson.Requirement, files []string) bool {
	keys := r.Keys()
	return len(keys) > 0 && len(r.KeyDatas) == 0 && r.Identity != nil && r.Identity.Type == policyjson.MatchRepository &&
		!slices.ContainsFunc(keys, func(k string) bool {
			return !slices.ContainsFunc(files, func(f string) bool { return s.At(k) == s.At(f) })
		})
}
