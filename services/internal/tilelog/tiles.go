package tilelog

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"

	"github.com/transparency-dev/merkle/compact"
)

// tileHeight is the number of tree levels that one tile spans: 2^8 = tileWidth.
const tileHeight = 8

// tiles reads nodes of the tree of one size for one operation, keeping the tiles
// it has read. It is not for concurrent use.
type tiles struct {
	engine Engine
	size   uint64
	read   map[[2]uint64][]byte
}

func newTiles(engine Engine, size uint64) *tiles {
	return &tiles{engine: engine, size: size, read: map[[2]uint64][]byte{}}
}

// widthAt is how many hashes (or entries, at level 0) the tile has in a tree of
// the given size: 0 to 256.
func widthAt(level, index, size uint64) int {
	hashes := uint64(0)
	if shift := level * tileHeight; shift < 64 {
		hashes = size >> shift
	}
	if index >= hashes/tileWidth {
		if index > hashes/tileWidth {
			return 0
		}
		return int(hashes % tileWidth)
	}
	return tileWidth
}

// tile returns the hashes of the tile in the tree of this size. A narrower tile
// that is gone is cut from the full one: tiles only ever grow at the end.
func (t *tiles) tile(level, index uint64) ([]byte, error) {
	key := [2]uint64{level, index}
	if b, ok := t.read[key]; ok {
		return b, nil
	}
	width := widthAt(level, index, t.size)
	if width == 0 {
		return nil, fmt.Errorf("tile %d at level %d is not in a tree of %d leaves", index, level, t.size)
	}
	b, stored, err := partialOrFull(width, func(w int) ([]byte, error) { return t.engine.Tile(level, index, w) })
	name := t.engine.Name(Resource{Kind: TileResource, Level: level, Index: index, Width: stored})
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	if len(b) != stored*sha256.Size {
		return nil, &CorruptError{name, fmt.Sprintf("%d bytes; a tile of %d hashes has %d", len(b), stored, stored*sha256.Size)}
	}
	b = b[:width*sha256.Size]
	t.read[key] = b
	return b, nil
}

// bundle returns the parsed entries of a bundle in the tree of this size.
func (t *tiles) bundle(index uint64) ([]leaf, string, error) {
	width := widthAt(0, index, t.size)
	if width == 0 {
		return nil, "", fmt.Errorf("bundle %d is not in a tree of %d leaves", index, t.size)
	}
	b, stored, err := partialOrFull(width, func(w int) ([]byte, error) { return t.engine.Bundle(index, w) })
	name := t.engine.Name(Resource{Kind: BundleResource, Index: index, Width: stored})
	if err != nil {
		return nil, name, fmt.Errorf("reading %s: %w", name, err)
	}
	leaves, err := t.engine.Layout().parse(b)
	if err != nil {
		return nil, name, &CorruptError{name, err.Error()}
	}
	if len(leaves) != stored {
		return nil, name, &CorruptError{name, fmt.Sprintf("%d entries; want %d", len(leaves), stored)}
	}
	return leaves[:width], name, nil
}

// partialOrFull reads the resource with the given width or, if that is gone, the
// full one; it says which.
func partialOrFull(width int, read func(width int) ([]byte, error)) ([]byte, int, error) {
	b, err := read(width)
	if errors.Is(err, fs.ErrNotExist) && width < tileWidth {
		if full, fullErr := read(tileWidth); fullErr == nil {
			return full, tileWidth, nil
		}
	}
	return b, width, err
}

// node returns the hash of a node, which must be the root of a full subtree: it
// is computed from the hashes below it in its tile.
func (t *tiles) node(id compact.NodeID) ([]byte, error) {
	level := uint64(id.Level) / tileHeight
	below := uint(id.Level) % tileHeight // levels between the node and the tile's hashes
	first := id.Index << below           // among the tile level's hashes
	index, offset := first/tileWidth, int(first%tileWidth)
	count := 1 << below

	hashes, err := t.tile(level, index)
	if err != nil {
		return nil, err
	}
	if (offset+count)*sha256.Size > len(hashes) {
		return nil, fmt.Errorf("node %d at level %d is not in a tree of %d leaves", id.Index, id.Level, t.size)
	}
	r := ranges.NewEmptyRange(0)
	for i := range count {
		if err := r.Append(hashes[(offset+i)*sha256.Size:][:sha256.Size], nil); err != nil {
			return nil, err
		}
	}
	return r.GetRootHash(nil)
}

// rangeAt returns the compact range of the first n leaves, n at most t.size.
func (t *tiles) rangeAt(n uint64) (*compact.Range, error) {
	var hashes [][]byte
	for _, id := range compact.RangeNodes(0, n, nil) {
		h, err := t.node(id)
		if err != nil {
			return nil, err
		}
		hashes = append(hashes, bytes.Clone(h))
	}
	return ranges.NewRange(0, n, hashes)
}

// rootOf is the RFC 6962 root of a range that starts at 0.
func rootOf(r *compact.Range) (root [sha256.Size]byte, err error) {
	if r.End() == 0 {
		return sha256.Sum256(nil), nil
	}
	h, err := r.GetRootHash(nil)
	copy(root[:], h)
	return root, err
}
