package tlog

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// maxTree is the size up to which trees are tried exhaustively: beyond 64, so
// that every shape of a tree of up to seven levels occurs.
const maxTree = 70

// tree is RFC 6962 section 2.1 in its own words, over leaf hashes.
type tree [][32]byte

func newTree(n int) tree {
	var t tree
	for i := range n {
		t = append(t, LeafHash(fmt.Appendf(nil, "leaf %d", i)))
	}
	return t
}

func (t tree) root() [32]byte {
	switch len(t) {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return t[0]
	}
	k := t.split()
	l, r := t[:k].root(), t[k:].root()
	return sha256.Sum256(slices.Concat([]byte{1}, l[:], r[:]))
}

func (t tree) split() int {
	k := 1
	for 2*k < len(t) {
		k *= 2
	}
	return k
}

// path is PATH(m, D[n]).
func (t tree) path(m int) [][]byte {
	if len(t) <= 1 {
		return nil
	}
	k := t.split()
	if m < k {
		r := t[k:].root()
		return append(t[:k].path(m), r[:])
	}
	l := t[:k].root()
	return append(t[k:].path(m-k), l[:])
}

// consistency is PROOF(m, D[n]).
func (t tree) consistency(m int) [][]byte { return t.subproof(m, true) }

func (t tree) subproof(m int, whole bool) [][]byte {
	if m == len(t) {
		if whole {
			return nil
		}
		r := t.root()
		return [][]byte{r[:]}
	}
	k := t.split()
	if m <= k {
		r := t[k:].root()
		return append(t[:k].subproof(m, whole), r[:])
	}
	l := t[:k].root()
	return append(t[k:].subproof(m-k, false), l[:])
}

func (t tree) checkpoint() Checkpoint {
	return Checkpoint{Origin: origin, Size: uint64(len(t)), Root: t.root()}
}

// mutations are proofs that differ from a good one: each hash altered, each one
// left out, doubled or swapped with the next, one more at either end, and hashes
// of a wrong length.
func mutations(proof [][]byte) map[string][][]byte {
	out := make(map[string][][]byte)
	for i := range proof {
		altered := slices.Clone(proof)
		altered[i] = slices.Clone(proof[i])
		altered[i][i%32] ^= 1 << (i % 8)
		out[fmt.Sprint("altered ", i)] = altered
		out[fmt.Sprint("without ", i)] = slices.Delete(slices.Clone(proof), i, i+1)
		out[fmt.Sprint("doubled ", i)] = slices.Insert(slices.Clone(proof), i, proof[i])
		if i > 0 && !bytes.Equal(proof[i], proof[i-1]) {
			swapped := slices.Clone(proof)
			swapped[i], swapped[i-1] = swapped[i-1], swapped[i]
			out[fmt.Sprint("swapped ", i)] = swapped
		}
		short := slices.Clone(proof)
		short[i] = proof[i][:31]
		out[fmt.Sprint("short ", i)] = short
		long := slices.Clone(proof)
		long[i] = append(slices.Clone(proof[i]), 0)
		out[fmt.Sprint("long ", i)] = long
	}
	zero := make([]byte, 32)
	out["extended"] = append(slices.Clone(proof), zero)
	out["extended in front"] = append([][]byte{zero}, proof...)
	out["with an empty hash"] = append(slices.Clone(proof), nil)
	return out
}

// TestA015_InclusionProofs tries every leaf of every tree, and for each one
// every way of being slightly wrong.
func TestA015_InclusionProofs(t *testing.T) {
	for n := 1; n <= maxTree; n++ {
		tr := newTree(n)
		cp := tr.checkpoint()
		for m := range n {
			proof := tr.path(m)
			if err := VerifyInclusion(tr[m], uint64(m), proof, cp); err != nil {
				t.Fatalf("leaf %d of %d: %v", m, n, err)
			}
			refuse := func(what string, leaf [32]byte, index uint64, proof [][]byte, cp Checkpoint) {
				t.Helper()
				if VerifyInclusion(leaf, index, proof, cp) == nil {
					t.Errorf("leaf %d of %d: accepted with %s", m, n, what)
				}
			}
			for what, p := range mutations(proof) {
				refuse("a proof "+what, tr[m], uint64(m), p, cp)
			}
			for _, index := range []uint64{uint64(m) - 1, uint64(m) + 1, uint64(n), 1 << 63, 1<<64 - 1} {
				refuse(fmt.Sprint("index ", index), tr[m], index, proof, cp)
			}
			leaf := tr[m]
			leaf[m%32] ^= 1
			refuse("another leaf", leaf, uint64(m), proof, cp)
			// An inner node or the root is no leaf.
			if n > 1 {
				refuse("the root as its leaf", cp.Root, 0, nil, cp)
			}
			other := cp
			other.Root[m%32] ^= 1
			refuse("another root", tr[m], uint64(m), proof, other)
			other = cp
			other.Size = 0
			refuse("size 0", tr[m], uint64(m), proof, other)
			// Some sizes have the same shape on the way to a leaf; then the root decides.
			for _, size := range []int{n - 1, n + 1} {
				if size > 0 {
					other := newTree(size).checkpoint()
					refuse(fmt.Sprint("the checkpoint of size ", size), tr[m], uint64(m), proof, other)
				}
			}
		}
	}
}

