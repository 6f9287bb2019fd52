// Package verdict shows verdicts to people, and gives them exit statuses: for the commands
// that decide, and for those that tell what was decided.
package verdict

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/core/gate"
)

// Print shows a verdict to a person.
func Print(w io.Writer, v gate.Verdict) {
	fmt.Fprintf(w, "%s@%s\n%s (%s): %s\n", v.Repository, v.Digest, v.Outcome, v.Code, v.Reason)
	fmt.Fprintln(w, "\nPolicies about this image:")
	if len(v.Policies) == 0 {
		fmt.Fprintln(w, "  none")
	}
	for _, p := range v.Policies {
		state := "not satisfied"
		if p.Satisfied {
			state = "satisfied by authority " + p.Authority
		}
		if p.Lacking != "" {
			state += ": " + p.Lacking
		}
		fmt.Fprintf(w, "  %s (%s): %s\n", p.Name, p.Mode, state)
	}
	if g := v.Grant; g != nil {
		printGrant(w, g)
	}
	fmt.Fprintln(w, "\nSignatures and attestations found:")
	if len(v.Signatures) == 0 {
		fmt.Fprintln(w, "  none")
	}
	for i, s := range v.Signatures {
		printSignature(w, i+1, s, v.Digest)
	}
	for _, o := range v.Others {
		fmt.Fprintf(w, "  beside them: %s (%s) in %s, which is not verified here\n", o.Name, o.ArtifactType, o.Manifest)
	}
	PrintAdvice(w, v)
	fmt.Fprintln(w, "\nTrust roots:")
	if len(v.Roots) == 0 {
		fmt.Fprintln(w, "  none")
	}
	for _, r := range v.Roots {
		fmt.Fprintf(w, "  %s, sha256 %.16s..., read %s ago\n", r.Name, r.Digest, v.DecidedAt.Sub(r.Loaded).Round(time.Millisecond))
	}
	fmt.Fprintf(w, "\nRequests to the registry (%d, of which %d for manifests, as registries count them):\n", len(v.Lookups), v.ManifestRequests)
	for _, l := range v.Lookups {
		status := fmt.Sprint(l.Status)
		if l.Err != "" {
			status += " " + l.Err
		}
		fmt.Fprintf(w, "  %s %s: %s\n", l.Method, l.URL, status)
	}
}

// PrintAdvice shows the change to the policy that would admit an image, if there is an obvious one.
func PrintAdvice(w io.Writer, v gate.Verdict) {
	if v.Advice != "" {
		fmt.Fprintf(w, "\nThis would admit it, if you want that:\n%s\n", v.Advice)
	}
}

func printGrant(w io.Writer, g *gate.Grant) {
	fmt.Fprintf(w, "\nAdmitted without looking at signatures, by %s: %s\n", cmp.Or(g.By, "none"), g.Reason)
	if !g.Expires.IsZero() {
		fmt.Fprintf(w, "  until %s\n", g.Expires.Format(time.RFC3339))
	}
	if !g.Review.IsZero() {
		fmt.Fprintf(w, "  to be reviewed by %s\n", g.Review.Format(time.RFC3339))
	}
}

func printSignature(w io.Writer, n int, s gate.SignatureResult, digest string) {
	fmt.Fprintf(w, "  %d. %s, layer %d of %s\n", n, s.Where, s.Layer, s.Manifest)
	if s.Subject != digest {
		fmt.Fprintf(w, "     beside the index %s\n", s.Subject)
	}
	if s.Unreadable != "" {
		fmt.Fprintf(w, "     cannot be read: %s\n", s.Unreadable)
		return
	}
	if len(s.Attempts) == 0 {
		fmt.Fprintln(w, "     not needed")
	}
	for _, a := range s.Attempts {
		result := "accepted"
		if !a.Accepted {
			result = "not accepted: " + string(a.Code)
		}
		as := ""
		if a.Attestation != "" {
			as = ", as attestation " + a.Attestation
		}
		fmt.Fprintf(w, "     for policy %s, authority %s, trust root %s%s: %s\n", a.Policy, a.Authority, cmp.Or(a.Root, "none"), as, result)
		for _, c := range a.Checks {
			mark := "ok  "
			if !c.Passed {
				mark = "FAIL"
			}
			line := fmt.Sprintf("       %s %s: %s", mark, c.Name, c.Value)
			if c.Want != "" {
				line += " (wanted: " + c.Want + ")"
			}
			fmt.Fprintln(w, line)
		}
		// A predicate and a revocation come after the checks.
		if n := len(a.Checks); !a.Accepted && (n == 0 || a.Checks[n-1].Passed) {
			fmt.Fprintf(w, "       FAIL %s\n", a.Reason)
		}
	}
}

// Error gives a verdict's exit status.
func Error(v gate.Verdict) error {
	switch v.Outcome {
	case gate.OutcomeAdmitted:
		return nil
	case gate.OutcomeRefused:
		return exit.Refused(fmt.Errorf("refused: %s", v.Reason))
	}
	return exit.Undecided(errors.New(v.Reason))
}
