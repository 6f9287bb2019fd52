package tilelog

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"

	"github.com/touchmark/touchmark/core/tlog"
)

// checkedAtOpen is the size in leaves up to which Open checks the whole tree: some
// 40 MB, which take less than half a second.
const checkedAtOpen = 1 << 14

// load checks the right edge of what is stored and the published checkpoint, and
// sets the head. That is cheap: a few tiles, whatever the size. A small tree is
// checked as a whole.
func (l *Log) load(ctx context.Context) error {
	state, err := l.engine.State()
	if err != nil {
		return fmt.Errorf("opening log: %w", err)
	}
	t := newTiles(l.engine, state.Size)
	rng, err := t.rangeAt(state.Size)
	if err != nil {
		return fmt.Errorf("opening log: %w", err)
	}
	root, err := rootOf(rng)
	if err != nil {
		return fmt.Errorf("opening log: %w", err)
	}
	if root != state.Root {
		return fmt.Errorf("opening log: %w", t.blame(state))
	}
	if state.Size > 0 {
		if err := t.checkBundle((state.Size - 1) / tileWidth); err != nil {
			return fmt.Errorf("opening log: %w", err)
		}
	}
	l.rng = rng
	l.head = tlog.Checkpoint{Origin: l.opts.Origin, Size: state.Size, Root: state.Root}
	if err := l.checkPublished(t); err != nil {
		return fmt.Errorf("opening log: %w", err)
	}
	if state.Size <= checkedAtOpen {
		if err := t.check(ctx); err != nil {
			return fmt.Errorf("opening log: %w", err)
		}
	}
	return l.publish(ctx)
}

// checkPublished demands that the stored checkpoint is this log's, under this
// key, and that the tree extends it. Only an empty tree may have none.
func (l *Log) checkPublished(t *tiles) error {
	name := l.engine.Name(Resource{Kind: CheckpointResource})
	raw, err := l.engine.Checkpoint()
	if errors.Is(err, fs.ErrNotExist) && t.size == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	cp, err := l.opts.Verifier.Open(string(raw))
	if errors.Is(err, tlog.ErrNotSigned) {
		return fmt.Errorf("reading %s: it is not signed by this log's key", name)
	}
	if err != nil {
		return &CorruptError{name, err.Error()}
	}
	if cp.Origin != l.opts.Origin {
		return fmt.Errorf("reading %s: its origin is %q, this log's is %q", name, cp.Origin, l.opts.Origin)
	}
	if cp.Size > t.size {
		return &CorruptError{name, fmt.Sprintf("it has %d leaves, but the tree only %d: the tree was rolled back", cp.Size, t.size)}
	}
	root, err := t.rootAt(cp.Size, l.head)
	if err != nil {
		return err
	}
	if root != cp.Root {
		return &CorruptError{name, fmt.Sprintf("its root is not that of the tree's first %d leaves", cp.Size)}
	}
	return nil
}

// Check reads the whole tree and compares every bundle with its tile, every tile
// with the one above, the top with the head, and the head with the published
// checkpoint. The first thing that does not fit is the error, which names the file
// and stops the log; a log that is stopped already gives the error that stopped it.
//
// Narrower tiles and bundles beside the present ones are not looked at: those of a
// batch that a crash cut off are part of no tree, and none is ever read again but
// by the handler, which compares them with the present one.
func (l *Log) Check(ctx context.Context) error {
	head, err := l.advance(ctx)
	if err != nil {
		return err
	}
	t := newTiles(l.engine, head.Size)
	if err := t.check(ctx); err != nil {
		return l.stopIfCorrupt(err)
	}
	rng, err := t.rangeAt(head.Size)
	if err != nil {
		return l.stopIfCorrupt(err)
	}
	if root, err := rootOf(rng); err != nil || root != head.Root {
		return l.fail(t.blame(State{Size: head.Size, Root: head.Root}))
	}
	return l.stopIfCorrupt(l.checkPublished(t))
}

