package doctor

import (
	"context"

	"github.com/touchmark/touchmark/core/doctor"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/policy"
)

// checkPolicies looks at what the policies let pass.
func checkPolicies(_ context.Context, s *snapshot) {
	if s.conf == nil {
		return
	}
	for _, r := range s.conf.Registries {
		if r.Observe {
			s.Find("registry-observes", s.registryField(r, "mode"), "is observe")
		}
	}
	for _, r := range s.rules {
		path := r.section.Policy
		switch {
		case s.NoPolicies(path):
			s.Find("policies-missing", path, "there is no policy document")
			continue
		case r.err != nil && !r.rootsFail:
			s.Find("policies-unusable", path, "%v", r.err)
			continue
		case r.err != nil:
			continue // the trust roots are to blame
		}
		if len(r.set.Policies) == 0 {
			s.Find("policies-missing", path, "it holds no policy")
		}
		if _, err := gate.New(gate.Config{Policy: r.set, Roots: r.roots}); err != nil {
			s.Find("policies-unusable", path, "%v", err)
		}
		s.checkSet(path, r.set)
	}
}

// checkSet looks at one set of policies.
func (s *snapshot) checkSet(path string, set *policy.Set) {
	site := set.Enforcement
	if site.Mode == policy.Observe {
		s.Find("policy-observes", path, "the Enforcement document has mode observe")
	}
	for _, p := range set.Policies {
		if p.Mode == policy.Observe && site.Mode != policy.Observe {
			s.Find("policy-observes", path+": "+p.Name, "has mode observe")
		}
	}
	if site.Unmatched.InsecureAdmit || site.Unmatched.Mode == policy.Observe {
		s.Find("unmatched-admitted", path, "images that no policy is about are admitted")
	}
	for _, p := range doctor.Passes(set) {
		s.Find("policy-passes", path+": "+p.Policy, "admits %s without a signature", p.Glob)
	}
	for _, n := range site.Notices(s.Now) {
		s.Find("notice", path, "%s", n.Text)
	}
}
