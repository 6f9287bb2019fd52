package doctor

import (
	"context"
	"time"

	"github.com/touchmark/touchmark/core/doctor"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/trust"
)

// soon is how long before its end a certificate or a trust root is told of.
const soon = 14 * 24 * time.Hour

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
		case r.err != nil && !s.rootsFail(r):
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

// rootsFail reports whether one of the trust roots' files cannot be used.
func (s *snapshot) rootsFail(r *rules) bool {
	for _, root := range r.section.Trust {
		if _, err := trust.LoadAll(root.Name, root.File); root.File != "" && err != nil {
			return true
		}
	}
	return false
}

// checkRoots looks at the trust roots of all registries.
func checkRoots(_ context.Context, s *snapshot) {
	if s.conf == nil {
		return
	}
	seen := map[string]bool{}
	for _, registry := range s.conf.Registries {
		for _, root := range registry.Trust {
			if root.File == "" || seen[root.File] {
				continue
			}
			seen[root.File] = true
			loaded, err := trust.LoadAll(root.Name, root.File)
			if err != nil {
				s.Find("trust-unusable", root.File, "%v", err)
				continue
			}
			for _, r := range loaded {
				s.checkRoot(root.File, r)
			}
		}
	}
}

func (s *snapshot) checkRoot(file string, r *trust.Root) {
	if err := r.Check(); err != nil {
		s.Find("trust-unusable", file, "%v", err)
		return
	}
	end, ok := endOf(r)
	switch {
	case !ok:
	case end.Before(s.Now):
		s.Find("trust-ended", file, "the trust root %s ended on %s", r.Name, end.Format(time.RFC3339))
	case end.Before(s.Now.Add(soon)):
		s.Find("trust-ends", file, "the trust root %s ends on %s", r.Name, end.Format(time.RFC3339))
	}
}

// endOf is when nothing new can be verified by a root any more: when the last of its
// authorities, or of its logs, has ended, or what vouches for it. Each is taken as a
// whole, since one that has ended beside one that has not is the ordinary rotation.
func endOf(r *trust.Root) (end time.Time, ok bool) {
	var authorities, logs []trust.Window
	for _, ca := range r.CertificateAuthorities {
		w := ca.Window
		if ca.Root != nil && (w.End.IsZero() || ca.Root.NotAfter.Before(w.End)) {
			w.End = ca.Root.NotAfter
		}
		authorities = append(authorities, w)
	}
	for _, l := range r.Logs {
		logs = append(logs, l.Window)
	}
	for _, last := range []time.Time{lastEnd(authorities), lastEnd(logs), r.Until} {
		if !last.IsZero() && (!ok || last.Before(end)) {
			end, ok = last, true
		}
	}
	return end, ok
}

// lastEnd is the last end of some windows; zero if one has no end, or there are none.
func lastEnd(windows []trust.Window) (last time.Time) {
	for _, w := range windows {
		if w.End.IsZero() {
			return time.Time{}
		}
		if w.End.After(last) {
			last = w.End
		}
	}
	return last
}
