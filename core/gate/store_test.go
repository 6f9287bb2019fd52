package gate_test

import (
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/trust"
)

// kept is a gate.Store that forgets nothing of itself: what keeps a gate from
// using it is the gate's.
type kept struct {
	mu    sync.Mutex
	rules string
	byKey map[string]gate.Kept
}

func (k *kept) Begin(rules string, _ time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.rules = rules
}

func (k *kept) Restore(rules, key string, _ time.Time) (gate.Kept, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	v, ok := k.byKey[rules+key]
	return v, ok
}

func (k *kept) Keep(rules, key string, v gate.Kept) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.byKey == nil {
		k.byKey = make(map[string]gate.Kept)
	}
	k.byKey[rules+key] = v
}

func (k *kept) len() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.byKey)
}

// down is a registry that cannot be reached.
func down(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") }

// restart makes a new gate over what the old one kept.
func (w *world) restart(tb testing.TB, store gate.Store, policyText string, roots ...*trust.Root) {
	tb.Helper()
	var err error
	if w.gate, err = gate.New(gate.Config{Policy: parse(tb, policyText), Roots: roots, Now: w.clock.Now, Store: store}); err != nil {
		tb.Fatal(err)
	}
}

// An admission outlives a restart, within its own ten minutes and under the same
// rules; and an outage then is an outage.
func TestAdmissionsOutliveARestart(t *testing.T) {
	other := *coretest.New(t).TrustedRoot(t)
	other.Name = "other"
	for _, c := range []struct {
		name   string
		policy string
		roots  func(w *world) []*trust.Root
		later  time.Duration
		change func(*gate.Request)
		code   gate.Code
	}{
		{name: "at once", code: gate.CodeAdmitted},
		{name: "a moment before its end", later: 10*time.Minute - time.Second, code: gate.CodeAdmitted},
		{name: "after its end", later: 10 * time.Minute, code: gate.CodeLookupFailed},
		{name: "the clock went back", later: -time.Second, code: gate.CodeLookupFailed},
		{name: "another policy", policy: release + "# changed\n", code: gate.CodeLookupFailed},
		{name: "a trust root more", roots: func(w *world) []*trust.Root { return []*trust.Root{w.root, &other} }, code: gate.CodeLookupFailed},
		{name: "with somebody's credentials", change: func(r *gate.Request) { r.Source.As = "agent" }, code: gate.CodeLookupFailed},
		{name: "under another name", change: func(r *gate.Request) { r.Repository = "registry.example/acme/other" }, code: gate.CodeLookupFailed},
		{name: "its parents are not known", change: func(r *gate.Request) { r.ParentsKnown = false }, code: gate.CodeLookupFailed},
	} {
		w := newWorld(t, release)
		store := new(kept)
		w.restart(t, store, release, w.root)
		w.signAs(t, w.image, alice)
		first := w.admit(t, w.image)
		require(t, c.name+", before", first, gate.OutcomeAdmitted, gate.CodeAdmitted)

		w.wire.set(down)
		w.clock.Set(w.clock.Now().Add(c.later))
		text, roots := release, []*trust.Root{w.root}
		if c.policy != "" {
			text = c.policy
		}
		if c.roots != nil {
			roots = c.roots(w)
		}
		w.restart(t, store, text, roots...)
		req := w.request(t, w.image)
		if c.change != nil {
			c.change(&req)
		}
		v := w.gate.Admit(t.Context(), req)
		outcome := gate.OutcomeUndecided
		if c.code == gate.CodeAdmitted {
			outcome = gate.OutcomeAdmitted
			if !v.Cached || !v.DecidedAt.Equal(first.DecidedAt) {
				t.Errorf("%s: the verdict is of %s, cached %v; want the old one's %s", c.name, v.DecidedAt, v.Cached, first.DecidedAt)
			}
			// Restoring does not make its time longer.
			w.clock.Set(first.DecidedAt.Add(10*time.Minute + time.Second))
			require(t, c.name+", later", w.gate.Admit(t.Context(), req), gate.OutcomeUndecided, gate.CodeLookupFailed)
		}
		require(t, c.name, v, outcome, c.code)
	}
}

// Only admissions by signatures are kept.
func TestOnlyAdmissionsAreKept(t *testing.T) {
	for _, c := range []struct {
		name   string
		policy string
		sign   bool
		down   bool
		code   gate.Code
	}{
		{"admitted", release, true, false, gate.CodeAdmitted},
		{"refused", release, false, false, gate.CodeUnsigned},
		{"undecided", release, true, true, gate.CodeLookupFailed},
		{"observed", release + "  mode: observe\n", false, false, gate.CodeObserved},
	} {
		w := newWorld(t, release)
		store := new(kept)
		w.restart(t, store, c.policy, w.root)
		if c.sign {
			w.signAs(t, w.image, alice)
		}
		if c.down {
			w.wire.set(down)
		}
		if v := w.admit(t, w.image); v.Code != c.code {
			t.Errorf("%s: %s (%s)", c.name, v.Code, v.Reason)
		}
		if got, want := store.len(), map[bool]int{true: 1}[c.code == gate.CodeAdmitted]; got != want {
			t.Errorf("%s: %d verdicts are kept, want %d", c.name, got, want)
		}
	}
}

// Rules without a file have no name, and nothing is kept under them.
func TestRulesOfAProgramAreNotKept(t *testing.T) {
	w := newWorld(t, release)
	store := new(kept)
	set := policy.Any(&policy.Authority{Name: "all", Static: &policy.Static{Pass: true}})
	g, err := gate.New(gate.Config{Policy: set, Now: w.clock.Now, Store: store})
	if err != nil {
		t.Fatal(err)
	}
	if v := g.Admit(t.Context(), w.request(t, w.image)); !v.Admitted() || store.len() != 0 || store.rules != "" {
		t.Errorf("%s; %d verdicts are kept, under rules named %q", v.Reason, store.len(), store.rules)
	}
}

// What a store gives is held against the question.
func TestAStoreIsNotBelieved(t *testing.T) {
	w := newWorld(t, release)
	store := new(kept)
	w.restart(t, store, release, w.root)
	w.signAs(t, w.image, alice)
	require(t, "before", w.admit(t, w.image), gate.OutcomeAdmitted, gate.CodeAdmitted)
	good := store.byKey
	w.wire.set(down)
	for name, change := range map[string]func(*gate.Kept){
		"as it was":      nil,
		"refused":        func(k *gate.Kept) { k.Verdict.Outcome = gate.OutcomeRefused },
		"observed":       func(k *gate.Kept) { k.Verdict.Code = gate.CodeObserved },
		"another image":  func(k *gate.Kept) { k.Verdict.Digest = "sha256:" + hashOf(t, w.image).Hex[1:] + "0" },
		"another name":   func(k *gate.Kept) { k.Verdict.Repository += "x" },
		"another policy": func(k *gate.Kept) { k.Verdict.PolicyDigest = "00" },
		"too long":       func(k *gate.Kept) { k.Until = k.From.Add(time.Hour) },
		"from tomorrow":  func(k *gate.Kept) { k.From, k.Until = k.From.Add(24*time.Hour), k.Until.Add(24*time.Hour) },
		"empty":          func(k *gate.Kept) { *k = gate.Kept{} },
	} {
		store.byKey = make(map[string]gate.Kept)
		for key, v := range good {
			if change != nil {
				change(&v)
			}
			store.byKey[key] = v
		}
		w.restart(t, store, release, w.root)
		if v := w.admit(t, w.image); v.Admitted() != (change == nil) {
			t.Errorf("%s: %s (%s)", name, v.Outcome, v.Reason)
		}
	}
}

// A trust root that ended for good makes undecided what needs it; what another
// root vouches for is admitted.
func TestTrustRootThatEnded(t *testing.T) {
	w := newWorld(t, release)
	w.signAs(t, w.image, alice)
	second := *w.root
	second.Name = "second"
	ended := *w.root
	ended.Until = w.clock.Now().Add(time.Minute)
	both := policyDocument("both", "enforce", keyless("first", "alice@acme.example")+
		"  - name: second\n    keyless: {trustRootRef: second, identities: [{issuer: \""+coretest.Issuer+"\", subject: alice@acme.example}]}\n")

	w.restart(t, nil, release, &ended)
	require(t, "before its end", w.admit(t, w.image), gate.OutcomeAdmitted, gate.CodeAdmitted)
	w.clock.Set(ended.Until.Add(time.Nanosecond))
	require(t, "at its end", w.admit(t, w.image), gate.OutcomeUndecided, gate.CodeStaleRoot)
	w.restart(t, nil, both, &ended, &second)
	require(t, "another root", w.admit(t, w.image), gate.OutcomeAdmitted, gate.CodeAdmitted)
	unsigned := w.push(t, "v2", coretest.Image(t, 2))
	w.restart(t, nil, release, &ended)
	require(t, "nothing to verify", w.admit(t, unsigned), gate.OutcomeRefused, gate.CodeUnsigned)
}
