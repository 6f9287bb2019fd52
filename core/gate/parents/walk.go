package parents

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"golang.org/x/sync/errgroup"

	"github.com/touchmark/touchmark/core/attach"
)

// Bounds on one search. Whoever may push can make a repository as large as they
// like.
const (
	maxWalkTags     = 10_000
	maxWalkRequests = 25_000    // two for each tag, and some for what they name
	maxWalkBytes    = 256 << 20 // of indexes: ten thousand of the largest that are made
	maxWalkTime     = 2 * time.Minute
	// walkWorkers is how many requests are open at a time: a repository with
	// thousands of tags is searched in seconds, and no registry feels it.
	walkWorkers = 8
	// maxWalkFailures is how many answers may be missing before a search gives up on
	// its registry.
	maxWalkFailures = 8
	// maxDepth and maxNested bound indexes in indexes as the gate does; hardly
	// anybody makes one.
	maxDepth  = 2
	maxNested = 8
)

// walk looks at everything that a repository's tags lead to.
type walk struct {
	store   Store
	place   string
	src     attach.Source
	now     func() time.Time
	report  func(index v1.Hash, children []v1.Hash)
	seenTag func(tag string) (seen seenTag, fresh bool) // what is remembered of a tag
	stopped context.CancelCauseFunc

	mu       sync.Mutex
	visited  map[string]seenTag
	seen     map[v1.Hash]bool // what was looked at by digest, or claimed to be behind a tag
	requests int
	bytes    int
	failures int
	problem  error // the first reason why something was not seen
}

// run walks. nil means that everything was seen.
func (w *walk) run(ctx context.Context) error {
	ctx, w.stopped = context.WithCancelCause(ctx)
	defer w.stopped(nil)
	// One handshake for all. If it fails, the list of tags says why.
	if src, err := attach.Connect(ctx, w.src, transport.PullScope); err == nil {
		w.src = src
	}
	tags, err := attach.Tags(ctx, w.src, maxWalkTags)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case statusOf(err) == http.StatusNotFound:
		return nil // no such repository: there is nothing to find
	case err != nil && !errors.Is(err, attach.ErrTooMany):
		return err
	}
	w.problem = err
	images, named := w.order(ctx, tags)
	w.each(ctx, images, func(tag string) { w.visitTag(ctx, tag) })
	w.each(ctx, named, func(tag string) { w.visitNamed(ctx, tag) })
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return w.problem
}

// each visits some at a time, in their order.
func (w *walk) each(ctx context.Context, tags []string, visit func(tag string)) {
	var group errgroup.Group
	group.SetLimit(walkWorkers)
	for _, tag := range tags {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error {
			defer func() {
				if p := recover(); p != nil {
					w.stopped(fmt.Errorf("internal error: %v", p))
				}
			}()
			visit(tag)
			return nil
		})
	}
	_ = group.Wait() // visits note their errors themselves
}

// signatureTag is a tag that names what it is a signature of.
var signatureTag = regexp.MustCompile(`\Asha256-([0-9a-f]{64})(\.[a-z]+)?\z`)

// order says which tags are looked at, and those that name a digest apart: what
// was never looked at first, the newest version in front. A tag that was looked
// at just now is passed over, unless the store has forgotten the index there.
func (w *walk) order(ctx context.Context, tags []string) (images, named []string) {
	var again []string
	for _, tag := range tags {
		seen, fresh := w.seenTag(tag)
		switch {
		case fresh && (seen.index == v1.Hash{} || w.store.Known(ctx, w.place, seen.index)):
		case signatureTag.MatchString(tag):
			named = append(named, tag)
		case seen.at.IsZero():
			images = append(images, tag)
		default:
			again = append(again, tag)
		}
	}
	slices.SortFunc(images, newestFirst)
	slices.SortFunc(again, newestFirst)
	return append(images, again...), named
}

// seenTag is what was seen of a tag: when, and which index it led to, if to one.
type seenTag struct {
	at    time.Time
	index v1.Hash
}

// visitTag looks at what a tag names. Only an index can list anything.
func (w *walk) visitTag(ctx context.Context, tag string) {
	if index, ok := w.visitReference(ctx, tag); ok {
		w.note(tag, index)
	}
}

// visitNamed looks at what a signature's tag says it is about.
func (w *walk) visitNamed(ctx context.Context, tag string) {
	digest := v1.Hash{Algorithm: "sha256", Hex: signatureTag.FindStringSubmatch(tag)[1]}
	if w.begun(digest) || w.store.Known(ctx, w.place, digest) {
		return
	}
	if index, ok := w.visitReference(ctx, digest.String()); ok {
		w.note(tag, index)
	}
}

func (w *walk) note(tag string, index v1.Hash) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.visited[tag] = seenTag{w.now(), index}
}

