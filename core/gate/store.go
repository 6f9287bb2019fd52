package gate

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Store keeps admissions for a gate's next life, so that a restart does not ask
// every registry again, and an outage right after one stops no pull. A gate
// does without what a store cannot give or keep; none of the methods may take
// long.
//
// Only admissions of the signature kind are kept, and never those of a gate
// whose policies were made in a program: without a file there is no digest that
// tells rules from others. A store keeps nothing beyond a change of the rules.
type Store interface {
	// Begin says which rules are in force from now on; "" are rules that have no
	// name. What was kept under others is forgotten for good.
	Begin(rules string, now time.Time)
	// Restore returns what was kept under a key and these rules. If now lies
	// before a time that the store was told earlier, also before a restart, the
	// clock went back, nothing that is kept has an age, and all of it is forgotten.
	Restore(rules, key string, now time.Time) (Kept, bool)
	// Keep keeps an admission, if these rules are still in force.
	Keep(rules, key string, k Kept)
}

// Kept is an admission and the time within which it may be given again.
type Kept struct {
	Verdict     Verdict
	From, Until time.Time
}

// good reports whether what a store gave is what was kept, and still holds. A
// store is a file, and the clock may have been set.
func (k Kept) good(req Request, rules *rules, now time.Time) bool {
	v := k.Verdict
	return v.Outcome == OutcomeAdmitted && v.Code == CodeAdmitted && v.Repository == req.Repository && v.Digest == req.Digest.String() &&
		v.PolicyDigest == rules.policyDigest() &&
		!now.Before(k.From) && now.Before(k.Until) && k.Until.Sub(k.From) <= admittedFor
}

// name tells rules that were read from files from all others, across restarts;
// "" for rules that were not.
func (r *rules) name() string {
	digest := r.policyDigest()
	if digest == "" {
		return ""
	}
	var roots []string
	for _, root := range r.roots {
		roots = append(roots, fmt.Sprintf("%q %s", root.Name, root.Digest))
	}
	slices.Sort(roots)
	return digestOf(append([]string{digest}, roots...)...)
}

// policyDigest is that of the policy files, "" if there are none.
func (r *rules) policyDigest() string {
	if r.policies.Digest == [sha256.Size]byte{} {
		return ""
	}
	return hex.EncodeToString(r.policies.Digest[:])
}

// digestOf is one name for several parts, of which none holds a line break.
func digestOf(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\n")))
	return hex.EncodeToString(sum[:])
}
