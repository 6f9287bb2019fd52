package registryproxy

import (
	"container/list"
	"sync"
	"time"

	"github.com/touchmark/touchmark/core/steady"
)

const (
	// tagFresh is how long a tag is believed to be where it was: many clients that pull one image at a time then ask the
	// upstream once, as a client by itself does. A tag that moved, or an image that was deleted, is seen that much later.
	tagFresh = time.Second
	// digestFresh is the same for a manifest by its digest, which cannot change, but be deleted.
	digestFresh = 10 * time.Minute
	// maxRecent bounds the bytes of the manifests that are remembered; what was parsed of them takes a few times as much.
	maxRecent = 16 << 20
	// recentOverhead is what one takes besides its bytes.
	recentOverhead = 2 << 10
)

// recent remembers manifests that were served. It holds no verdict: each time one is served, the gate is asked about it, whose
// answer is for the policy and trust roots of that moment.
type recent struct {
	mu    sync.Mutex
	size  int
	order *list.List // of *remembered, the one used last in front
	byKey map[string]*list.Element
}

type remembered struct {
	key      string
	manifest manifest // or the bytes of a blob of evidence
	node     *node    // of a manifest
	at       time.Time
	fresh    time.Duration // how long it is remembered
}

func (r *remembered) cost() int { return len(r.manifest.bytes) + recentOverhead }

func newRecent() *recent { return &recent{order: list.New(), byKey: map[string]*list.Element{}} }

func (r *recent) get(key string, now time.Time) *remembered {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, ok := r.byKey[key]
	if !ok {
		return nil
	}
	found := e.Value.(*remembered)
	if steady.Age(found.at, now) >= found.fresh {
		r.remove(e)
		return nil
	}
	r.order.MoveToFront(e)
	return found
}

func (r *recent) put(found *remembered) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e, ok := r.byKey[found.key]; ok {
		r.remove(e)
	}
	r.byKey[found.key] = r.order.PushFront(found)
	r.size += found.cost()
	for r.size > maxRecent {
		r.remove(r.order.Back())
	}
}

func (r *recent) remove(e *list.Element) {
	old := r.order.Remove(e).(*remembered)
	delete(r.byKey, old.key)
	r.size -= old.cost()
}

// forget drops what was remembered under a key.
func (r *recent) forget(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e, ok := r.byKey[key]; ok {
		r.remove(e)
	}
}
