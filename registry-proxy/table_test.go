package registryproxy

import (
	"fmt"
	"math/rand/v2"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func tableDigest(i int) v1.Hash { return sha256Hash(fmt.Sprintf("%064x", i)) }

// TestTableIsBounded fills a small table with images and indexes that share what they list.
func TestTableIsBounded(t *testing.T) {
	const capacity = 500
	table := newTable(capacity)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 5000 {
		n := &node{key: tableKey{fmt.Sprintf("repo%d", random.IntN(3)), tableDigest(i % 700)}, mediaType: typeOCIManifest}
		for range 1 + random.IntN(20) {
			if i%3 == 0 {
				n.children = append(n.children, tableDigest(random.IntN(700)))
			} else {
				n.blobs = append(n.blobs, sizedBlob{tableDigest(10_000 + random.IntN(100)), 1})
			}
		}
		table.record(n, i%2 == 0)
		if table.size > capacity+21 || len(table.nodes) != table.recent.Len() {
			t.Fatalf("after %d: size %d, %d nodes, %d in the list", i, table.size, len(table.nodes), table.recent.Len())
		}
	}
	for listed, holders := range table.holders {
		seen := map[v1.Hash]bool{}
		for e := holders.order.Front(); e != nil; e = e.Next() {
			held := e.Value.(*node).key
			if table.get(listed.repository, held.digest) == nil {
				t.Fatalf("%v is held by a manifest that was forgotten", listed)
			}
			if seen[held.digest] {
				t.Fatalf("%v is held twice by %v", listed, held)
			}
			seen[held.digest] = true
		}
	}
	for table.recent.Len() > 0 {
		table.remove(table.recent.Back())
	}
	if table.size != 0 || len(table.nodes) != 0 || len(table.holders) != 0 {
		t.Errorf("left behind: size %d, %d nodes, %d holders", table.size, len(table.nodes), len(table.holders))
	}
}

func TestTableNamesAdmittedHoldersFirstAndBoundsThem(t *testing.T) {
	table := newTable(maxTableEntries)
	blob, child := tableDigest(1), tableDigest(2)
	for i := range 2 * maxHolders {
		table.record(&node{key: tableKey{"app", tableDigest(100 + i)}, blobs: []sizedBlob{{blob, 7}}}, false)
		table.record(&node{key: tableKey{"app", tableDigest(1000 + i)}, children: []v1.Hash{child}}, false)
	}
	admitted := &node{key: tableKey{"app", tableDigest(150)}, blobs: []sizedBlob{{blob, 7}}}
	table.record(admitted, true)
	nodes, all := table.holdersOf("app", blob)
	if all || len(nodes) != maxHolders || nodes[0].key != admitted.key {
		t.Errorf("%d holders, all %v, first %v", len(nodes), all, nodes[0].key)
	}
	table.record(&node{key: tableKey{"app", tableDigest(160)}, blobs: []sizedBlob{{blob, 7}}}, true)
	if nodes, _ := table.holdersOf("app", blob); nodes[0].key.digest != tableDigest(160) || nodes[1].key != admitted.key {
		t.Errorf("first %v, then %v, and not in the order of their admission", nodes[0].key, nodes[1].key)
	}
	if nodes, _ := table.holdersOf("other", blob); len(nodes) != 0 {
		t.Errorf("another repository has %d holders", len(nodes))
	}
	if parents, all := table.parents("app", child); len(parents) != maxHolders || all {
		t.Errorf("%d parents", len(parents))
	}
	if parents, _ := table.parents("app", blob); len(parents) != 0 {
		t.Errorf("images are named as parents: %v", parents)
	}
}

// BenchmarkTableSharedLayer: a base layer that is in 40,000 manifests of a repository is looked up as fast as one that is in few.
func BenchmarkTableSharedLayer(b *testing.B) {
	base := tableDigest(1)
	for _, many := range []int{10, 40_000} {
		b.Run(fmt.Sprintf("images=%d", many), func(b *testing.B) {
			table := newTable(maxTableEntries)
			var nodes []*node
			for i := range many {
				nodes = append(nodes, &node{key: tableKey{"app", tableDigest(100 + i)}, blobs: []sizedBlob{{base, 7}}})
				table.record(nodes[i], true)
			}
			for i := 0; b.Loop(); i++ {
				table.record(nodes[i%many], true)
				table.holdersOf("app", base)
			}
		})
	}
}
