package registryproxy

import (
	"container/list"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const (
	// maxTableEntries bounds the table: manifests, and what they list, together. At about 350 bytes each that is 45 MiB.
	maxTableEntries = 128 << 10
	// maxHolders caps how many manifests are asked about for one blob or child; a base layer may be in thousands.
	maxHolders = 64
	// maxLost bounds of how many repositories it is known when the table lost a manifest of theirs.
	maxLost = 4096
)

// table remembers what manifests list, per repository: facts that follow from a manifest's digest. It holds no verdict and
// no authority: whoever uses an entry asks the gate about it. So it may be lost, or filled from anywhere, at any time.
type table struct {
	mu       sync.Mutex
	capacity int
	size     int        // sum of node.cost
	recent   *list.List // of *node, the one used last in front
	nodes    map[tableKey]*list.Element
	holders  map[tableKey]*holders // by what is listed

	losses uint64            // how many manifests had to make room for others
	lost   map[string]uint64 // by repository: which of the losses was its last
	before uint64            // which of them was the last that lost does not hold any more
}

// holders are the manifests that list one digest, those admitted last in front, here or by a replica's account. A base layer may be in thousands: nothing here looks at
// all of them.
type holders struct {
	listed tableKey
	order  list.List // of *node
}

// place is where a manifest stands among the holders of something that it lists.
type place struct {
	among *holders
	at    *list.Element
}

type tableKey struct {
	repository string
	digest     v1.Hash
}

// node is one manifest. Its fields are written once, but the last two.
type node struct {
	key       tableKey
	mediaType string
	evidence  bool // passes as evidence, an index at a fallback tag included
	config    v1.Hash
	blobs     []sizedBlob // config and layers
	children  []v1.Hash   // of an index that is not merely a list of referrers
	places    []place     // while it is in the table, whose mutex guards it and admitted
	admitted  bool        // once, which says nothing of now
}

type sizedBlob struct {
	digest v1.Hash
	size   int64
}

func (n *node) cost() int { return 1 + len(n.blobs) + len(n.children) }

// blobSize is the size that the manifest gives the blob. Descriptors of one digest with two sizes never get this far.
func (n *node) blobSize(digest v1.Hash) int64 {
	for _, b := range n.blobs {
		if b.digest == digest {
			return b.size
		}
	}
	return -1
}

// layers is what the manifest lists besides its config.
func (n *node) layers() []v1.Hash {
	var all []v1.Hash
	for _, b := range n.blobs[1:] {
		all = append(all, b.digest)
	}
	return all
}

func newTable(capacity int) *table {
	return &table{
		capacity: capacity,
		recent:   list.New(),
		nodes:    map[tableKey]*list.Element{},
		holders:  map[tableKey]*holders{},
		lost:     map[string]uint64{},
	}
}

// newNode reads off a document what the table keeps.
func newNode(repository string, digest v1.Hash, doc *document, evidence bool) *node {
	n := &node{key: tableKey{repository, digest}, mediaType: doc.mediaType, evidence: evidence, config: doc.config.Digest}
	if !doc.index {
		n.blobs = append(n.blobs, sizedBlob{doc.config.Digest, doc.config.Size})
		for _, l := range doc.layers {
			n.blobs = append(n.blobs, sizedBlob{l.Digest, l.Size})
		}
		return n
	}
	if !evidence {
		for _, m := range doc.manifests {
			n.children = append(n.children, m.Digest)
		}
	}
	return n
}

// record adds a manifest, or marks the one that is there as used; admitted says that the gate has just admitted it. It
// reports whether that is so for the first time.
func (t *table) record(n *node, admitted bool) (first bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, ok := t.nodes[n.key]
	switch {
	case !ok:
		t.add(n)
	case e.Value.(*node).evidence != n.evidence: // an index that was judged before and is now found at a fallback tag, or the other way round
		t.remove(e)
		t.add(n)
	default:
		t.recent.MoveToFront(e)
		n = e.Value.(*node)
	}
	if admitted {
		for _, p := range n.places {
			p.among.order.MoveToFront(p.at)
		}
	}
	first = admitted && !n.admitted
	n.admitted = n.admitted || admitted
	return first
}

// prefer has a manifest asked about first among those that list a digest.
func (t *table) prefer(repository string, manifest, listed v1.Hash) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, ok := t.nodes[tableKey{repository, manifest}]
	if !ok {
		return
	}
	for _, p := range e.Value.(*node).places {
		if p.among.listed.digest == listed {
			p.among.order.MoveToFront(p.at)
		}
	}
}

func (t *table) add(n *node) {
	for t.size+n.cost() > t.capacity && t.recent.Len() > 0 {
		t.lose(t.recent.Back().Value.(*node).key.repository)
		t.remove(t.recent.Back())
	}
	t.nodes[n.key] = t.recent.PushFront(n)
	t.size += n.cost()
	for digest := range n.lists() {
		key := tableKey{n.key.repository, digest}
		h := t.holders[key]
		if h == nil {
			h = &holders{listed: key}
			t.holders[key] = h
		}
		if last := h.order.Back(); last != nil && last.Value == n {
			continue // it lists the digest twice
		}
		n.places = append(n.places, place{h, h.order.PushBack(n)})
	}
}

// lose notes that a manifest of the repository makes room.
func (t *table) lose(repository string) {
	if len(t.lost) >= maxLost {
		clear(t.lost)
		t.before = t.losses
	}
	t.losses++
	t.lost[repository] = t.losses
}

// lossCount is what [table.lostSince] counts from.
func (t *table) lossCount() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.losses
}

// lostSince reports whether a manifest of the repository had to make room since then. It may say so of one that had none.
func (t *table) lostSince(then uint64, repository string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lost[repository] > then || t.before > then
}

func (t *table) remove(e *list.Element) {
	n := t.recent.Remove(e).(*node)
	delete(t.nodes, n.key)
	t.size -= n.cost()
	for _, p := range n.places {
		p.among.order.Remove(p.at)
		if p.among.order.Len() == 0 {
			delete(t.holders, p.among.listed)
		}
	}
	n.places = nil
}

// lists yields everything that the manifest lists.
func (n *node) lists() func(yield func(v1.Hash) bool) {
	return func(yield func(v1.Hash) bool) {
		for _, c := range n.children {
			if !yield(c) {
				return
			}
		}
		for _, b := range n.blobs {
			if !yield(b.digest) {
				return
			}
		}
	}
}

// get returns what is known about one manifest.
func (t *table) get(repository string, digest v1.Hash) *node {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e, ok := t.nodes[tableKey{repository, digest}]; ok {
		return e.Value.(*node)
	}
	return nil
}

// holdersOf returns the manifests that list digest, those admitted last first; all is false if there are more than are
// returned.
func (t *table) holdersOf(repository string, digest v1.Hash) (nodes []*node, all bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.holders[tableKey{repository, digest}]
	if h == nil {
		return nil, true
	}
	for e := h.order.Front(); e != nil && len(nodes) < maxHolders; e = e.Next() {
		nodes = append(nodes, e.Value.(*node))
	}
	return nodes, len(nodes) == h.order.Len()
}

// parents returns the indexes that list a manifest, those admitted last first; all is false as in holdersOf.
func (t *table) parents(repository string, digest v1.Hash) (parents []v1.Hash, all bool) {
	nodes, all := t.holdersOf(repository, digest)
	for _, n := range nodes {
		if n.children != nil {
			parents = append(parents, n.key.digest)
		}
	}
	return parents, all
}

// maxParents is how many the gate reads for one question: each costs it a manifest and a lookup.
const maxParents = 8
