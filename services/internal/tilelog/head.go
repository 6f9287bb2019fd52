package tilelog

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/transparency-dev/merkle/compact"

	"github.com/touchmark/touchmark/core/tlog"
)

// Head returns size and root of the tree as it is on stable storage now, after
// checking that it extends the last head (see the package comment).
func (l *Log) Head(ctx context.Context) (size uint64, root [sha256.Size]byte, err error) {
	head, err := l.advance(ctx)
	return head.Size, head.Root, err
}

// Checkpoint returns a signed checkpoint of [Log.Head]. Calls at one size share
// one signature.
func (l *Log) Checkpoint(ctx context.Context) (Signed, error) {
	if _, err := l.advance(ctx); err != nil {
		return Signed{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.signLocked()
}

// signLocked signs the current head, once; the caller holds l.mu.
func (l *Log) signLocked() (Signed, error) {
	if l.broken != nil {
		return Signed{}, l.broken
	}
	if l.signed.Note != "" && l.signed.Size == l.head.Size {
		return l.signed, nil
	}
	note, err := l.opts.Signer.SignCheckpoint(l.head)
	if err != nil {
		return Signed{}, err
	}
	l.signed = Signed{Checkpoint: l.head, Note: note}
	return l.signed, nil
}

// advance moves the head to the engine's present state. The head only ever
// grows; what contradicts it stops the log.
func (l *Log) advance(ctx context.Context) (tlog.Checkpoint, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != nil {
		return tlog.Checkpoint{}, l.broken
	}
	if err := ctx.Err(); err != nil {
		return tlog.Checkpoint{}, err
	}
	state, err := l.engine.State()
	if err != nil {
		return tlog.Checkpoint{}, l.stopIfCorruptLocked(err)
	}
	name := l.engine.Name(Resource{Kind: StateResource})
	switch {
	case state.Size < l.head.Size:
		return tlog.Checkpoint{}, l.failLocked(&CorruptError{name, fmt.Sprintf("the tree shrank from %d to %d leaves", l.head.Size, state.Size)})
	case state.Size == l.head.Size && state.Root != l.head.Root:
		return tlog.Checkpoint{}, l.failLocked(&CorruptError{name, fmt.Sprintf("another root for the same size %d", state.Size)})
	case state.Size == l.head.Size:
		return l.head, nil
	}
	rng, err := l.extend(state)
	if err != nil {
		return tlog.Checkpoint{}, l.stopIfCorruptLocked(err)
	}
	l.rng = rng
	l.head = tlog.Checkpoint{Origin: l.opts.Origin, Size: state.Size, Root: state.Root}
	return l.head, nil
}

// extend appends the leaves from the last head up to state, as they are read back
// from storage, to a copy of the head's compact range, and returns it if its root
// is state's and the stored tiles agree.
func (l *Log) extend(state State) (*compact.Range, error) {
	rng, err := ranges.NewRange(0, l.rng.End(), slices.Clone(l.rng.Hashes()))
	if err != nil {
		return nil, err
	}
	stored := newTiles(l.engine, state.Size)
	if err := stored.replay(rng); err != nil {
		return nil, err
	}
	name := l.engine.Name(Resource{Kind: StateResource})
	root, err := rootOf(rng)
	if err != nil {
		return nil, err
	}
	if root != state.Root {
		return nil, &CorruptError{name, fmt.Sprintf("the root at size %d is not that of the stored leaves", state.Size)}
	}
	fromTiles, err := stored.rangeAt(state.Size)
	if err != nil {
		return nil, err
	}
	if !fromTiles.Equal(rng) {
		return nil, &CorruptError{name, fmt.Sprintf("the stored tiles do not give the root at size %d", state.Size)}
	}
	return rng, nil
}

// replay appends the leaves from the end of rng to the end of the tree to rng,
// comparing each with its hash in the level 0 tile.
func (t *tiles) replay(rng *compact.Range) error {
	for rng.End() < t.size {
		index := rng.End() / tileWidth
		leaves, name, err := t.bundle(index)
		if err != nil {
			return err
		}
		hashes, err := t.tile(0, index)
		if err != nil {
			return err
		}
		for i := int(rng.End() % tileWidth); i < len(leaves); i++ {
			h := leaves[i].hash[:]
			if !bytes.Equal(h, hashes[i*sha256.Size:][:sha256.Size]) {
				return &CorruptError{name, fmt.Sprintf("entry %d does not have the hash that the tile %s gives it", i,
					t.engine.Name(Resource{Kind: TileResource, Index: index, Width: len(leaves)}))}
			}
			if err := rng.Append(h, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// readable returns the head that reads are answered from: the present one, or,
// once the log is stopped, the last that was verified. Reads go on then.
func (l *Log) readable(ctx context.Context) (tlog.Checkpoint, error) {
	head, err := l.advance(ctx)
	if !errors.Is(err, ErrStopped) {
		return head, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.head, nil
}

// stopIfCorrupt stops the log if the error is about stored bytes.
func (l *Log) stopIfCorrupt(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stopIfCorruptLocked(err)
}

func (l *Log) stopIfCorruptLocked(err error) error {
	var corrupt *CorruptError
	if errors.As(err, &corrupt) {
		return l.failLocked(err)
	}
	return err
}
