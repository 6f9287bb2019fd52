package registryproxy

import (
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const (
	// maxPause is the longest time that a fruitless search is not repeated. The first is [walkFresh], and each is twice
	// the one before it.
	maxPause = 10 * time.Minute
	// maxFruitless bounds how many searches are remembered, at about 200 bytes each.
	maxFruitless = 16 << 10
)

// fruitless remembers for which blobs a repository was searched as a whole, and no manifest was found that lists them:
// blobs that are there without a manifest, such as those of a push that was never completed. A search may take thousands
// of requests, and whoever asks for such a blob again and again would cost the upstream that many each time.
//
// Only that nothing is known is said without another search. A refusal never is: it stands on a search of that moment.
type fruitless struct {
	mu           sync.Mutex
	repositories map[string]map[v1.Hash]pause // by partition and repository
	size         int                          // in all of them
}

type pause struct {
	until  time.Time
	length time.Duration
}

// held reports whether a search would find nothing, as it did a while ago.
func (f *fruitless) held(repository string, digest v1.Hash, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.repositories[repository][digest]
	return now.Before(p.until) && p.until.Sub(now) <= p.length // or the clock was set back
}

// note remembers a search that found nothing.
func (f *fruitless) note(repository string, digest v1.Hash, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	before, known := f.repositories[repository][digest]
	if !known && f.size >= maxFruitless {
		f.repositories, f.size = nil, 0
	}
	if f.repositories == nil {
		f.repositories = map[string]map[v1.Hash]pause{}
	}
	if f.repositories[repository] == nil {
		f.repositories[repository] = map[v1.Hash]pause{}
	}
	if !known {
		f.size++
	}
	length := walkFresh
	if known && now.Sub(before.until) < maxPause {
		length = min(2*before.length, maxPause)
	}
	f.repositories[repository][digest] = pause{until: now.Add(length), length: length}
}

// forget is called when a repository has a manifest more: a search may find something.
func (f *fruitless) forget(repository string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.size -= len(f.repositories[repository])
	delete(f.repositories, repository)
}
