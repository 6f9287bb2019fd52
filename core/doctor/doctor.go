// Package doctor is what the doctors of all enforcement points share: what a
// doctor finds on a host, how it is said, and how a host's files are looked at.
//
// An [Examination] collects findings. Each is a cause of the doctor's [Catalog]
// at one place; [Examination.Report] gives the answer:
//
//   - "no" if there is a cause that lets an image in without being judged
//     ([Open]), wherever else signatures are demanded;
//   - "unknown" if images that ought to get in don't, or something that matters
//     could not be read ([Broken]): then nobody can say what the policy's word
//     is worth here;
//   - "yes" otherwise. A [Warning] does not change that.
//
// Files are read within bounds and below the host's root, symbolic links as a
// process of that host would follow them; nothing in them can make a check
// panic or wait. What a program may put right by itself is a [Step].
//
// What the causes are, and which checks find them, is the business of
// podman/doctor, containerd/doctor and registry-proxy/doctor.
package doctor

import (
	"fmt"
	"slices"
	"strings"
	"time"
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
	// Scopes are what was to be enforced, as the doctor calls it.
	Scopes []string `json:"scopes"`
	// Findings are the causes found, the worst first.
	Findings []Finding `json:"findings"`
	// Notes are what users of the host should know; nothing is wrong.
	Notes []string `json:"notes,omitempty"`
	// Tried are the pulls of a probe.
	Tried []Tried `json:"tried,omitempty"`
	// Time is when the host was examined.
	Time time.Time `json:"time"`

	catalog Catalog
	client  string
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
	// Fixable says that the doctor has a change for it.
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

// Fixable are those of the codes that the report has, and that can be fixed.
func (r *Report) Fixable(codes ...string) (out []string) {
	for _, f := range r.Findings {
		if f.Fixable && slices.Contains(codes, f.Code) && !slices.Contains(out, f.Code) {
			out = append(out, f.Code)
		}
	}
	return out
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
