package registryproxy

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"
)

const (
	// maxWalkTags and maxWalkManifests bound what one search of a repository fetches, walkTimeout how long it takes. A
	// client waits for it, and whoever may push can make a repository as large as they like.
	maxWalkTags      = 1000
	maxWalkManifests = 2000
	walkTimeout      = 20 * time.Second
	// walkWorkers is how many manifests one search fetches at a time. All of them together have half of [maxFetches], so that pulls go on
	// however many repositories are searched.
	walkWorkers = 8
	// walkFresh is how long the outcome of a search is believed, so that requests for nonsense do not search again and
	// again; a parent that was pushed meanwhile is found by the next search.
	walkFresh = 10 * time.Second
	// maxWalks bounds the memory of remembered searches.
	maxWalks = 4096
)

// maxIndexDepth is how deep nested indexes are followed: an index of indexes is rare, and deeper ones are attacks.
const maxIndexDepth = 2

var (
	errSearchBounded = errors.New("the repository has more tags and manifests than are searched")
	errSearchDeep    = errors.New("the repository has indexes that are nested deeper than is searched")
	errSearchLost    = errors.New("the repository has more than this proxy remembers at once")
	errSearchAstray  = errors.New("the upstream registry's list of tags goes on after a page without tags")
)

// errSearchedKept says that all was seen of what was kept for an outage. Like other answers that were kept it is good enough to admit by, as
// a manifest that no index lists; nothing is denied by it, because of what came later.
var errSearchedKept = errors.New("the upstream registry cannot be asked what it has now")

// sawAll reports whether a search saw everything, of now or of then.
func sawAll(searchErr error) bool { return searchErr == nil || errors.Is(searchErr, errSearchedKept) }

// lasts reports whether a search soon after would end in the same way: it saw everything, or what it did not see is too much, too large or
// withheld.
func lasts(searchErr error) bool {
	var fail *failure
	if errors.As(searchErr, &fail) {
		return fail.status < http.StatusInternalServerError
	}
	return searchErr == nil || errors.Is(searchErr, errSearchBounded) || errors.Is(searchErr, errSearchDeep)
}

// walked is the outcome of one search; err is nil if everything that has a tag was seen.
type walked struct {
	at    time.Time
	begun uint64 // by the table's count of losses
	err   error
}

// walk fills the table from what the repository's tags lead to. It is how a proxy that was restarted, or another replica,
// finds the manifests that hold a blob or a child: every tag's manifest, the children of indexes, and the manifests that
// fallback and .sig tags name by their digest although no tag points to them any more.
//
// It returns nil if the whole repository was seen and is still in the table, and else why not.
func (p *Proxy) walk(ctx context.Context, repository string) error {
	key := partition(ctx) + repository
	p.mu.Lock()
	last, ok := p.walks[key]
	p.mu.Unlock()
	if !ok || p.now().Sub(last.at).Abs() >= walkFresh { // or the clock was set back
		var err error
		if last, err = p.walkFlights.do(ctx, key, func(ctx context.Context) (walked, error) { return p.walkAnew(ctx, repository, key) }); err != nil {
			return err
		}
	}
	if last.err == nil && p.table.lostSince(last.begun, repository) {
		return errSearchLost // others came meanwhile, or it was too much in itself
	}
	return last.err
}

// walkAnew searches a repository and remembers the outcome. A search that nobody waited for to its end has none.
func (p *Proxy) walkAnew(ctx context.Context, repository, key string) (walked, error) {
	within, cancel := context.WithTimeout(unrecorded(ctx), walkTimeout)
	defer cancel()
	s := search{p: p, repository: repository, depths: map[string]int{}}
	done := walked{begun: p.table.lossCount()}
	done.err = s.run(within)
	if ctx.Err() != nil {
		return walked{}, ctx.Err()
	}
	done.at = p.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.walks) >= maxWalks {
		clear(p.walks)
	}
	p.walks[key] = done
	return done, nil
}

