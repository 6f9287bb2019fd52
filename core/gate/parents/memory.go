package parents

import (
	"container/list"
	"context"
	"slices"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// maxRemembered bounds a store in memory: indexes, and what they list, together.
// At about 200 bytes each that is 25 MiB: ten thousand indexes of a dozen
// manifests.
const maxRemembered = 128 << 10

// Memory is a [Store] in memory. What was used last is kept.
type Memory struct {
	mu       sync.Mutex
	capacity int
	size     int
	recent   *list.List // of *entry, the one used last in front
	entries  map[wanted]*list.Element
	parents  map[wanted][]v1.Hash
}

// wanted is a manifest in a place.
type wanted struct {
	place  string
	digest v1.Hash
}

type entry struct {
	index    wanted
	children []v1.Hash
}

// NewMemory makes an empty store.
func NewMemory() *Memory {
	return &Memory{capacity: maxRemembered, recent: list.New(), entries: map[wanted]*list.Element{}, parents: map[wanted][]v1.Hash{}}
}

// Known is [Store]'s.
func (m *Memory) Known(_ context.Context, place string, index v1.Hash) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.entries[wanted{place, index}]
	if ok {
		m.recent.MoveToFront(e)
	}
	return ok
}

// Parents is [Store]'s.
func (m *Memory) Parents(_ context.Context, place string, manifest v1.Hash, limit int) []v1.Hash {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := m.parents[wanted{place, manifest}]
	some := slices.Clone(all[:min(len(all), limit)])
	for _, index := range some {
		m.recent.MoveToFront(m.entries[wanted{place, index}])
	}
	return some
}

// Remember is [Store]'s.
func (m *Memory) Remember(_ context.Context, place string, index v1.Hash, children []v1.Hash) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := wanted{place, index}
	if _, ok := m.entries[key]; ok || len(children) > MaxChildren {
		return
	}
	for m.size+1+len(children) > m.capacity && m.recent.Len() > 0 {
		m.forget(m.recent.Back())
	}
	m.size += 1 + len(children)
	m.entries[key] = m.recent.PushFront(&entry{key, slices.Clone(children)})
	for _, c := range children {
		child := wanted{place, c}
		m.parents[child] = append(m.parents[child], index)
	}
}

func (m *Memory) forget(e *list.Element) {
	old := m.recent.Remove(e).(*entry)
	delete(m.entries, old.index)
	m.size -= 1 + len(old.children)
	for _, c := range old.children {
		child := wanted{old.index.place, c}
		rest := slices.DeleteFunc(m.parents[child], func(p v1.Hash) bool { return p == old.index.digest })
		if len(rest) == 0 {
			delete(m.parents, child)
		} else {
			m.parents[child] = rest
		}
	}
}
