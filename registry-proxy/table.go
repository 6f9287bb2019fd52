package registryproxy

import (
	"container/list"
	"slices"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const (
	// maxTableEntries bounds the table: manifests, and what they list, together. At about 250 bytes each that is 32 MiB.
	maxTableEntries = 128 << 10
	// maxHolders caps how many manifests are asked about for one blob or child; a base layer may be in thousands.
	maxHolders = 64
)

// table remembers what manifests list, per repository: facts that follow from a manifest's digest. It holds no verdict and
// no authority: whoever uses an entry asks the gate about it. So it may be lost, or filled from anywhere, at any time.
type table struct {
	mu       sync.Mutex
	capacity int
	size     int        // sum of node.cost
	recent   *list.List // of *node, the one used last in front
	nodes    map[tableKey]*list.Element
	holders  map[tableKey][]v1.Hash // what is listed -> the manifests that list it
	uses     uint64
}

type tableKey struct {
	repository string
	digest     v1.Hash
}

// node is one manifest. Its fields are written once, but admitted.
type node struct {
	key       tableKey
	mediaType string
	evidence  bool // passes as evidence, an index at a fallback tag included
	config    v1.Hash
	blobs     []sizedBlob // config and layers
	children  []v1.Hash   // of an index that is not merely a list of referrers
	admitted  uint64      // when it was last admitted, in uses; guarded by table.mu
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
		holders:  map[tableKey][]v1.Hash{},
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

// record adds a manifest, or marks the one that is there as used; admitted says that the gate has just admitted it.
func (t *table) record(n *node, admitted bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.uses++
	if e, ok := t.nodes[n.key]; ok {
		known := e.Value.(*node)
		if known.evidence == n.evidence {
			t.recent.MoveToFront(e)
			if admitted {
				known.admitted = t.uses
			}
			return
		}
		t.remove(e) // an index that was judged before and is now found at a fallback tag, or the other way round
	}
	if admitted {
		n.admitted = t.uses
	}
	for t.size+n.cost() > t.capacity && t.recent.Len() > 0 {
		t.remove(t.recent.Back())
	}
	t.nodes[n.key] = t.recent.PushFront(n)
	t.size += n.cost()
	for listed := range n.lists() {
		key := tableKey{n.key.repository, listed}
		if !slices.Contains(t.holders[key], n.key.digest) {
			t.holders[key] = append(t.holders[key], n.key.digest)
		}
	}
}

func (t *table) remove(e *list.Element) {
	n := t.recent.Remove(e).(*node)
	delete(t.nodes, n.key)
	t.size -= n.cost()
	for listed := range n.lists() {
		key := tableKey{n.key.repository, listed}
		rest := slices.DeleteFunc(t.holders[key], func(h v1.Hash) bool { return h == n.key.digest })
		if len(rest) == 0 {
			delete(t.holders, key)
		} else {
			t.holders[key] = rest
		}
	}
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
	for _, h := range t.holders[tableKey{repository, digest}] {
		nodes = append(nodes, t.nodes[tableKey{repository, h}].Value.(*node))
	}
	slices.SortStableFunc(nodes, func(a, b *node) int {
		switch {
		case a.admitted > b.admitted:
			return -1
		case a.admitted < b.admitted:
			return 1
		}
		return 0
	})
	if len(nodes) > maxHolders {
		return nodes[:maxHolders], false
	}
	return nodes, true
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