// search is the work of one walk.
type search struct {
	p          *Proxy
	repository string
	kept       atomic.Bool // something was an answer of before an outage

	mu     sync.Mutex
	depths map[string]int // the least at which a tag or digest was met
	err    error          // the first reason why something was not seen
}

// run visits what every tag leads to. It returns nil if that was everything, and else why not.
func (s *search) run(ctx context.Context) error {
	tags, last := 0, ""
	for {
		page, more, offline, fail := s.p.listTags(ctx, s.p.searching, request{repository: s.repository, pageSize: maxTagsPage, last: last})
		switch {
		case fail != nil && fail.status == http.StatusNotFound && last == "":
			return nil // no such repository: there is nothing to find
		case fail != nil:
			return fail
		case offline != "":
			s.kept.Store(true)
		}
		s.visitTags(ctx, page)
		tags += len(page)
		switch {
		case !more:
			return s.outcome()
		case len(page) == 0:
			return errSearchAstray
		case tags >= maxWalkTags:
			return errSearchBounded
		}
		last = page[len(page)-1]
	}
}

// outcome is that of a search of all tags.
func (s *search) outcome() error {
	if s.err != nil {
		return s.err
	}
	for _, depth := range s.depths {
		if depth > maxIndexDepth {
			return errSearchDeep
		}
	}
	if s.kept.Load() {
		return errSearchedKept
	}
	return nil
}

// visitTags visits what each tag leads to, and what it names.
func (s *search) visitTags(ctx context.Context, tags []string) {
	var group errgroup.Group
	group.SetLimit(walkWorkers)
	for _, tag := range tags {
		group.Go(func() error {
			s.visit(ctx, tag, 0)
			if named, ok := digestInTag(tag); ok {
				s.visit(ctx, named.String(), 0)
			}
			return nil
		})
	}
	_ = group.Wait() // visits note their errors themselves
}

// visit fetches one manifest and what it lists. What is missing or malformed is passed over: it is never served, so
// nothing can be held by it. What came broken or without end, or is withheld, may be there.
func (s *search) visit(ctx context.Context, reference string, depth int) {
	if !s.begin(reference, depth) {
		return
	}
	var n *node
	if digestPattern.MatchString(reference) {
		n = s.p.table.get(s.repository, sha256Hash(reference[len("sha256:"):]))
	}
	if n == nil {
		m, fail := s.fetch(ctx, reference)
		if fail != nil {
			if fail.status != http.StatusNotFound && (fail.code != codeManifestInvalid || fail.broken) {
				s.fail(fail)
			}
			return
		}
		if m.offline != "" { // a tag may be somewhere else now
			s.kept.Store(true)
		}
		n = newNode(s.repository, m.digest, m.doc, m.evidence)
		s.p.table.record(n, false)
	}
	for _, child := range n.children {
		s.visit(ctx, child.String(), depth+1)
	}
}

// fetch reads a manifest when it is a search's turn.
func (s *search) fetch(ctx context.Context, reference string) (manifest, *failure) {
	if err := s.p.searching.Acquire(ctx, 1); err != nil {
		return manifest{}, explain("manifest "+reference, err)
	}
	defer s.p.searching.Release(1)
	return s.p.fetchManifest(ctx, s.repository, reference)
}

// begin reports whether a reference is still to be visited: what was met in the depth may have to be followed further.
func (s *search) begin(reference string, depth int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	least, met := s.depths[reference]
	switch {
	case met && least <= depth:
		return false
	case !met && len(s.depths) >= maxWalkManifests:
		s.err = cmp.Or(s.err, errSearchBounded)
		return false
	}
	s.depths[reference] = depth
	return depth <= maxIndexDepth
}

func (s *search) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = cmp.Or(s.err, err)
}

// digestInTag reads the digest that sha256-<hex> and sha256-<hex>.sig (.att, .sbom) are about.
func digestInTag(tag string) (v1.Hash, bool) {
	stem, _, _ := strings.Cut(tag, ".")
	if !fallbackTagPattern.MatchString(stem) {
		return v1.Hash{}, false
	}
	return sha256Hash(strings.TrimPrefix(stem, "sha256-")), true
}
