// Package doctor finds out whether a host enforces: whether podman, skopeo,
// buildah and CRI-O, as they are configured there, keep out every image that
// Touchmark's policy does not admit.
//
// [Examine] looks at the files that containers/image reads, at those of
// Touchmark, and at the running agent, and changes nothing. What it finds is
// one of the causes of [Catalog]; docs/doctor.md lists them. The answer is
//
//   - "no" if there is a cause that lets an image in without being judged
//     ([Open]), wherever else signatures are demanded;
//   - "unknown" if images that ought to get in don't, or something that matters
//     could not be read ([Broken]): then nobody can say what the policy's word
//     is worth here;
//   - "yes" otherwise. A [Warning] does not change that.
//
// An examination believes what is configured. [Probe] does not: it has the
// host's own client pull an image that must be refused.
//
// [Fix] plans the remedies that can be applied by a program; what people wrote
// by hand into scripts and units is named and left to them.
//
// Each check is a function over a [snapshot], in a file named after its
// subject. Files are read within bounds and nothing in them can make a check
// panic or wait; a file that cannot be read or understood is a finding, too.
package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/touchmark/touchmark/podman"
	"github.com/touchmark/touchmark/podman/install"
)

// Answers to the question whether a host enforces.
const (
	Yes     = "yes"
	No      = "no"
	Unknown = "unknown"
)

// Report is what an examination found.
type Report struct {
	// Enforcing is [Yes], [No] or [Unknown].
	Enforcing string `json:"enforcing"`
	// Scopes are what was to be enforced: parts of transports.docker.
	Scopes []string `json:"scopes"`
	// Findings are the causes found, the worst first.
	Findings []Finding `json:"findings"`
	// Notes are what users of the host should know; nothing is wrong.
	Notes []string `json:"notes,omitempty"`
	// Tried are the pulls of a probe.
	Tried []Tried `json:"tried,omitempty"`
	// Time is when the host was examined.
	Time time.Time `json:"time"`
}

// Finding is one cause, at one place.
type Finding struct {
	Code     string   `json:"code"`
	Severity Severity `json:"severity"`
	// Where is the file, with a line if one is to blame, or another object.
	Where string `json:"where"`
	// Message says what is wrong in one sentence.
	Message string `json:"message"`
	// Remedy says what to do.
	Remedy string `json:"remedy"`
	// Fixable says that [Fix] has a change for it.
	Fixable bool `json:"fixable"`
}

// String is the finding in one line.
func (f Finding) String() string {
	return fmt.Sprintf("%s %s: %s: %s", f.Severity, f.Code, f.Where, f.Message)
}

// ExitStatus is 0 for an enforcing host, 1 for one that is not, 3 if that
// cannot be told.
func (r *Report) ExitStatus() int {
	switch r.Enforcing {
	case Yes:
		return 0
	case No:
		return 1
	}
	return 3
}

// Has reports whether there is a finding with the code.
func (r *Report) Has(code string) bool {
	return slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Code == code })
}

// conclude sorts the findings, drops repetitions, and gives the answer.
func (r *Report) conclude() {
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		if a.Severity != b.Severity {
			return a.Severity.rank() - b.Severity.rank()
		}
		if a.Code != b.Code {
			return strings.Compare(a.Code, b.Code)
		}
		return strings.Compare(a.Where, b.Where)
	})
	r.Findings = slices.Compact(r.Findings)
	r.Enforcing = Yes
	for _, f := range r.Findings {
		switch f.Severity {
		case Open:
			r.Enforcing = No
		case Broken:
			if r.Enforcing == Yes {
				r.Enforcing = Unknown
			}
		}
	}
}

// Config says what to examine.
type Config struct {
	// Host is the host, or one user of it.
	Host podman.Host
	// Intent is what is to be enforced, and by what.
	Intent Intent
	// Now is the time of the examination.
	Now time.Time
	// Environment is that of the examined shell or service, "NAME=value" each;
	// nil if none is known.
	Environment []string
	// Agent asks the agent how it is; nil: it is not asked.
	Agent Agent
	// Live says that this process runs on the host, in its network, so that
	// what listens there can be seen.
	Live bool
	// Clock says whether something keeps the host's clock; nil: that is not asked.
	Clock func() (kept bool, err error)
	// Network says that the registries of the declared scopes may be asked.
	Network bool
}

// Examine examines the host. The error is about the configuration only: what
// cannot be found out on the host is a finding.
func Examine(ctx context.Context, c Config) (*Report, error) {
	if c.Now.IsZero() {
		return nil, fmt.Errorf("examining a host: no time given")
	}
	s := take(c)
	for _, check := range checks {
		check(ctx, s)
	}
	r := &Report{Scopes: c.Intent.Scopes, Findings: s.findings, Time: c.Now}
	if len(r.Scopes) > 0 {
		r.Notes = []string{install.Carried}
	}
	r.conclude()
	return r, nil
}
