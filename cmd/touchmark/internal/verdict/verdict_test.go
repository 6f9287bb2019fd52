package verdict

import (
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/verify"
)

// TestExplainAttempt: a reason is shown once, be it a check's or of what comes after the checks.
func TestExplainAttempt(t *testing.T) {
	passed := verify.Check{Name: "statement", Passed: true, Value: "https://slsa.dev/provenance/v1"}
	failed := verify.Check{Name: "identity", Value: "mallory@evil.example", Want: "alice@acme.example"}
	for _, tt := range []struct {
		name    string
		attempt gate.Attempt
		want    []string // after "FAIL"
	}{
		{"accepted", gate.Attempt{Accepted: true, Checks: []verify.Check{passed}}, nil},
		{"check", gate.Attempt{Reason: "identity: ...", Checks: []verify.Check{passed, failed}}, []string{"identity: mallory@evil.example (wanted: alice@acme.example)"}},
		{"predicate", gate.Attempt{Reason: "3 critical vulnerabilities", Checks: []verify.Check{passed}}, []string{"3 critical vulnerabilities"}},
		{"no checks", gate.Attempt{Reason: "it is a legacy signature"}, []string{"it is a legacy signature"}},
	} {
		var text strings.Builder
		Print(&text, gate.Verdict{Signatures: []gate.SignatureResult{{Attempts: []gate.Attempt{tt.attempt}}}})
		var got []string
		for _, line := range strings.Split(text.String(), "\n") {
			if _, why, found := strings.Cut(line, "FAIL "); found {
				got = append(got, why)
			}
		}
		if strings.Join(got, "\n") != strings.Join(tt.want, "\n") {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
