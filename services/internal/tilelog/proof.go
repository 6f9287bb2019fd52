package tilelog

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"github.com/touchmark/touchmark/core/tlog"
)

// maxRead bounds how many leaves one call of [Log.Leaves] returns.
const maxRead = tileWidth

// InclusionProof proves that the leaf at index is in the tree of the given size,
// which may be any size up to the head's. The hashes go from leaf to root. The
// proof is verified before it is returned.
func (l *Log) InclusionProof(ctx context.Context, index, size uint64) ([][]byte, error) {
	t, root, err := l.treeAt(ctx, size)
	if err != nil {
		return nil, err
	}
	if index >= size {
		return nil, fmt.Errorf("proving inclusion: index %d is not in a tree of %d leaves", index, size)
	}
	nodes, err := proof.Inclusion(index, size)
	if err != nil {
		return nil, fmt.Errorf("proving inclusion: %w", err)
	}
	hashes, err := t.fetch(nodes)
	if err != nil {
		return nil, l.stopIfCorrupt(fmt.Errorf("proving inclusion: %w", err))
	}
	level0, err := t.tile(0, index/tileWidth)
	if err != nil {
		return nil, l.stopIfCorrupt(fmt.Errorf("proving inclusion: %w", err))
	}
	leafHash := level0[index%tileWidth*sha256.Size:][:sha256.Size]
	if err := proof.VerifyInclusion(rfc6962.DefaultHasher, index, size, leafHash, hashes, root[:]); err != nil {
		return nil, l.fail(fmt.Errorf("proving inclusion of leaf %d: %w: %w", index, err, t.checkPath(index)))
	}
	return hashes, nil
}

// ConsistencyProof proves that the tree of size second extends that of size first.
func (l *Log) ConsistencyProof(ctx context.Context, first, second uint64) ([][]byte, error) {
	t, root2, err := l.treeAt(ctx, second)
	if err != nil {
		return nil, err
	}
	if first > second {
		return nil, fmt.Errorf("proving consistency: size %d is not before %d", first, second)
	}
	rng, err := t.rangeAt(first)
	if err != nil {
		return nil, l.stopIfCorrupt(fmt.Errorf("proving consistency: %w", err))
	}
	root1, err := rootOf(rng)
	if err != nil {
		return nil, fmt.Errorf("proving consistency: %w", err)
	}
	nodes, err := proof.Consistency(first, second)
	if err != nil {
		return nil, fmt.Errorf("proving consistency: %w", err)
	}
	hashes, err := t.fetch(nodes)
	if err != nil {
		return nil, l.stopIfCorrupt(fmt.Errorf("proving consistency: %w", err))
	}
	if err := proof.VerifyConsistency(rfc6962.DefaultHasher, first, second, hashes, root1[:], root2[:]); err != nil {
		return nil, l.fail(fmt.Errorf("proving consistency of %d and %d: %w", first, second, err))
	}
	return hashes, nil
}

// Leaf returns the stored bytes of a leaf, after comparing them with the hash in
// the tile above. With [Log.InclusionProof] that ties them to a signed root.
func (l *Log) Leaf(ctx context.Context, index uint64) ([]byte, error) {
	leaves, err := l.Leaves(ctx, index, 1)
	if err != nil {
		return nil, err
	}
	return leaves[0], nil
}

// Leaves returns leaves from index on: at least one, at most n, and never past the
// bundle that index is in. An index that is not in the tree is an error.
func (l *Log) Leaves(ctx context.Context, index uint64, n int) ([][]byte, error) {
	head, err := l.readable(ctx)
	if err != nil {
		return nil, err
	}
	if index >= head.Size || n < 1 {
		return nil, fmt.Errorf("reading leaf %d: the tree has %d leaves", index, head.Size)
	}
	t := newTiles(l.engine, head.Size)
	bundle, name, err := t.bundle(index / tileWidth)
	if err != nil {
		return nil, l.stopIfCorrupt(err)
	}
	hashes, err := t.tile(0, index/tileWidth)
	if err != nil {
		return nil, l.stopIfCorrupt(err)
	}
	var out [][]byte
	for i := int(index % tileWidth); i < len(bundle) && len(out) < min(n, maxRead); i++ {
		if !bytes.Equal(bundle[i].hash[:], hashes[i*sha256.Size:][:sha256.Size]) {
			return nil, l.fail(&CorruptError{name, fmt.Sprintf("entry %d does not have its tile's hash", i)})
		}
		out = append(out, bundle[i].data)
	}
	return out, nil
}

// treeAt returns a reader of the tree as it is now, and the root at the given size.
func (l *Log) treeAt(ctx context.Context, size uint64) (*tiles, [sha256.Size]byte, error) {
	head, err := l.readable(ctx)
	if err != nil {
		return nil, [sha256.Size]byte{}, err
	}
	if size > head.Size {
		return nil, [sha256.Size]byte{}, fmt.Errorf("the tree has %d leaves, not %d", head.Size, size)
	}
	t := newTiles(l.engine, head.Size)
	if size == head.Size {
		return t, head.Root, nil
	}
	root, err := t.rootAt(size, head)
	if err != nil {
		return nil, [sha256.Size]byte{}, l.stopIfCorrupt(err)
	}
	return t, root, nil
}

// rootAt computes the root of an earlier size from the tiles, and proves that the
// head, which was verified, extends it.
func (t *tiles) rootAt(size uint64, head tlog.Checkpoint) (root [sha256.Size]byte, err error) {
	rng, err := t.rangeAt(size)
	if err != nil {
		return root, err
	}
	if root, err = rootOf(rng); err != nil || size == 0 {
		return root, err
	}
	nodes, err := proof.Consistency(size, head.Size)
	if err != nil {
		return root, err
	}
	hashes, err := t.fetch(nodes)
	if err != nil {
		return root, err
	}
	if err := proof.VerifyConsistency(rfc6962.DefaultHasher, size, head.Size, hashes, root[:], head.Root[:]); err != nil {
		return root, &CorruptError{t.engine.Name(Resource{Kind: StateResource}), fmt.Sprintf("the stored tiles at size %d do not lead to the root at size %d", size, head.Size)}
	}
	return root, nil
}

// fetch reads the nodes of a proof.
func (t *tiles) fetch(nodes proof.Nodes) ([][]byte, error) {
	hashes := make([][]byte, 0, len(nodes.IDs))
	for _, id := range nodes.IDs {
		h, err := t.node(id)
		if err != nil {
			return nil, err
		}
		hashes = append(hashes, bytes.Clone(h))
	}
	return nodes.Rehash(hashes, rfc6962.DefaultHasher.HashChildren)
}

// RootAt returns the root of the first size leaves, which the head is proven to
// extend.
func (l *Log) RootAt(ctx context.Context, size uint64) ([sha256.Size]byte, error) {
	_, root, err := l.treeAt(ctx, size)
	return root, err
}
