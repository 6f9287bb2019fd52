// Package gate decides whether an image may run. Every enforcement point asks
// the same question, a [Request], of the same function, [Admitter.Admit], and
// gets the same answer, a [Verdict]; an image that one of them admits and
// another refuses under the same policy is a bug here.
//
// [Gate] is the Admitter that decides in this process. It looks up which
// policies are about the image (core/policy), what evidence lies beside it in
// the registry (core/attach), and whether that evidence proves what the
// policies demand (core/verify). The decision itself is one line, in judge.go:
// an image is admitted if every policy that enforces is satisfied, and there is
// at least one policy.
//
// Three answers are kept apart throughout. Admitted and refused are decisions;
// undecided means that something needed for the decision could not be had, such
// as the registry's answer. Only admitted admits, and an outage is never
// reported as a missing signature.
//
// A site's own rules (policy.Enforcement) come before the policies: a revoked
// digest is refused whatever else holds, and an exception or a pin admits
// without a request. What the site demands of every signature (witnesses, an
// age, no revoked signer) is demanded of each one that is tried.
//
// Verdicts are cached by the image, its parents and the repository, until the
// policies or the trust roots are replaced. One lookup is in flight per image,
// however many ask. A [Store] keeps admissions beyond a restart.
package gate

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/singleflight"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/steady"
	"github.com/touchmark/touchmark/core/trust"
)

const (
	// lookupTimeout bounds one decision. It ends below containerd's limit of ten
	// seconds for its verifiers, so that the reason is ours.
	lookupTimeout = 8 * time.Second
	// maxVerifying bounds what one decision spends on verifying; signatures take a
	// millisecond each. Whoever may push can put many beside an image that take a
	// hundred times as long, and must not have the processor for that.
	maxVerifying = 1500 * time.Millisecond
	// maxParents bounds the indexes that are read for one image.
	maxParents = 8
)

// Config is what a [Gate] is made from. Policy is required, and so are the
// trust roots that it refers to.
type Config struct {
	Policy *policy.Set
	Roots  []*trust.Root
	// Now is the clock, time.Now if nil. It decides how long verdicts are
	// cached, and whether a log is still trusted for a key's signature without
	// any time; never whether a signature that says when it was made is good.
	Now func() time.Time
	// Store keeps admissions for the time after a restart; nil keeps none.
	Store Store
}

// Gate decides in this process. It may be used by many goroutines.
type Gate struct {
	now     func() time.Time
	steady  *steady.Clock // for what ends: trust roots, exceptions, evidence that is too old
	rules   atomic.Pointer[rules]
	reloads atomic.Uint64
	cache   *cache
	store   Store // may be nil
	flights singleflight.Group
	turns   turns
}

// turns hold a place for each decision that verifies signatures, so that costly
// evidence beside many images can't take every processor. Questions that are
// asked without anybody's credentials have places of their own: any user of a
// host may put them, about any registry, and root's pulls must not stand behind
// them.
type turns struct{ anonymous, entitled chan struct{} }

func newTurns() turns {
	n := runtime.GOMAXPROCS(0)
	return turns{anonymous: make(chan struct{}, n), entitled: make(chan struct{}, n)}
}

func (t turns) of(s attach.Source) chan struct{} {
	if s.As == "" {
		return t.anonymous
	}
	return t.entitled
}

// New makes a gate. It is an error if a policy refers to a trust root that is
// not given, or leaves open which of several it means.
func New(c Config) (*Gate, error) {
	g := &Gate{now: c.Now, store: c.Store}
	if g.now == nil {
		g.now = time.Now
	}
	g.steady = steady.New(g.now)
	g.cache = newCache(g.now)
	g.turns = newTurns()
	if err := g.Reload(c.Policy, c.Roots); err != nil {
		return nil, err
	}
	return g, nil
}

// Reload replaces the policies and trust roots. On an error nothing changes.
// Decisions under way finish under the rules with which they began; every later
// one is made under the new rules, and no older verdict is given again, unless
// the files say what they said before and the Store has it.
func (g *Gate) Reload(set *policy.Set, roots []*trust.Root) error {
	r, err := newRules(set, roots, g.now())
	if err != nil {
		return err
	}
	// Not their digests: policies that were made in a program, not read from a
	// file, may differ and have the same one.
	r.generation = g.reloads.Add(1)
	r.turns = g.turns
	r.storedUnder = r.name()
	g.rules.Store(r)
	// Afterwards, since a disk may be slow, and a revocation must not wait for it:
	// what is stored under other rules is not found under these.
	if g.store != nil {
		g.store.Begin(r.storedUnder, g.now())
	}
	return nil
}

// Roots are the trust roots in force, those of the policy files among them.
func (g *Gate) Roots() []RootInfo { return slices.Clone(g.rules.Load().roots) }

