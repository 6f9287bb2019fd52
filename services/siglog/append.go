package siglog

import (
	"context"
	"errors"
	"fmt"

	"github.com/touchmark/touchmark/core/tlog"
	"github.com/touchmark/touchmark/services/internal/index"
)

// ErrClosed is returned by Append after Close.
var ErrClosed = errors.New("the log is shutting down")

// sequence is one leaf on its way into the tree. It is not bound to the request
// that began it: whoever waits for it may give up, the leaf may not.
type sequence struct {
	done  chan struct{} // closed when the fields below are set
	index uint64
	time  int64
	err   error
}

// Append puts the entry into the v1 tree, unless it is there, and returns it with
// proof and timestamp. If ctx ends first the entry may still enter the log; the
// next Append of the same entry then finds it.
func (l *Log) Append(ctx context.Context, p Proposed) (Entry, error) {
	s, err := l.start(p)
	if err != nil {
		return Entry{}, err
	}
	select {
	case <-s.done:
	case <-ctx.Done():
		return Entry{}, fmt.Errorf("appending entry: %w", ctx.Err())
	}
	if s.err != nil {
		return Entry{}, fmt.Errorf("appending entry: %w", s.err)
	}
	return l.entry(ctx, p.Body, s.index, s.time)
}

// start begins the entry's sequence, or joins the one that is under way.
func (l *Log) start(p Proposed) (*sequence, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, ErrClosed
	}
	if s, ok := l.sequences[p.LeafHash]; ok {
		return s, nil
	}
	s := &sequence{done: make(chan struct{})}
	l.sequences[p.LeafHash] = s
	l.running.Go(func() {
		s.index, s.time, s.err = l.sequence(context.Background(), p)
		l.mu.Lock()
		delete(l.sequences, p.LeafHash)
		l.mu.Unlock()
		close(s.done)
	})
	return s, nil
}

// sequence stores the entry's time, appends its leaf and notes its place. A leaf
// that is in the tree is not appended again.
func (l *Log) sequence(ctx context.Context, p Proposed) (place uint64, at int64, err error) {
	e := index.Entry{LeafHash: p.LeafHash, Time: l.cfg.Clock().Unix(), Keys: p.keys}
	record, err := l.index.Reserve(ctx, e)
	if err != nil {
		return 0, 0, err
	}
	if record.Completed {
		return uint64(record.LogIndex), record.Time, nil
	}
	if place, err = l.v1.Add(ctx, p.Body); err != nil {
		return 0, 0, err
	}
	e.LogIndex = int64(place)
	if err := l.index.Complete(ctx, e); err != nil {
		return 0, 0, err
	}
	return place, record.Time, nil
}

// completeIndex reads the leaves that the index has no place for, which a crash
// leaves behind, and completes them. After the loss of the index these are all: an
// entry then gets the present time, its own is lost.
func (l *Log) completeIndex(ctx context.Context) error {
	size, _, err := l.v1.Head(ctx)
	if err != nil {
		return err
	}
	next, err := l.index.Next(ctx)
	if err != nil {
		return err
	}
	if next > size {
		return fmt.Errorf("the index knows %d entries, the v1 tree holds %d: one of them was replaced", next, size)
	}
	switch {
	case next == 0 && size > 0:
		l.cfg.Logger.WarnContext(ctx, "the index is empty: rebuilding it from the tree, the entries' times are lost", "size", size)
	case next < size:
		l.cfg.Logger.InfoContext(ctx, "completing the index from the tree", "from", next, "size", size)
	}
	for next < size {
		leaves, err := l.v1.Leaves(ctx, next, int(min(size-next, maxCompletions)))
		if err != nil {
			return err
		}
		entries := make([]index.Entry, 0, len(leaves))
		for _, body := range leaves {
			keys, err := keysOfBody(body)
			if err != nil {
				return fmt.Errorf("completing the index: leaf %d: %w", next, err)
			}
			entries = append(entries, index.Entry{LeafHash: tlog.LeafHash(body), Time: l.cfg.Clock().Unix(), LogIndex: int64(next), Keys: keys})
			next++
		}
		if err := l.index.Complete(ctx, entries...); err != nil {
			return err
		}
	}
	return nil
}

// maxCompletions bounds the leaves read at once: a bundle has as many.
const maxCompletions = 256