// visitReference gives the index at a tag or digest, zero if there is none, once
// all in it was seen.
func (w *walk) visitReference(ctx context.Context, reference string) (index v1.Hash, ok bool) {
	if !w.spend(1, 0) {
		return index, false
	}
	claim, err := attach.Peek(ctx, w.src, reference)
	switch status := statusOf(err); {
	case status == http.StatusNotFound: // deleted since
		return index, true
	case status == http.StatusMethodNotAllowed, status == http.StatusNotImplemented, status == http.StatusBadRequest:
		claim = attach.Claim{} // a registry that does not know HEAD
	case err != nil:
		w.fail(ctx, err)
		return index, false
	}
	if claim.MediaType != "" && !claim.MediaType.IsIndex() {
		if claim.Digest != (v1.Hash{}) {
			w.begin(claim.Digest)
		}
		return index, true
	}
	if claim.Digest == (v1.Hash{}) {
		return w.read(ctx, reference, 0)
	}
	if !w.begin(claim.Digest) {
		return claim.Digest, true
	}
	return w.visitIndex(ctx, claim.Digest, 0)
}

// visitIndex reads an index, unless it is known.
func (w *walk) visitIndex(ctx context.Context, digest v1.Hash, depth int) (v1.Hash, bool) {
	if w.store.Known(ctx, w.place, digest) {
		return digest, true
	}
	return w.read(ctx, digest.String(), depth)
}

// read reads what should be an index, and remembers what it lists. One with
// indexes in it is not remembered: what is known is passed over, and the inner
// ones might be forgotten.
func (w *walk) read(ctx context.Context, reference string, depth int) (index v1.Hash, ok bool) {
	if !w.spend(1, 0) {
		return index, false
	}
	m, err := attach.Read(ctx, w.src, reference)
	if statusOf(err) == http.StatusNotFound {
		return index, true
	}
	if err != nil {
		w.fail(ctx, err)
		return index, false
	}
	if !w.spend(0, len(m.Raw)) {
		return index, false
	}
	if !m.MediaType.IsIndex() {
		return index, true
	}
	var children []v1.Hash
	nested := 0
	for _, d := range m.Manifests {
		if d.Digest.Algorithm == "sha256" && !slices.Contains(children, d.Digest) {
			children = append(children, d.Digest)
		}
		if !d.MediaType.IsIndex() {
			continue
		}
		if nested++; nested > maxNested || depth == maxDepth {
			w.fail(ctx, fmt.Errorf("%w: index %s nests more indexes than are read", errTooLarge, m.Digest))
			return index, false
		}
		if _, ok := w.visitIndex(ctx, d.Digest, depth+1); !ok {
			return index, false
		}
	}
	if len(children) > MaxChildren {
		w.fail(ctx, fmt.Errorf("%w: index %s lists more than %d manifests", errTooLarge, m.Digest, MaxChildren))
		return index, false
	}
	if nested == 0 {
		w.store.Remember(ctx, w.place, m.Digest, children)
	}
	w.report(m.Digest, children)
	return m.Digest, true
}

// begin reports whether a digest is still to be looked at.
func (w *walk) begin(digest v1.Hash) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	before := w.seen[digest]
	w.seen[digest] = true
	return !before
}

// begun reports whether a digest was looked at, or is being.
func (w *walk) begun(digest v1.Hash) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen[digest]
}

// spend takes requests and bytes from what a search may use.
func (w *walk) spend(requests, bytes int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.requests += requests
	w.bytes += bytes
	if w.requests <= maxWalkRequests && w.bytes <= maxWalkBytes {
		return true
	}
	w.stopped(errTooLarge)
	return false
}

// fail notes that something was not seen. A registry that does not let us look,
// has no time, or fails again and again, is not asked any further.
func (w *walk) fail(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return // that is why
	}
	w.mu.Lock()
	w.problem = cmp.Or(w.problem, err)
	w.failures++
	enough := w.failures > maxWalkFailures
	w.mu.Unlock()
	switch status := statusOf(err); {
	case enough, status == http.StatusUnauthorized, status == http.StatusForbidden, status == http.StatusTooManyRequests:
		w.stopped(err)
	}
}

// statusOf is the status of a registry's answer that is an error, 0 if there was
// none.
func statusOf(err error) int {
	var lookup *attach.LookupError
	if errors.As(err, &lookup) {
		return lookup.Status
	}
	return 0
}

// newestFirst compares tags as people number versions: 1.10 before 1.9, and the
// tags that move before those with a number.
func newestFirst(a, b string) int {
	return cmp.Or(boolean(b == "latest")-boolean(a == "latest"), -compareVersions(a, b))
}

func boolean(b bool) int {
	if b {
		return 1
	}
	return 0
}

// compareVersions compares runs of digits as numbers and the rest as text.
func compareVersions(a, b string) int {
	for a != "" && b != "" {
		na, nb := digits(a), digits(b)
		if na > 0 && nb > 0 {
			x, y := strings.TrimLeft(a[:na], "0"), strings.TrimLeft(b[:nb], "0")
			if c := cmp.Or(cmp.Compare(len(x), len(y)), strings.Compare(x, y)); c != 0 {
				return c
			}
			a, b = a[na:], b[nb:]
			continue
		}
		if c := cmp.Compare(a[0], b[0]); c != 0 {
			return c
		}
		a, b = a[1:], b[1:]
	}
	return cmp.Compare(len(a), len(b))
}

// digits is the number of digits with which s begins.
func digits(s string) int { return len(s) - len(strings.TrimLeft(s, "0123456789")) }
