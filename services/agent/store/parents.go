package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/gate/parents"
)

// maxListed bounds what is remembered of indexes: entries of all of them, of
// some 200 bytes each. The oldest go first.
const maxListed = 400_000

var _ parents.Store = (*Store)(nil)

// Known implements [parents.Store].
func (s *Store) Known(ctx context.Context, place string, index v1.Hash) bool {
	if s.listed.Known(ctx, place, index) {
		return true
	}
	if s.db == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	var one int
	err := s.db.QueryRowContext(ctx, "SELECT 1 FROM indexes WHERE place = ? AND digest = ?", place, index.String()).Scan(&one)
	s.readFailed(ctx, err)
	return err == nil
}

// Parents implements [parents.Store].
func (s *Store) Parents(ctx context.Context, place string, manifest v1.Hash, limit int) []v1.Hash {
	found := s.stored(ctx, place, manifest, limit)
	for _, recent := range s.listed.Parents(ctx, place, manifest, limit) {
		if len(found) < limit && !slices.Contains(found, recent) {
			found = append(found, recent)
		}
	}
	return found
}

// stored are the parents in the file.
func (s *Store) stored(ctx context.Context, place string, manifest v1.Hash, limit int) []v1.Hash {
	if s.db == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	rows, err := s.db.QueryContext(ctx, `SELECT digest FROM children JOIN indexes ON listing = id
		WHERE manifest = ? AND place = ? ORDER BY id LIMIT ?`, manifest.String(), place, limit)
	if err != nil {
		s.readFailed(ctx, err)
		return nil
	}
	defer func() { _ = rows.Close() }() // Err tells
	var found []v1.Hash
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			break
		}
		if digest, err := v1.NewHash(text); err == nil {
			found = append(found, digest)
		}
	}
	s.readFailed(ctx, rows.Err())
	return found
}

// Remember implements [parents.Store].
func (s *Store) Remember(ctx context.Context, place string, index v1.Hash, children []v1.Hash) {
	if len(children) > parents.MaxChildren {
		return
	}
	s.listed.Remember(ctx, place, index, children) // until it is in the file, and if it never is
	s.later(func(tx *sql.Tx) error {
		res, err := tx.Exec("INSERT OR IGNORE INTO indexes (place, digest, listed) VALUES (?, ?, ?)", place, index.String(), len(children))
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return err
		}
		id, err := res.LastInsertId()
		if err != nil {
			return err
		}
		for _, c := range children {
			if _, err := tx.Exec("INSERT OR IGNORE INTO children (manifest, listing) VALUES (?, ?)", c.String(), id); err != nil {
				return err
			}
		}
		return nil
	})
}

// pruneIndexes forgets the oldest indexes if there are too many.
func pruneIndexes(tx *sql.Tx) error {
	for _, del := range []string{
		`DELETE FROM children WHERE listing IN (SELECT id FROM (SELECT id, sum(listed + 1) OVER (ORDER BY id DESC) AS total FROM indexes) WHERE total > ?)`,
		`DELETE FROM indexes WHERE id IN (SELECT id FROM (SELECT id, sum(listed + 1) OVER (ORDER BY id DESC) AS total FROM indexes) WHERE total > ?)`,
	} {
		if _, err := tx.Exec(del, maxListed); err != nil {
			return err
		}
	}
	return nil
}

// readFailed notes that the file could not be read, unless it was the caller who
// went away or there was nothing to find.
func (s *Store) readFailed(ctx context.Context, err error) {
	if err != nil && !errors.Is(err, sql.ErrNoRows) && ctx.Err() == nil {
		s.health(fmt.Errorf("reading the agent's store: %w", err))
	}
}