// TestConsistencyProofs tries every pair of sizes.
func TestConsistencyProofs(t *testing.T) {
	for n := 1; n <= maxTree; n++ {
		tr := newTree(n)
		newer := tr.checkpoint()
		for m := 1; m <= n; m++ {
			older, proof := tr[:m].checkpoint(), tr.consistency(m)
			if err := VerifyConsistency(older, newer, proof); err != nil {
				t.Fatalf("%d to %d: %v", m, n, err)
			}
			refuse := func(what string, older, newer Checkpoint, proof [][]byte) {
				t.Helper()
				if VerifyConsistency(older, newer, proof) == nil {
					t.Errorf("%d to %d: accepted with %s", m, n, what)
				}
			}
			for what, p := range mutations(proof) {
				refuse("a proof "+what, older, newer, p)
			}
			forked := older
			forked.Root[n%32] ^= 1
			refuse("another older root", forked, newer, proof)
			forked = newer
			forked.Root[n%32] ^= 1
			refuse("another newer root", older, forked, proof)
			if m < n {
				refuse("the order reversed", newer, older, proof)
			}
		}
		// Every tree begins with the empty one; there is nothing to prove.
		if err := VerifyConsistency(tree{}.checkpoint(), newer, nil); err != nil {
			t.Errorf("0 to %d: %v", n, err)
		}
		if VerifyConsistency(tree{}.checkpoint(), newer, [][]byte{newer.Root[:]}) == nil {
			t.Errorf("0 to %d: accepted with a hash too many", n)
		}
	}
}

// TestLOG17_EqualSizeOtherRoot: two roots of one size are never consistent.
func TestLOG17_EqualSizeOtherRoot(t *testing.T) {
	a := newTree(9).checkpoint()
	b := a
	b.Root[0] ^= 1
	if err := VerifyConsistency(a, a, nil); err != nil {
		t.Fatal(err)
	}
	if VerifyConsistency(a, b, nil) == nil {
		t.Error("two roots of one size are consistent")
	}
}

// TestA015_LeafHash holds RFC 6962's leaf of nothing, from certificate-transparency-go.
func TestA015_LeafHash(t *testing.T) {
	if got, want := fmt.Sprintf("%x", LeafHash(nil)), "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"; got != want {
		t.Errorf("the leaf hash is %s, want %s", got, want)
	}
}

// TestA015_ProofReasons: an error says what is wrong with a proof, not only
// that it leads nowhere.
func TestA015_ProofReasons(t *testing.T) {
	hashes := func(n, size int) [][]byte { return slices.Repeat([][]byte{make([]byte, size)}, n) }
	cp := Checkpoint{Origin: origin, Size: 5}
	nowhere, noBeginning := "does not lead", "does not begin"
	for _, tt := range []struct {
		name                   string
		index                  uint64
		hashes                 [][]byte
		inclusion, consistency string
	}{
		{"as many hashes as there may be", 4, hashes(maxProofHashes, 32), nowhere, noBeginning},
		{"one more", 4, hashes(maxProofHashes+1, 32), "has 65 hashes", "has 65 hashes"},
		{"a short hash", 4, hashes(3, 31), "hash 0 has 31 bytes", "hash 0 has 31 bytes"},
		{"a long hash", 4, hashes(3, 33), "hash 0 has 33 bytes", "hash 0 has 33 bytes"},
		{"an index outside", 5, hashes(3, 32), "index 5 is outside", noBeginning},
	} {
		if err := VerifyInclusion([32]byte{}, tt.index, tt.hashes, cp); err == nil || !strings.Contains(err.Error(), tt.inclusion) {
			t.Errorf("inclusion, %s: error is %v, want one that names %q", tt.name, err, tt.inclusion)
		}
		if err := VerifyConsistency(Checkpoint{Size: 4}, cp, tt.hashes); err == nil || !strings.Contains(err.Error(), tt.consistency) {
			t.Errorf("consistency, %s: error is %v, want one that names %q", tt.name, err, tt.consistency)
		}
	}
	if err := VerifyConsistency(cp, Checkpoint{Size: 4}, nil); err == nil || !strings.Contains(err.Error(), "the older tree has 5 leaves") {
		t.Errorf("a tree that shrinks: %v", err)
	}
}

// TestProofLimits: the number of hashes is bounded before any work,
// and trees near the top of the range are handled.
func TestProofLimits(t *testing.T) {
	cp := Checkpoint{Origin: origin, Size: 1<<63 - 1}
	for _, n := range []int{maxProofHashes + 1, 100_000} {
		proof := make([][]byte, n)
		for i := range proof {
			proof[i] = make([]byte, 32)
		}
		if VerifyInclusion([32]byte{}, 0, proof, cp) == nil || VerifyConsistency(Checkpoint{Size: 1}, cp, proof) == nil {
			t.Errorf("a proof of %d hashes is accepted", n)
		}
	}
	// A path in a tree of 2^62 leaves, all on the left edge.
	h, proof := LeafHash([]byte("leaf")), [][]byte(nil)
	root := h
	for i := range 62 {
		sibling := sha256.Sum256([]byte{byte(i)})
		proof = append(proof, sibling[:])
		root = sha256.Sum256(slices.Concat([]byte{1}, root[:], sibling[:]))
	}
	if err := VerifyInclusion(h, 0, proof, Checkpoint{Size: 1 << 62, Root: root}); err != nil {
		t.Errorf("first leaf of 2^62: %v", err)
	}
	if VerifyInclusion(h, 1, proof, Checkpoint{Size: 1 << 62, Root: root}) == nil {
		t.Error("accepted with another index in a tree of 2^62 leaves")
	}
}
