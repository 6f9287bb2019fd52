package doctor

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/touchmark/touchmark/podman/policyjson"
)

// policyFile is the policy.json that counts.
type policyFile struct {
	path string
	text []byte
	file *policyjson.File // nil if there is none, or it cannot be used
	err  error            // why it cannot be used
}

// readPolicy reads the first of the files that exists.
func (s *snapshot) readPolicy(paths []string) policyFile {
	for _, path := range paths {
		if !s.Exists(path) {
			continue
		}
		p := policyFile{path: path}
		text, ok := s.Read(path)
		if !ok {
			return p
		}
		p.text = text
		p.file, p.err = policyjson.Parse(text, path)
		return p
	}
	return policyFile{}
}

// place is where a scope's rule stands, with the line.
func (p policyFile) place(transport, scope string) string {
	key := "default"
	if _, ok := p.file.Transports[transport][scope]; ok {
		key = fmt.Sprintf("transports.%s[%q]", transport, scope)
	}
	needle := []byte(`"default"`)
	from := 0
	if key != "default" {
		from = max(0, bytes.Index(p.text, []byte(`"`+transport+`"`)))
		needle = []byte(`"` + scope + `"`)
	}
	at := bytes.Index(p.text[from:], needle)
	if at < 0 {
		return p.path + ": " + key
	}
	return fmt.Sprintf("%s:%d: %s", p.path, 1+bytes.Count(p.text[:from+at], []byte("\n")), key)
}

func checkPolicy(_ context.Context, s *snapshot) {
	p := s.policy
	switch {
	case p.path == "":
		s.Find("policy-missing", s.Host.PolicyJSON(), "there is no policy.json: clients refuse to start")
	case p.err != nil:
		s.Find("policy-unparsable", p.path, "%s", s.Name(p.err.Error()))
	}
	if p.path != "" {
		s.CheckWritable("policy-writable", p.path)
	}
	if len(s.Intent.Scopes) == 0 {
		s.Find("scope-undeclared", cmp.Or(s.Intent.File, s.Host.Touchmark()), "no scopes are declared: nothing says which images are to be enforced")
	}
}

func checkScopes(_ context.Context, s *snapshot) {
	if s.policy.file == nil {
		return
	}
	judged := map[string]bool{}
	for _, scope := range s.Intent.Scopes {
		s.checkScope(scope, judged)
	}
	s.checkSpellings()
	for _, scope := range s.policy.file.Scopes("docker") {
		if !slices.Contains(s.Intent.Scopes, scope) && scope != "" {
			s.checkNarrower(scope, judged)
		}
	}
	s.checkRest(judged)
}

// checkScope looks at what holds for a declared scope as a whole. judged
// collects the places about which there is a finding.
func (s *snapshot) checkScope(scope string, judged map[string]bool) {
	reqs, _ := s.policy.file.Effective("docker", scope)
	key := s.effectiveKey(scope)
	where := s.policy.place("docker", key)
	switch demand := s.demand(reqs); demand {
	case accepts:
		if len(s.Intent.Proxies) > 0 { // the proxy's business: checkRegistries
			return
		}
		judged[where] = true
		s.Find(acceptCode(s.policy.file, key, scope), where, "accepts anything, and %s is to be enforced", cmp.Or(scope, "every registry"))
	case others:
		if len(s.Intent.Proxies) > 0 { // which judges besides
			return
		}
		judged[where] = true
		s.Find("scope-other-key", where, "%s demands a signature, but not the host's key", cmp.Or(scope, "every registry"))
	case refuses:
		if !(scope == "" || len(s.Intent.Proxies) > 0) {
			s.Find("scope-missing", where, "refuses everything, and images of %s are to be admitted when Touchmark does", scope)
		}
	case ours:
		s.checkRequirements(where, scope, reqs)
	}
}

// checkSpellings looks at the other names of the declared scopes' registries,
// by which clients reach the same images. Where nothing else is accepted, they
// are refused.
func (s *snapshot) checkSpellings() {
	if !s.Intent.OthersAccepted || !s.Intent.agent() {
		return // or it is a finding of its own that others are accepted
	}
	for _, scope := range s.Intent.Scopes {
		for _, name := range spellings(scope) {
			reqs, _ := s.policy.file.Effective("docker", name)
			if declared, _ := s.policy.file.Effective("docker", scope); s.demand(reqs) == accepts && s.demand(declared) != accepts {
				s.Find("spelling-accepts", s.policy.place("docker", s.effectiveKey(name)), "%s is another name of %s, and accepts anything", name, scope)
			}
		}
	}
}

