package agent

import (
	"fmt"
	"time"

	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/trust/follow"
)

// Status is the state of an agent, as GET /v1/status has it.
type Status struct {
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	// Key is the fingerprint of the key that this agent countersigns with; it was read
	// at the start.
	Key string `json:"key,omitempty"`
	// Enforcing is false if anything is admitted that enforcing would refuse.
	Enforcing bool `json:"enforcing"`
	// Observing says what that is: "the whole site", "policy NAME", "images that no
	// policy is about", and clients that only observe.
	Observing []string        `json:"observing,omitempty"`
	Policy    PolicyStatus    `json:"policy"`
	Files     []FilesStatus   `json:"files,omitempty"`
	Roots     []follow.Status `json:"trustRoots,omitempty"`
	Store     StoreStatus     `json:"store"`
	Parts     []PartStatus    `json:"parts,omitempty"`
	// Notices are announcements that are due: exceptions that end, pins to be
	// reviewed.
	Notices []string `json:"notices,omitempty"`
}

// roots are the trust roots in force.
func (a *Agent) roots() []follow.Status {
	var out []follow.Status
	for _, info := range a.config.Gate.Roots() {
		root := follow.Status{Name: info.Name, Digest: info.Digest}
		for _, f := range a.config.Followers {
			if status := f.Status(); status.Name == info.Name {
				root = status
			}
		}
		root.Loaded = info.Loaded
		out = append(out, root)
	}
	return out
}

// Problems are what somebody should see to, one sentence each.
func (s Status) Problems() []error {
	var out []error
	add := func(format string, args ...any) { out = append(out, fmt.Errorf(format, args...)) }
	if s.Policy.Error != "" {
		add("the policy or a trust root on disk cannot be used since %s; the last good one stays in force: %s", s.Policy.Since.Format(time.RFC3339), s.Policy.Error)
	}
	for _, f := range s.Files {
		if f.Error != "" {
			add("%s cannot be used since %s: %s", f.Name, f.Since.Format(time.RFC3339), f.Error)
		}
	}
	for _, r := range s.Roots {
		if r.Error != "" {
			add("trust root %s could not be refreshed, and is not used from %s on: %s", r.Name, r.Until.Format(time.RFC3339), r.Error)
		}
		for _, w := range r.Warnings {
			add("trust root %s: %s", r.Name, w)
		}
	}
	for _, p := range s.Parts {
		if !p.Connected {
			add("%s is not connected since %s: %s", p.Name, p.Since.Format(time.RFC3339), p.Error)
		}
	}
	if !s.Store.Works {
		add("the agent remembers nothing since %s: %s", s.Store.Since.Format(time.RFC3339), s.Store.Error)
	}
	return out
}

// PolicyStatus says which policy is in force.
type PolicyStatus struct {
	Digest string    `json:"digest"` // SHA-256 of the policy files
	Loaded time.Time `json:"loaded"`
	// Error says why the files as they are now are not in force, since when.
	Error string    `json:"error,omitempty"`
	Since time.Time `json:"since,omitzero"`
}

// FilesStatus says whether further files are as the agent uses them.
type FilesStatus struct {
	Name   string    `json:"name"`
	Loaded time.Time `json:"loaded"`
	Error  string    `json:"error,omitempty"`
	Since  time.Time `json:"since,omitzero"`
}

// StoreStatus says whether the agent can remember.
type StoreStatus struct {
	Works   bool      `json:"works"`
	Error   string    `json:"error,omitempty"`
	Since   time.Time `json:"since,omitzero"`
	Dropped uint64    `json:"dropped,omitempty"` // records that were lost
}

// Status says how the agent is.
func (a *Agent) Status() Status {
	rules := a.watcher.Status()
	site := rules.Set.Enforcement
	s := Status{
		Version: a.config.Version, Started: a.started.UTC(), Key: a.config.Key, Observing: append(observing(rules.Set), a.config.Observing...),
		Policy: PolicyStatus{Digest: fmt.Sprintf("%x", rules.Set.Digest), Loaded: rules.Enforced.UTC()},
	}
	if rules.Err != nil {
		s.Policy.Error, s.Policy.Since = rules.Err.Error(), rules.Since.UTC()
	}
	s.Enforcing = len(s.Observing) == 0
	for _, f := range a.further {
		s.Files = append(s.Files, f.read())
	}
	s.Roots = a.roots()
	for _, p := range a.config.Parts {
		s.Parts = append(s.Parts, p.read())
	}
	if a.config.Store != nil {
		st := a.config.Store.Status()
		s.Store = StoreStatus{Works: st.Err == nil, Dropped: st.Dropped}
		if st.Err != nil {
			s.Store.Error, s.Store.Since = st.Err.Error(), st.Since.UTC()
		}
	}
	for _, n := range site.Notices(time.Now()) {
		s.Notices = append(s.Notices, n.Text)
	}
	return s
}

// observing lists what is admitted although enforcing would refuse it.
func observing(set *policy.Set) (what []string) {
	site := set.Enforcement
	if site.Mode == policy.Observe {
		what = append(what, "the whole site")
	}
	if site.Unmatched.InsecureAdmit || site.Unmatched.Mode == policy.Observe {
		what = append(what, "images that no policy is about")
	}
	for _, p := range set.Policies {
		if p.Mode == policy.Observe {
			what = append(what, "policy "+p.Name)
		}
	}
	return what
}
