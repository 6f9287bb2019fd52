package siglog

import (
	"context"
	"errors"
	"fmt"

	"github.com/touchmark/touchmark/services/internal/index"
)

// ErrClosed is returned by Append and AppendV2 after Close.
var ErrClosed = errors.New("the log is shutting down")

// Append puts the entry into the v1 tree, unless it is there, and returns it with
// proof and timestamp. If ctx ends first the entry may still enter the log; the
// next Append of the same entry then finds it.
func (l *Log) Append(ctx context.Context, p Proposed) (Entry, error) {
	place, at, err := l.v1.append(ctx, index.Entry{LeafHash: p.LeafHash, Keys: p.keys}, p.Body)
	if err != nil {
		return Entry{}, fmt.Errorf("appending entry: %w", err)
	}
	return l.entry(ctx, p.Body, place, at)
}

// AppendV2 is Append for the v2 tree, whose entries have no time.
func (l *Log) AppendV2(ctx context.Context, p ProposedV2) (Included, error) {
	place, _, err := l.v2.append(ctx, index.Entry{LeafHash: p.LeafHash}, p.Body)
	if err != nil {
		return Included{}, fmt.Errorf("appending entry: %w", err)
	}
	return l.v2.prove(ctx, p.Body, place)
}

// sequence is one leaf on its way into a tree. It is not bound to the request
// that began it: whoever waits for it may give up, the leaf may not.
type sequence struct {
	done  chan struct{} // closed when the fields below are set
	place uint64
	time  int64
	err   error
}

// append sequences the entry, or finds it, and returns its place and time.
func (t *tree) append(ctx context.Context, e index.Entry, body []byte) (place uint64, at int64, err error) {
	s, err := t.start(e, body)
	if err != nil {
		return 0, 0, err
	}
	select {
	case <-s.done:
		return s.place, s.time, s.err
	case <-ctx.Done():
		return 0, 0, ctx.Err()
	}
}

// start begins the entry's sequence, or joins the one that is under way.
func (t *tree) start(e index.Entry, body []byte) (*sequence, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, ErrClosed
	}
	if s, ok := t.sequences[e.LeafHash]; ok {
		return s, nil
	}
	s := &sequence{done: make(chan struct{})}
	t.sequences[e.LeafHash] = s
	t.running.Go(func() {
		s.place, s.time, s.err = t.sequence(context.Background(), e, body)
		t.mu.Lock()
		delete(t.sequences, e.LeafHash)
		t.mu.Unlock()
		close(s.done)
	})
	return s, nil
}

// sequence stores the entry's time, appends its leaf and notes its place. A leaf
// that is in the tree is not appended again.
func (t *tree) sequence(ctx context.Context, e index.Entry, body []byte) (place uint64, at int64, err error) {
	e.Time = t.cfg.Clock().Unix()
	record, err := t.index.Reserve(ctx, e)
	if err != nil {
		return 0, 0, err
	}
	if record.Completed {
		return uint64(record.LogIndex), record.Time, nil
	}
	if place, err = t.Add(ctx, body); err != nil {
		return 0, 0, err
	}
	e.LogIndex = int64(place)
	if err := t.index.Complete(ctx, e); err != nil {
		return 0, 0, err
	}
	return place, record.Time, nil
}
