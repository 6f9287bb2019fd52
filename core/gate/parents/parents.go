// Package parents finds the indexes that list an image, for enforcement points
// that are asked about one platform's manifest of a multi-platform image:
// podman, skopeo, buildah and CRI-O ask about nothing else, and often only the
// index is signed.
//
// [Finder] is a [gate.Admitter] in front of another. It asks that one with the
// indexes that are known to list the image; the image's own evidence comes first
// there. If that does not admit the image, and an index could, the tags of the
// repository where the image lies are searched for indexes that list it, and the
// question is put again with each few that were found. What an index lists
// follows from its digest and is remembered for ever ([Store]), so that most
// questions cost nothing extra.
//
// Nothing found here is believed: the gate reads each index again, with the
// credentials of whoever asks, and makes sure that it lists the image. An index
// that is signed but does not hold the digest admits nothing. What was found
// with one person's credentials (attach.Source.As) is not used for another.
//
// Only a search that saw every tag can say that no index lists an image. Until
// then the answer is undecided, with [gate.CodeParentUnknown] or, where the
// registry did not let the search finish, that reason's code: "not signed" would
// claim more than is known.
//
// # What a search costs
//
// One list of tags (a request for each thousand), one HEAD request for each tag,
// and one GET for each index that was never read before. HEAD requests are not
// counted by registries that limit pulls. Tags that were not seen before come
// first, the newest version in front, and last what tags of cosign's form name as
// signed although no tag leads to it any more. A search ends as soon as everybody
// who waits for one is satisfied. One search is under way per repository, a few in all, and each
// is bounded in requests, bytes and time. It may outlive the patience of who
// asked: it goes on in the background, so that a retry finds what it found.
//
// A search within seconds of another one asks for the list of tags again, and
// looks at those that are new.
//
// Tags of the form sha256-<hex>, with .sig or .att behind it, are taken for
// signatures of the digest that they name, not for images.
package parents

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/policy"
)

const (
	// DefaultPatience is how long one answer may take, search and decisions
	// together. It ends below containerd's limit of ten seconds for its verifiers.
	DefaultPatience = 8 * time.Second
	// maxAsked is how many indexes the gate reads for one question.
	maxAsked = 8
	// maxParents is how many indexes are asked about for one image: a platform that
	// did not change may be listed by every release of its image, and each costs
	// the gate several requests.
	maxParents = 64
)

// Config is what a [Finder] is made from. Admitter is required.
type Config struct {
	// Admitter decides. It is asked again with each few indexes that were found.
	Admitter gate.Admitter
	// Store remembers what indexes list; nil is [NewMemory].
	Store Store
	// Rule is the site's index rule at the moment. Where each platform must be
	// signed itself, nothing is searched. nil is policy.IndexOrPlatform.
	Rule func() policy.IndexRule
	// Patience bounds one answer; 0 is [DefaultPatience]. Five eighths of it are for
	// the search, the rest is for deciding about what was found.
	Patience time.Duration
	// Now is the clock; nil is time.Now. It decides how long the outcome of a
	// search is believed.
	Now func() time.Time
}

// Finder is a [gate.Admitter] that looks for the indexes that list an image
// where one of them could make a difference. It may be used by many goroutines.
type Finder struct {
	config   Config
	searches searches
}

// New makes a Finder.
func New(c Config) *Finder {
	if c.Store == nil {
		c.Store = NewMemory()
	}
	if c.Rule == nil {
		c.Rule = func() policy.IndexRule { return policy.IndexOrPlatform }
	}
	c.Patience = cmp.Or(c.Patience, DefaultPatience)
	if c.Now == nil {
		c.Now = time.Now
	}
	f := &Finder{config: c}
	f.searches.start(c.Store, c.Now)
	return f
}

// Close ends the searches that go on in the background, and waits for them. The
// Finder still answers afterwards, from what is known.
func (f *Finder) Close() error {
	f.searches.stop()
	return nil
}

// errPatience ends an answer that takes too long.
var errPatience = errors.New("deciding took longer than a pull may wait")

// Admit decides about one image, as [gate.Admitter] says. A request whose
// parents are all known is passed on as it is.
func (f *Finder) Admit(ctx context.Context, req gate.Request) gate.Verdict {
	if req.ParentsKnown {
		return f.config.Admitter.Admit(ctx, req)
	}
	limited, cancel := context.WithTimeoutCause(ctx, f.config.Patience, errPatience)
	defer cancel()
	q := &question{
		config: f.config, searches: &f.searches, req: req,
		key: wanted{placeOf(req.Source), req.Digest}, searchUntil: time.Now().Add(f.config.Patience * 5 / 8),
	}
	v := q.answer(limited)
	if v.Code == gate.CodeCancelled && ctx.Err() == nil {
		v.Code = gate.CodeTimeout // the caller is still there
	}
	return v
}

// placeOf names a repository as one person sees it.
func placeOf(s attach.Source) string { return s.Repository.Name() + "\n" + s.As }

// question is one request while it is being answered.
type question struct {
	config      Config
	searches    *searches
	req         gate.Request
	key         wanted
	searchUntil time.Time
	tried       []v1.Hash    // indexes that the gate was asked with
	v           gate.Verdict // its answer until now
}

