package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

const (
	// queueLength bounds what waits to be written: a burst of a node's whole set of
	// images, and then some.
	queueLength = 2048
	// maxBatch bounds what shares a transaction.
	maxBatch = 256
	// beat is how often the time is noted while admissions are kept.
	beat = 30 * time.Second
	// writeTimeout bounds a transaction.
	writeTimeout = 10 * time.Second
)

// write is a part of a transaction.
type write func(*sql.Tx) error

// queued is a write that waits; written, if there is one, is closed when it has
// been written, or could not be.
type queued struct {
	write
	written chan struct{}
}

// later writes behind the back of the caller. What there is no room for is
// dropped: deciding does not wait for a disk.
func (s *Store) later(w write) {
	if s.db == nil {
		return
	}
	select {
	case s.writes <- queued{write: w}:
	default:
		s.drop(1)
	}
}

func (s *Store) drop(n int) {
	s.mu.Lock()
	s.dropped += uint64(n)
	s.mu.Unlock()
}

// Flush waits until everything that was to be written before is written, or
// could not be.
func (s *Store) Flush(ctx context.Context) {
	if s.db == nil {
		return
	}
	written := make(chan struct{})
	select {
	case s.writes <- queued{func(*sql.Tx) error { return nil }, written}:
	case <-s.done:
		return
	case <-ctx.Done():
		return
	}
	select {
	case <-written:
	case <-s.done:
	case <-ctx.Done():
	}
}

// writer commits what has come in while the last commit was being written.
func (s *Store) writer() {
	defer close(s.done)
	beats := time.NewTicker(beat)
	defer beats.Stop()
	for since := maxBatch; ; { // the first thing that is written prunes
		var batch []queued
		select {
		case w := <-s.writes:
			batch = append(batch, w)
		case <-beats.C:
			if !s.keeping() {
				continue
			}
		case <-s.quit:
			for batch = s.gather(nil); len(batch) > 0; batch = s.gather(nil) {
				s.apply(batch, false)
			}
			return
		}
		batch = s.gather(batch)
		since += len(batch)
		prune := since >= maxBatch
		if prune {
			since = 0
		}
		s.apply(batch, prune)
	}
}

// apply writes a batch, and says what came of it.
func (s *Store) apply(batch []queued, prune bool) {
	writes := []write{s.noteTime}
	for _, q := range batch {
		writes = append(writes, q.write)
	}
	if prune {
		writes = append(writes, s.prune)
	}
	err := s.commit(writes)
	if err != nil {
		s.drop(len(batch))
	}
	s.health(err)
	for _, q := range batch {
		if q.written != nil {
			close(q.written)
		}
	}
}

// gather takes what waits into a batch.
func (s *Store) gather(batch []queued) []queued {
	for len(batch) < maxBatch {
		select {
		case w := <-s.writes:
			batch = append(batch, w)
		default:
			return batch
		}
	}
	return batch
}

// commit applies all writes or none.
func (s *Store) commit(batch []write) error {
	// SQLite's own lock is not fair: a busy writer would keep it from others for
	// longer than they wait.
	s.committing.Lock()
	defer s.committing.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("writing the agent's store: %w", err)
	}
	for _, w := range batch {
		if err := w(tx); err != nil {
			return fmt.Errorf("writing the agent's store: %w", errors.Join(err, tx.Rollback()))
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("writing the agent's store: %w", err)
	}
	return nil
}

// prune removes what is too much or too old.
func (s *Store) prune(tx *sql.Tx) error {
	now := s.config.Now()
	for _, del := range []struct {
		sql  string
		args []any
	}{
		{"DELETE FROM decisions WHERE last < ?", []any{now.Add(-maxAge).UnixNano()}},
		{`DELETE FROM decisions WHERE id IN (SELECT id FROM
			(SELECT id, row_number() OVER (PARTITION BY uid ORDER BY last DESC) AS n FROM decisions) WHERE n > ?)`, []any{maxForOne}},
		{"DELETE FROM decisions WHERE id IN (SELECT id FROM decisions ORDER BY last DESC LIMIT -1 OFFSET ?)", []any{maxDecisions}},
		{"DELETE FROM admissions WHERE until < ?", []any{now.UnixNano()}},
		{"DELETE FROM admissions WHERE key IN (SELECT key FROM admissions ORDER BY since DESC LIMIT -1 OFFSET ?)", []any{maxAdmissions}},
	} {
		if _, err := tx.Exec(del.sql, del.args...); err != nil {
			return err
		}
	}
	return pruneIndexes(tx)
}
