package parents

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/gate"
)

const (
	// maxSearches bounds the searches under way for one person (attach.Source.As),
	// so that nobody keeps others from searching, and with it what they hold: each
	// has at most walkWorkers indexes of attach.MaxManifest in memory.
	maxSearches = 4
	// searchFresh is how long what a search saw of a tag is believed by another one.
	searchFresh = 10 * time.Second
	// maxNegative caps how long it is believed that no index lists an image, but for
	// indexes with a new tag: as long as it took to find out, so that the outcome
	// of a search that nobody could wait for is there for the retry.
	maxNegative = 5 * time.Minute
	// aloneFor is how long an image that no index lists may be asked about as one,
	// before anything is searched: as long as the gate keeps its admission.
	aloneFor = 10 * time.Minute
	// listFresh is how long a list of tags is believed; the gate keeps refusals as
	// long.
	listFresh = time.Second
	// maxNotes bounds the images that are remembered to be in no index, maxTagsKept
	// the tags of all repositories that are remembered as seen: some 10 MiB.
	maxNotes    = 4096
	maxTagsKept = 50_000
)

// Reasons why a search did not see everything.
var (
	errStillSearching = errors.New("the search of the repository's tags for one takes longer than a pull may wait; it goes on, try again in a moment")
	errSatisfied      = errors.New("everybody has what they asked for")
	errClosed         = errors.New("this program is ending")
	errSearchTime     = fmt.Errorf("the search of the repository's tags for one took longer than %s", maxWalkTime)
	errTooLarge       = errors.New("the repository holds more than is searched")
)

// codeOf says what kind of outage ended a search.
func codeOf(err error) gate.Code {
	var lookup *attach.LookupError
	switch {
	case !errors.As(err, &lookup) || errors.Is(err, attach.ErrTooMany) || lookup.Status == 200:
		return gate.CodeParentUnknown
	case lookup.Status == 401 || lookup.Status == 403:
		return gate.CodeForbidden
	case lookup.Status == 429:
		return gate.CodeThrottled
	}
	return gate.CodeLookupFailed
}

// searches are those under way, and what is remembered of earlier ones.
type searches struct {
	store Store
	now   func() time.Time
	ctx   context.Context
	end   context.CancelCauseFunc
	all   sync.WaitGroup

	mu       sync.Mutex
	slots    map[string]chan struct{} // by person
	running  map[string]*search       // by place
	notes    map[wanted]note
	repos    map[string]*seenTags // by place
	tagsKept int
}

// note says that a search that saw every tag found no index that lists an image.
type note struct{ began, ended time.Time }

// believed is when the note ends, but for new tags.
func (n note) believed() time.Time {
	return n.ended.Add(min(searchFresh+n.ended.Sub(n.began), maxNegative))
}

// seenTags is what is remembered of one repository.
type seenTags struct {
	tags   map[string]seenTag
	listed time.Time // when the last complete search ended
}

func (ss *searches) start(store Store, now func() time.Time) {
	ss.store, ss.now = store, now
	ss.ctx, ss.end = context.WithCancelCause(context.Background())
	ss.slots, ss.running, ss.notes, ss.repos = map[string]chan struct{}{}, map[string]*search{}, map[wanted]note{}, map[string]*seenTags{}
}

func (ss *searches) stop() {
	ss.mu.Lock()
	ss.end(errClosed)
	ss.mu.Unlock()
	ss.all.Wait()
}

// foundNone reports whether a search found lately that no index lists an image.
func (ss *searches) foundNone(key wanted) bool {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	n, ok := ss.notes[key]
	return ok && ss.now().Sub(n.ended) < aloneFor
}

// join has an image looked for, by the search of the place that is under way or
// by a new one, which keeps ctx's values and not its end.
func (ss *searches) join(ctx context.Context, key wanted, src attach.Source) *search {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	now := ss.now()
	if s, ok := ss.running[key.place]; ok {
		s.want(key.digest, now.Sub(s.began) > searchFresh)
		return s
	}
	s := &search{began: now, found: map[v1.Hash][]v1.Hash{}, wanted: map[v1.Hash]int{}, late: map[v1.Hash]bool{}, changed: make(chan struct{})}
	s.want(key.digest, false)
	repo := ss.repos[key.place]
	n, noted := ss.notes[key]
	noted = noted && now.Before(n.believed())
	switch {
	case ss.ctx.Err() != nil:
		s.finish(errClosed)
		return s
	case noted && repo != nil && now.Sub(repo.listed) < listFresh:
		s.finish(nil)
		return s
	}
	w := &walk{store: ss.store, place: key.place, src: src, now: ss.now, report: s.report, visited: map[string]seenTag{}, seen: map[v1.Hash]bool{}}
	since := now.Add(-searchFresh)
	if noted && n.began.Before(since) {
		since = n.began
	}
	w.seenTag = func(tag string) (seenTag, bool) { return ss.lookedAt(key.place, tag, since) }
	slots := ss.slots[src.As]
	if slots == nil {
		slots = make(chan struct{}, maxSearches)
		ss.slots[src.As] = slots
	}
	limited, cancelTime := context.WithTimeoutCause(context.WithoutCancel(ctx), maxWalkTime, errSearchTime)
	ctx, s.cancel = context.WithCancelCause(limited)
	unhook := context.AfterFunc(ss.ctx, func() { s.cancel(errClosed) })
	ss.running[key.place] = s
	ss.all.Add(1)
	go func() {
		defer ss.all.Done()
		defer cancelTime()
		defer unhook()
		err := run(ctx, w, slots)
		ss.finished(s, key.place, w, err)
	}()
	return s
}