// answer goes from what is known to what has to be searched.
func (q *question) answer(ctx context.Context) gate.Verdict {
	known := slices.Clone(q.req.Parents)
	known = append(known, q.config.Store.Parents(ctx, q.key.place, q.key.digest, maxParents+1)...)
	// Where indexes must be signed, a single image that was searched for lately is
	// judged at once, and the gate remembers how.
	rule := q.config.Rule()
	alone := len(known) == 0 && (rule == policy.IndexOnly || rule == policy.IndexAndPlatform) && q.searches.foundNone(q.key)
	if q.ask(ctx, known, alone) || rule == policy.PlatformOnly {
		return q.v
	}
	waiting, cancel := context.WithDeadlineCause(ctx, q.searchUntil, errPatience)
	defer cancel()
	s := q.searches.join(ctx, q.key, q.req.Source)
	for listener := s.listen(q.key.digest); ; {
		ended, err := listener.ended() // before what it found, or the last of that is missed
		// What another search has found since we looked into the store, too.
		found := append(listener.found(), q.config.Store.Parents(ctx, q.key.place, q.key.digest, maxParents+1)...)
		fresh := q.untried(found)
		switch {
		case len(fresh) > 0 && len(q.tried) >= maxParents:
			q.searches.leave(s, q.key)
			return q.cannotDecide(gate.CodeParentUnknown, errTooManyParents)
		case len(fresh) > 0:
			if q.ask(ctx, fresh, false) {
				q.searches.leave(s, q.key)
				return q.v
			}
		case ended:
			return q.afterSearch(ctx, err)
		case waiting.Err() != nil:
			return q.cannotDecide(gate.CodeParentUnknown, errStillSearching)
		default:
			listener.wait(waiting)
		}
	}
}

// errTooManyParents says that an image may be admitted by an index that the gate
// is not asked about.
var errTooManyParents = fmt.Errorf("more than %d indexes list it", maxParents)

// untried are the indexes that the gate was not asked with yet.
func (q *question) untried(found []v1.Hash) []v1.Hash {
	return slices.DeleteFunc(found, func(p v1.Hash) bool { return slices.Contains(q.tried, p) })
}

// ask puts the question with some indexes, as many at a time as the gate reads,
// or once without any, and reports whether the answer is final. Of several
// answers that are not, one that is undecided stands.
func (q *question) ask(ctx context.Context, parents []v1.Hash, alone bool) (final bool) {
	for first := true; first || len(parents) > 0; first = false {
		req := q.req
		req.Parents, req.ParentsKnown = nil, alone
		for len(parents) > 0 && len(req.Parents) < maxAsked && len(q.tried) < maxParents {
			if p := parents[0]; !slices.Contains(q.tried, p) {
				req.Parents = append(req.Parents, p)
				q.tried = append(q.tried, p)
			}
			parents = parents[1:]
		}
		if !first && len(req.Parents) == 0 {
			return false // no more are asked about
		}
		v := q.config.Admitter.Admit(ctx, req)
		if !mayHelp(v) {
			// An outage at one index leaves the others to be tried.
			if v.Outcome != gate.OutcomeUndecided || len(req.Parents) == 0 {
				q.v = v
				return true
			}
		}
		if q.v.Outcome == "" || q.v.Code == gate.CodeParentUnknown || q.v.Outcome != gate.OutcomeUndecided {
			q.v = v
		}
	}
	return false
}

// mayHelp reports whether an index could change the answer. A policy that only
// observes admits, but what it says of enforcing should be true.
func mayHelp(v gate.Verdict) bool { return v.ParentMayHelp() || v.Code == gate.CodeObserved }

// afterSearch decides once a search has ended: everything was seen if err is nil.
func (q *question) afterSearch(ctx context.Context, err error) gate.Verdict {
	switch {
	case err != nil:
		return q.cannotDecide(codeOf(err), err)
	case len(q.tried) == 0 && (q.v.Code == gate.CodeParentUnknown || q.v.Code == gate.CodeObserved):
		q.v = gate.Verdict{}
		q.ask(ctx, nil, true) // a single image: in no index
	case len(q.tried) > 0 && q.v.Outcome == gate.OutcomeUndecided:
		q.withoutDeleted(ctx)
	}
	return q.v
}

// withoutDeleted asks again without the indexes that were deleted from the
// repository since they were remembered, if that is what the gate could not get
// over. An index that only can't be reached is not one of them.
func (q *question) withoutDeleted(ctx context.Context) {
	var there []v1.Hash
	for _, p := range q.tried {
		if has, err := attach.Has(ctx, q.req.Source, p); err != nil || has {
			there = append(there, p)
		}
	}
	if len(there) < len(q.tried) {
		q.v, q.tried = gate.Verdict{}, nil
		q.ask(ctx, there, len(there) == 0)
	}
}

// cannotDecide is the answer where a search did not get to its end.
func (q *question) cannotDecide(code gate.Code, why error) gate.Verdict {
	v := q.v
	switch {
	case v.Code == gate.CodeObserved:
		v.Reason = fmt.Sprintf("admitted, because the policy only observes; enforcing could not have decided: %v", why)
		return v
	case v.Outcome == gate.OutcomeUndecided && v.Code != gate.CodeParentUnknown:
		return v // an outage of its own
	}
	own := v.Reason
	if v.Code == gate.CodeParentUnknown {
		own = "the index that lists it must be signed"
	}
	v.Outcome, v.Code, v.Advice = gate.OutcomeUndecided, code, ""
	v.Reason = fmt.Sprintf("cannot decide about %s@%s: %s, and whether a signed index lists it is not known (%v); "+
		"sign its platforms too, as touchmark sign does, or pull through the registry proxy, which sees the index",
		v.Repository, v.Digest, own, why)
	return v
}