// IndexRule is the site's at the moment.
func (g *Gate) IndexRule() policy.IndexRule { return g.rules.Load().policies.Enforcement.Index }

// Admit decides about one image.
func (g *Gate) Admit(ctx context.Context, req Request) Verdict {
	rules := g.rules.Load()
	if err := checkRequest(req); err != nil {
		return undecided(req, CodeBadRequest, err).at(g.now())
	}
	key := rules.cacheKey(req)
	if v, ok := g.cache.get(key); ok {
		v.Cached = true
		return v
	}
	// The lookup belongs to all who wait for it: it outlives a caller that goes
	// away, within its own time limit.
	answer := g.flights.DoChan(key, func() (any, error) {
		// A lookup may have ended between our look into the cache and now.
		if v, ok := g.cache.get(key); ok {
			v.Cached = true
			return v, nil
		}
		if v, ok := g.restore(rules, req, key); ok {
			return v, nil
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookupTimeout)
		defer cancel()
		now := g.steady.Now()
		v, until := rules.judgeSafely(ctx, req, now)
		if ahead := now.Round(0).Sub(g.now().Round(0)); ahead > 0 && !until.IsZero() {
			until = until.Add(-ahead) // the wall clock was set back, and the cache goes by it
		}
		v = v.at(g.now())
		until = g.cache.put(key, v, until)
		g.keep(rules, req, v, until)
		return v, nil
	})
	select {
	case res := <-answer:
		return res.Val.(Verdict)
	case <-ctx.Done():
		return undecided(req, CodeCancelled, context.Cause(ctx)).at(g.now())
	}
}

// restore looks for an admission of this image in the time before a restart. It
// is given again within the time that it had then, and no longer.
func (g *Gate) restore(rules *rules, req Request, key string) (Verdict, bool) {
	if g.store == nil || rules.storedUnder == "" {
		return Verdict{}, false
	}
	kept, ok := g.store.Restore(rules.storedUnder, storeKey(req), g.now())
	if !ok || !kept.good(req, rules, g.now()) {
		return Verdict{}, false
	}
	kept.Verdict.Cached = true
	g.cache.put(key, kept.Verdict, kept.Until)
	return kept.Verdict, true
}

// keep hands an admission to the store.
func (g *Gate) keep(rules *rules, req Request, v Verdict, until time.Time) {
	if g.store == nil || rules.storedUnder == "" || v.Outcome != OutcomeAdmitted || v.Code != CodeAdmitted {
		return
	}
	// The wall clock's times: the monotonic one means nothing after a restart.
	from := v.DecidedAt.Round(0)
	until = earlier(until.Round(0), from.Add(admittedFor)) // the cache counts from a moment later
	g.store.Keep(rules.storedUnder, storeKey(req), Kept{Verdict: v, From: from, Until: until})
}

// judgeSafely turns a panic into an undecided verdict: evidence comes from
// whoever may push, and must not be able to end the process that guards pulls.
func (r *rules) judgeSafely(ctx context.Context, req Request, now time.Time) (v Verdict, until time.Time) {
	defer func() {
		if p := recover(); p != nil {
			v = undecided(req, CodeInternal, fmt.Errorf("internal error: %v", p))
		}
	}()
	return r.judge(ctx, req, now)
}

// Undecided is the verdict of whoever asks a gate elsewhere and gets no answer.
func Undecided(req Request, code Code, err error) Verdict {
	return undecided(req, code, err).at(time.Now())
}

func checkRequest(req Request) error {
	name, err := attach.NormalizeRepository(req.Repository)
	if err != nil {
		return err
	}
	if name != req.Repository {
		return fmt.Errorf("repository %q is not written as the logical name %q", req.Repository, name)
	}
	if len(req.Parents) > maxParents {
		return fmt.Errorf("%d parents are named, the limit is %d", len(req.Parents), maxParents)
	}
	for _, d := range append([]v1.Hash{req.Digest}, req.Parents...) {
		if _, err := v1.NewHash(d.String()); err != nil || d.Algorithm != "sha256" {
			return fmt.Errorf("digest %q is not a SHA-256 digest", d)
		}
	}
	return nil
}

// cacheKey names everything that a verdict depends on but the registry's
// content.
func (r *rules) cacheKey(req Request) string {
	return strings.Join(append([]string{strconv.FormatUint(r.generation, 10)}, requestKey(req)...), "\n")
}

// storeKey is the request's part of [rules.cacheKey]; the rules stand beside it.
func storeKey(req Request) string { return digestOf(requestKey(req)...) }

func requestKey(req Request) []string {
	parts := []string{strconv.FormatBool(req.ParentsKnown), req.Repository, req.Source.Repository.Name(), req.Source.As, req.Digest.String()}
	var parents []string
	for _, p := range req.Parents {
		parents = append(parents, p.String())
	}
	slices.Sort(parents)
	return append(parts, parents...)
}
