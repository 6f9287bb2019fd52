package siglog

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/touchmark/touchmark/core/tlog"
	"github.com/touchmark/touchmark/services/internal/index"
	"github.com/touchmark/touchmark/services/internal/tilelog"
	"github.com/touchmark/touchmark/services/internal/tilelog/posix"
)

// tree is one of the log's two append-only trees with the index of its entries.
type tree struct {
	*tilelog.Log
	about Tree
	cfg   Config
	index *index.Index
	// searchKeys derives an entry's search keys from its leaf; nil for a tree that is
	// not searched.
	searchKeys func(body []byte) ([]string, error)

	mu        sync.Mutex
	sequences map[[32]byte]*sequence // under way, by leaf hash
	closed    bool
	running   sync.WaitGroup // sequences
}

// openTree opens the tree in the named directory. Its notes are signed under the
// host name, whatever the origin.
func openTree(ctx context.Context, cfg Config, name, origin string, key crypto.Signer) (*tree, error) {
	signer, err := tlog.NewSigner(cfg.Hostname, key)
	if err != nil {
		return nil, fmt.Errorf("the %s key: %w", name, err)
	}
	id, err := tlog.KeyID(cfg.Hostname, key.Public())
	if err != nil {
		return nil, fmt.Errorf("the %s key: %w", name, err)
	}
	engine, err := posix.Open(filepath.Join(cfg.Dir, name), tilelog.Entries)
	if err != nil {
		return nil, err
	}
	log, err := tilelog.Open(ctx, engine, tilelog.Options{Origin: origin, Signer: signer, Verifier: signer.Verifier(), Logger: cfg.Logger})
	if err != nil {
		return nil, err
	}
	return &tree{Log: log, about: Tree{Origin: origin, LogID: id, Key: key.Public()}, cfg: cfg, sequences: map[[32]byte]*sequence{}}, nil
}

// openIndex opens the index in the named file and completes it from the tree.
func (t *tree) openIndex(ctx context.Context, name string) (err error) {
	if t.index, err = index.Open(ctx, filepath.Join(t.cfg.Dir, name)); err != nil {
		return err
	}
	if err := t.completeIndex(ctx); err != nil {
		return fmt.Errorf("completing %s: %w", name, err)
	}
	return nil
}

// completeIndex reads the leaves that the index has no place for, which a crash
// leaves behind, and completes them. After the loss of the index these are all: an
// entry then gets the present time, its own is lost.
func (t *tree) completeIndex(ctx context.Context) error {
	size, _, err := t.Head(ctx)
	if err != nil {
		return err
	}
	next, err := t.index.Next(ctx)
	if err != nil {
		return err
	}
	if next > size {
		return fmt.Errorf("it knows %d entries, the tree holds %d: one of them was replaced", next, size)
	}
	switch {
	case next == 0 && size > 0:
		t.cfg.Logger.WarnContext(ctx, "the index is empty: rebuilding it from the tree, without the times that it held", "origin", t.about.Origin, "size", size)
	case next < size:
		t.cfg.Logger.InfoContext(ctx, "completing the index from the tree", "origin", t.about.Origin, "from", next, "size", size)
	}
	for next < size {
		leaves, err := t.Leaves(ctx, next, int(min(size-next, maxCompletions)))
		if err != nil {
			return err
		}
		entries := make([]index.Entry, 0, len(leaves))
		for _, body := range leaves {
			e := index.Entry{LeafHash: tlog.LeafHash(body), Time: t.cfg.Clock().Unix(), LogIndex: int64(next)}
			if t.searchKeys != nil {
				if e.Keys, err = t.searchKeys(body); err != nil {
					return fmt.Errorf("leaf %d: %w", next, err)
				}
			}
			entries = append(entries, e)
			next++
		}
		if err := t.index.Complete(ctx, entries...); err != nil {
			return err
		}
	}
	return nil
}

// maxCompletions bounds the leaves read at once: a bundle has as many.
const maxCompletions = 256

// Included is an entry of a tree with what proves it.
type Included struct {
	Body       []byte
	LogIndex   uint64
	LogID      [32]byte
	Checkpoint string // signed note, covers the entry
	TreeSize   uint64
	RootHash   [32]byte
	Hashes     [][]byte // from leaf to root
}

// prove proves the body at the place under a checkpoint of the present tree. The
// proof is verified against the body in hand, so what the tree holds is what the
// submitter sent.
func (t *tree) prove(ctx context.Context, body []byte, place uint64) (Included, error) {
	signed, err := t.Checkpoint(ctx)
	if err != nil {
		return Included{}, err
	}
	if place >= signed.Size {
		return Included{}, fmt.Errorf("the index has place %d, the tree only %d leaves", place, signed.Size)
	}
	hashes, err := t.InclusionProof(ctx, place, signed.Size)
	if err != nil {
		return Included{}, err
	}
	if err := tlog.VerifyInclusion(tlog.LeafHash(body), place, hashes, signed.Checkpoint); err != nil {
		return Included{}, fmt.Errorf("the tree holds another leaf at %d: %w", place, err)
	}
	return Included{
		Body:       body,
		LogIndex:   place,
		LogID:      t.about.LogID,
		Checkpoint: signed.Note,
		TreeSize:   signed.Size,
		RootHash:   signed.Root,
		Hashes:     hashes,
	}, nil
}

// stop waits for the sequences under way; new ones are refused.
func (t *tree) stop() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.running.Wait()
}

// close closes the files.
func (t *tree) close() error {
	var errs [2]error
	var closing sync.WaitGroup // each waits for its own disk
	closing.Go(func() { errs[0] = t.Close() })
	if t.index != nil {
		closing.Go(func() { errs[1] = t.index.Close() })
	}
	closing.Wait()
	return errors.Join(errs[:]...)
}
