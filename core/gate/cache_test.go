package gate

import (
	"fmt"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/verify"
)

// TestCacheIsBoundedByWhatItHolds: whoever may push can make a verdict tell of a hundred signatures.
func TestCacheIsBoundedByWhatItHolds(t *testing.T) {
	now := time.Now()
	c := newCache(func() time.Time { return now })
	ordinary := Verdict{Outcome: OutcomeAdmitted, Signatures: []SignatureResult{{Attempts: []Attempt{{Checks: make([]verify.Check, 10)}}}}}
	large := Verdict{Outcome: OutcomeRefused, Signatures: make([]SignatureResult, 128)}
	for i := range large.Signatures {
		large.Signatures[i].Attempts = []Attempt{{Checks: make([]verify.Check, 10)}}
	}
	check := func(what string, least, most int) {
		t.Helper()
		sum := 0
		for el := c.recent.Front(); el != nil; el = el.Next() {
			sum += weigh(el.Value.(*cached).verdict)
		}
		if sum != c.weight || sum > maxWeight || len(c.byKey) != c.recent.Len() {
			t.Errorf("%s: weight %d is counted as %d; %d verdicts, %d keys", what, sum, c.weight, c.recent.Len(), len(c.byKey))
		}
		if n := c.recent.Len(); n < least || n > most {
			t.Errorf("%s: %d verdicts, want %d to %d", what, n, least, most)
		}
	}
	for i := range 30_000 {
		c.put(fmt.Sprint("ordinary", i), ordinary, time.Time{})
	}
	check("ordinary verdicts", 10_000, 20_000)
	for i := range 1_000 {
		c.put(fmt.Sprint("large", i), large, time.Time{})
		c.put("large0", large, time.Time{}) // in the place of itself
	}
	check("large verdicts", 100, 200)
	if _, ok := c.get("large0"); !ok {
		t.Error("the one used last is gone")
	}
	now = now.Add(-2 * maxClockDrift)
	if _, ok := c.get("large0"); ok {
		t.Error("a verdict outlived a step of the clock")
	}
	check("after a step of the clock", 0, 0)
	c.put("ordinary", ordinary, time.Time{})
	if _, ok := c.get("ordinary"); !ok {
		t.Error("nothing is kept any more")
	}
	check("one more", 1, 1)
}