// check compares every bundle with its tile, and every tile with the one above.
func (t *tiles) check(ctx context.Context) error {
	for index := range tilesAt(0, t.size) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := t.checkBundle(index); err != nil {
			return err
		}
		clear(t.read) // a whole log does not fit into memory
	}
	for level := uint64(0); tilesAt(level, t.size) > 0; level++ {
		for index := range tilesAt(level, t.size) {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := t.checkTile(level, index); err != nil {
				return err
			}
			clear(t.read)
		}
	}
	return nil
}

// tilesAt is the number of tiles at a level, the partial one included.
func tilesAt(level, size uint64) uint64 {
	shift := level * tileHeight
	if shift >= 64 {
		return 0
	}
	return (size>>shift + tileWidth - 1) / tileWidth
}

// checkBundle compares every entry of a bundle with its hash.
func (t *tiles) checkBundle(index uint64) error {
	leaves, name, err := t.bundle(index)
	if err != nil {
		return err
	}
	hashes, err := t.tile(0, index)
	if err != nil {
		return err
	}
	for i, leaf := range leaves {
		if !bytes.Equal(leaf.hash[:], hashes[i*sha256.Size:][:sha256.Size]) {
			return &CorruptError{name, fmt.Sprintf("entry %d does not have the hash that %s gives it", i, t.tileName(0, index))}
		}
	}
	return nil
}

// checkTile compares a tile, if it is full, with its hash in the tile above.
func (t *tiles) checkTile(level, index uint64) error {
	hashes, err := t.tile(level, index)
	if err != nil {
		return err
	}
	if len(hashes) < tileWidth*sha256.Size {
		return nil
	}
	above, err := t.tile(level+1, index/tileWidth)
	if err != nil {
		return err
	}
	r := ranges.NewEmptyRange(0)
	for i := range tileWidth {
		if err := r.Append(hashes[i*sha256.Size:][:sha256.Size], nil); err != nil {
			return err
		}
	}
	root, err := r.GetRootHash(nil)
	if err != nil {
		return err
	}
	if !bytes.Equal(root, above[index%tileWidth*sha256.Size:][:sha256.Size]) {
		return &CorruptError{t.tileName(level, index), fmt.Sprintf("it does not have the hash that %s gives it", t.tileName(level+1, index/tileWidth))}
	}
	return nil
}

// blame finds the file at the right edge that keeps the tiles from giving the
// state's root. If every pair fits, it is the top tile or the state itself.
func (t *tiles) blame(state State) error {
	top := uint64(0)
	for level := uint64(0); tilesAt(level, t.size) > 0; level++ {
		top = level
		last := tilesAt(level, t.size) - 1
		for _, index := range []uint64{last, max(last, 1) - 1} {
			if err := t.checkTile(level, index); err != nil {
				return err
			}
			if level > 0 {
				continue
			}
			if err := t.checkBundle(index); err != nil {
				return err
			}
		}
	}
	return &CorruptError{t.engine.Name(Resource{Kind: StateResource}), fmt.Sprintf("its root at size %d is not that of the tiles up to %s", state.Size, t.tileName(top, 0))}
}

// checkPath finds the first tile between a leaf and the top that does not fit the
// next; if there is none, it is the state.
func (t *tiles) checkPath(index uint64) error {
	for level := uint64(0); tilesAt(level, t.size) > 0; level++ {
		index /= tileWidth
		if err := t.checkTile(level, index); err != nil {
			return err
		}
	}
	return &CorruptError{t.engine.Name(Resource{Kind: StateResource}), "its root is not that of the tiles"}
}

// tileName is the name of a tile in the tree of this size.
func (t *tiles) tileName(level, index uint64) string {
	return t.engine.Name(Resource{Kind: TileResource, Level: level, Index: index, Width: widthAt(level, index, t.size)})
}