// effectiveKey is the scope whose rule decides about images of a scope.
func (s *snapshot) effectiveKey(scope string) string {
	_, from := s.policy.file.Effective("docker", scope)
	for _, key := range s.policy.file.Scopes("docker") {
		if from == fmt.Sprintf("transports.docker[%q]", key) {
			return key
		}
	}
	return "" // transports.docker[""], or the default if there is none
}

// acceptCode is the code for an acceptance that stands in a rule.
func acceptCode(f *policyjson.File, key, scope string) string {
	_, docker := f.Transports["docker"][""]
	switch {
	case key == "" && docker:
		return "docker-accepts"
	case key == "":
		return "default-accepts"
	case key != scope && strings.HasPrefix(key, "*."):
		return "wildcard-accepts"
	}
	return "scope-accepts"
}

// checkNarrower looks at a scope that is not declared itself.
func (s *snapshot) checkNarrower(scope string, judged map[string]bool) {
	where := s.policy.place("docker", scope)
	if judged[where] {
		return
	}
	reqs := s.policy.file.Transports["docker"][scope]
	demand, declared := s.demand(reqs), s.Intent.declared(scope)
	switch {
	case demand == ours:
		s.checkRequirements(where, scope, reqs)
	case declared && demand == others && len(s.Intent.Proxies) == 0:
		s.Find("namespace-other-key", where, "lies within a declared scope and demands another signature than the host's")
	case demand != accepts || len(s.Intent.Proxies) > 0:
	case strings.HasPrefix(scope, "*.") && declared:
		s.Find("wildcard-accepts", where, "accepts anything from the hosts below %s", strings.TrimPrefix(scope, "*."))
	case !declared && s.Intent.OthersAccepted:
	case !declared:
		s.Find("undeclared-accepts", where, "accepts anything, and is no declared scope")
	case isImage(scope):
		s.Find("image-accepts", where, "accepts this tag or digest, whatever it is")
	default:
		s.Find("namespace-accepts", where, "accepts anything, and lies within a declared scope")
	}
}

// isImage reports whether a scope of docker is one tag or digest.
func isImage(scope string) bool {
	return strings.Contains(scope, "@") || strings.Contains(scope[strings.LastIndex(scope, "/")+1:], ":") && strings.Contains(scope, "/")
}

// checkRest looks at what holds for registries that no scope is about.
func (s *snapshot) checkRest(judged map[string]bool) {
	reqs, _ := s.policy.file.Effective("docker", "")
	where := s.policy.place("docker", "")
	if s.demand(reqs) == accepts && !s.Intent.OthersAccepted && !judged[where] {
		s.Find(acceptCode(s.policy.file, "", "-"), where, "registries that no scope is about are accepted")
	}
}

// otherTransports are those through which images come from elsewhere than a
// registry. Not containers-storage: what lies there was judged when it was
// pulled, or is named by checkImages, and pushes and builds read from it.
var otherTransports = []string{"atomic", "dir", "docker-archive", "docker-daemon", "oci", "oci-archive", "ostree", "sif", "tarball"}

func checkTransports(_ context.Context, s *snapshot) {
	if s.policy.file == nil || s.Intent.OthersAccepted {
		return
	}
	_, docker := s.policy.file.Transports["docker"][""]
	for _, transport := range otherTransports {
		if slices.Contains(s.Intent.Transports, transport) {
			continue
		}
		scopes := s.policy.file.Scopes(transport)
		if !slices.Contains(scopes, "") {
			// By default, which is a finding of its own if docker has it, too.
			if docker && s.demand(s.policy.file.Default) == accepts {
				s.Find("transport-open", s.policy.place(transport, ""), "images are loaded from %s: unjudged, by the default", transport)
			}
		}
		for _, scope := range scopes {
			if s.demand(s.policy.file.Transports[transport][scope]) == accepts {
				s.Find("transport-open", s.policy.place(transport, scope), "images are loaded from %s: unjudged", transport)
			}
		}
	}
}

// OtherTransports are the names of those that --allow-transport takes.
func OtherTransports() []string { return slices.Clone(otherTransports) }
