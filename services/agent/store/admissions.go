package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/touchmark/touchmark/core/gate"
)

const (
	// maxAdmissions bounds the admissions that are kept for a restart.
	maxAdmissions = 5000
	// maxBack is how far one reading of the clock may lie before another: those of
	// several goroutines come in any order.
	maxBack = 2 * time.Second
)

// clock is which time it is, and which rules are in force, as far as
// admissions are concerned. It is guarded by Store.mu.
type clock struct {
	rules   string    // "" if none may be kept or restored
	seen    time.Time // the latest time
	until   time.Time // the last admission's end
	useless bool      // what lies in the file could not be forgotten, so none of it is used
}

// begin reads what the file says of the time, and forgets what another version
// of the program decided.
func (s *Store) begin(ctx context.Context) error {
	var seen int64
	var version string
	if err := s.db.QueryRowContext(ctx, "SELECT seen, version FROM meta").Scan(&seen, &version); err != nil {
		return fmt.Errorf("reading the agent's store: %w", err)
	}
	s.clock.seen = time.Unix(0, seen)
	if version == s.config.Version {
		return nil
	}
	return s.forget(func(tx *sql.Tx) error {
		_, err := tx.Exec("DELETE FROM admissions; UPDATE meta SET version = ?", s.config.Version)
		return err
	})
}

// forget removes admissions before it returns. If that can't be done, none is
// used any more.
func (s *Store) forget(w write) error {
	err := s.commit([]write{w})
	if err != nil {
		s.mu.Lock()
		s.clock.useless = true
		s.mu.Unlock()
	}
	return err
}

// Begin implements [gate.Store].
func (s *Store) Begin(rules string, now time.Time) {
	if s.db == nil {
		return
	}
	s.mu.Lock()
	s.clock.rules = ""
	s.mu.Unlock()
	err := s.forget(func(tx *sql.Tx) error {
		_, err := tx.Exec("DELETE FROM admissions WHERE rules != ?", rules)
		return err
	})
	s.health(err)
	s.mu.Lock()
	s.clock.rules = rules
	s.mu.Unlock()
	s.tick(now)
}

// tick notes the time. If the clock went back, all admissions are forgotten:
// their ends say nothing any more.
func (s *Store) tick(now time.Time) {
	s.mu.Lock()
	back := now.Before(s.clock.seen.Add(-maxBack))
	if back || now.After(s.clock.seen) {
		s.clock.seen = now
	}
	s.mu.Unlock()
	if !back {
		return
	}
	s.health(s.forget(func(tx *sql.Tx) error {
		_, err := tx.Exec("DELETE FROM admissions; UPDATE meta SET seen = ?", now.UnixNano())
		return err
	}))
}

// noteTime writes the latest time that was seen.
func (s *Store) noteTime(tx *sql.Tx) error {
	s.mu.Lock()
	seen := s.clock.seen
	s.mu.Unlock()
	_, err := tx.Exec("UPDATE meta SET seen = ?", seen.UnixNano())
	return err
}

// keeping reports whether an admission is kept, and notes the time.
func (s *Store) keeping() bool {
	now := s.config.Now()
	s.tick(now)
	s.mu.Lock()
	defer s.mu.Unlock()
	return now.Before(s.clock.until)
}

// Restore implements [gate.Store].
func (s *Store) Restore(rules, key string, now time.Time) (gate.Kept, bool) {
	if s.db == nil {
		return gate.Kept{}, false
	}
	s.tick(now)
	if !s.current(rules) {
		return gate.Kept{}, false
	}
	ctx, cancel := context.WithTimeout(context.Background(), readTimeout)
	defer cancel()
	var since, until int64
	var verdict []byte
	err := s.db.QueryRowContext(ctx, "SELECT since, until, verdict FROM admissions WHERE key = ? AND rules = ?", key, rules).Scan(&since, &until, &verdict)
	if errors.Is(err, sql.ErrNoRows) {
		return gate.Kept{}, false
	}
	k := gate.Kept{From: time.Unix(0, since), Until: time.Unix(0, until)}
	if err == nil {
		err = json.Unmarshal(verdict, &k.Verdict)
	}
	if err != nil {
		s.health(fmt.Errorf("reading the agent's store: %w", err))
		return gate.Kept{}, false
	}
	return k, true
}

// current reports whether admissions under these rules are kept and restored.
func (s *Store) current(rules string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return rules != "" && rules == s.clock.rules && !s.clock.useless
}

// Keep implements [gate.Store].
func (s *Store) Keep(rules, key string, k gate.Kept) {
	if s.db == nil {
		return
	}
	verdict, err := json.Marshal(k.Verdict)
	if err != nil || len(verdict) > maxVerdict {
		return // looked up again after a restart
	}
	s.tick(k.From)
	s.mu.Lock()
	if k.Until.After(s.clock.until) {
		s.clock.until = k.Until
	}
	s.mu.Unlock()
	s.later(func(tx *sql.Tx) error {
		if !s.current(rules) { // they were replaced meanwhile
			return nil
		}
		_, err := tx.Exec("INSERT OR REPLACE INTO admissions (key, rules, since, until, verdict) VALUES (?, ?, ?, ?, ?)",
			key, rules, k.From.UnixNano(), k.Until.UnixNano(), verdict)
		return err
	})
}
