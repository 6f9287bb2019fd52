package page

import (
	"fmt"
	"strings"
	"time"

	"github.com/touchmark/touchmark/core/gate"
)

// ago is how long something is past, as people say it.
func ago(now, then time.Time) string {
	switch d := now.Sub(then); {
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	default:
		return fmt.Sprintf("%d days ago", int(d.Hours()/24))
	}
}

// short is a digest as people compare it.
func short(digest string) string {
	algorithm, hex, ok := strings.Cut(digest, ":")
	if !ok || len(hex) <= 12 {
		return digest
	}
	return algorithm + ":" + hex[:12] + "…"
}

// when is a time, in full.
func when(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// unexplained reports whether no check says why a signature was not accepted: a
// predicate and a revocation come after the checks.
func unexplained(a gate.Attempt) bool {
	return !a.Accepted && (len(a.Checks) == 0 || a.Checks[len(a.Checks)-1].Passed)
}