// run waits for a slot and walks. What a registry sends must not be able to end
// the process.
func run(ctx context.Context, w *walk, slots chan struct{}) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("internal error: %v", p)
		}
	}()
	select {
	case slots <- struct{}{}:
		defer func() { <-slots }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return w.run(ctx)
}

// lookedAt says what was seen of a tag, and whether that was since a time.
func (ss *searches) lookedAt(place, tag string, since time.Time) (seen seenTag, fresh bool) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if repo := ss.repos[place]; repo != nil {
		seen, fresh = repo.tags[tag]
	}
	return seen, fresh && !seen.at.Before(since)
}

// finished keeps what a search saw, and tells those who wait.
func (ss *searches) finished(s *search, place string, w *walk, err error) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.running[place] == s {
		delete(ss.running, place)
	}
	now := ss.now()
	repo := ss.remember(place, w.visited)
	if err == nil {
		repo.listed = now
		for digest := range s.wanted {
			if len(ss.notes) >= maxNotes {
				clear(ss.notes)
			}
			// What was known before is not found again.
			known := len(s.found[digest]) > 0 || len(ss.store.Parents(context.Background(), place, digest, 1)) > 0
			if !known && !s.late[digest] {
				ss.notes[wanted{place, digest}] = note{s.began, now}
			}
		}
	}
	s.finish(err)
}

func (ss *searches) remember(place string, visited map[string]seenTag) *seenTags {
	repo := ss.repos[place]
	if ss.tagsKept+len(visited) > maxTagsKept {
		clear(ss.repos)
		ss.tagsKept, repo = 0, nil
	}
	if repo == nil {
		repo = &seenTags{tags: map[string]seenTag{}}
		ss.repos[place] = repo
	}
	before := len(repo.tags)
	maps.Copy(repo.tags, visited)
	ss.tagsKept += len(repo.tags) - before
	return repo
}

// leave says that somebody has what they asked for. Somebody who only can't wait
// any longer does not leave: the search goes on for the retry.
func (ss *searches) leave(s *search, key wanted) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if s.unwant(key.digest) && ss.running[key.place] == s {
		delete(ss.running, key.place)
		s.cancel(errSatisfied)
	}
}

// search is one walk of a repository and those who wait for it. Its wanted and
// late are guarded by searches.mu and its own.
type search struct {
	began  time.Time
	cancel context.CancelCauseFunc

	mu      sync.Mutex
	wanted  map[v1.Hash]int       // how many want it
	late    map[v1.Hash]bool      // wanted only when much had been seen
	found   map[v1.Hash][]v1.Hash // the indexes that list what is wanted
	changed chan struct{}         // closed when something is found, and at the end
	done    bool
	err     error // why not everything was seen
}

func (s *search) want(digest v1.Hash, late bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wanted[digest]++; s.wanted[digest] == 1 && late {
		s.late[digest] = true
	}
}

// unwant reports whether nobody waits any more.
func (s *search) unwant(digest v1.Hash) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wanted[digest]--; s.wanted[digest] <= 0 {
		delete(s.wanted, digest)
	}
	return len(s.wanted) == 0
}

// report notes that an index lists some manifests.
func (s *search) report(index v1.Hash, children []v1.Hash) {
	s.mu.Lock()
	defer s.mu.Unlock()
	news := false
	for _, c := range children {
		if s.wanted[c] > 0 && len(s.found[c]) <= maxParents && !slices.Contains(s.found[c], index) {
			s.found[c] = append(s.found[c], index)
			news = true
		}
	}
	if news {
		close(s.changed)
		s.changed = make(chan struct{})
	}
}

func (s *search) finish(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done, s.err = true, err
	close(s.changed)
}

// listener waits for what a search finds of one image.
type listener struct {
	s       *search
	digest  v1.Hash
	changed chan struct{} // the one before which found was asked
}

func (s *search) listen(digest v1.Hash) *listener { return &listener{s: s, digest: digest} }

// found gives all that was found until now.
func (l *listener) found() []v1.Hash {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	l.changed = l.s.changed
	return slices.Clone(l.s.found[l.digest])
}

// ended reports whether the search has ended, and why it did not see everything.
func (l *listener) ended() (bool, error) {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	if l.s.done && l.s.err == nil && l.s.late[l.digest] {
		return true, errStillSearching
	}
	return l.s.done, l.s.err
}

// wait returns when there is more than found gave, or ctx ends.
func (l *listener) wait(ctx context.Context) {
	select {
	case <-l.changed:
	case <-ctx.Done():
	}
}
