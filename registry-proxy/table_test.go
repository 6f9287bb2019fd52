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
		for _, h := range holders {
			if table.get(listed.repository, h) == nil {
				t.Fatalf("%v is held by a manifest that was forgotten", listed)
			}
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
