package index

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
)

// MaxResults bounds the answer of one search: a public key of a busy builder may
// have signed millions of entries.
const MaxResults = 1000

const selectRecord = "SELECT integrated_time, log_index FROM entries WHERE leaf_hash = ?"

// Lookup returns what is known about the entry with the leaf hash, or
// [ErrNotFound].
func (x *Index) Lookup(ctx context.Context, leafHash [sha256.Size]byte) (Record, error) {
	r, err := lookup(x.db.QueryRowContext(ctx, selectRecord, leafHash[:]))
	if err != nil && !errors.Is(err, ErrNotFound) {
		return Record{}, fmt.Errorf("looking up log entry: %w", err)
	}
	return r, err
}

func lookup(row *sql.Row) (Record, error) {
	var r Record
	var index sql.NullInt64
	err := row.Scan(&r.Time, &index)
	if errors.Is(err, sql.ErrNoRows) {
		return Record{}, ErrNotFound
	}
	r.LogIndex, r.Completed = index.Int64, index.Valid
	return r, err
}

// Search returns the leaf hashes of the completed entries that have the key, the
// newest [MaxResults] of them, newest first.
func (x *Index) Search(ctx context.Context, key string) ([][sha256.Size]byte, error) {
	rows, err := x.db.QueryContext(ctx, `SELECT keys.leaf_hash FROM keys
		JOIN entries ON entries.leaf_hash = keys.leaf_hash
		WHERE keys.key = ? AND entries.log_index IS NOT NULL
		ORDER BY entries.log_index DESC LIMIT ?`, key, MaxResults)
	if err != nil {
		return nil, fmt.Errorf("searching index: %w", err)
	}
	defer rows.Close()
	var found [][sha256.Size]byte
	for rows.Next() {
		var b []byte
		if err := rows.Scan(&b); err != nil {
			return nil, fmt.Errorf("searching index: %w", err)
		}
		if len(b) != sha256.Size {
			return nil, fmt.Errorf("searching index: a leaf hash has %d bytes", len(b))
		}
		found = append(found, [sha256.Size]byte(b))
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("searching index: %w", err)
	}
	return found, nil
}

// Next returns the first place in the tree that no entry of the index has: from
// there on a log that starts reads its tree's leaves and completes them.
func (x *Index) Next(ctx context.Context) (uint64, error) {
	var next int64
	err := x.db.QueryRowContext(ctx, `SELECT CASE
		WHEN NOT EXISTS (SELECT 1 FROM entries WHERE log_index = 0) THEN 0
		ELSE (SELECT MIN(a.log_index) + 1 FROM entries a WHERE a.log_index IS NOT NULL
			AND NOT EXISTS (SELECT 1 FROM entries b WHERE b.log_index = a.log_index + 1))
		END`).Scan(&next)
	if err != nil {
		return 0, fmt.Errorf("reading index: %w", err)
	}
	return uint64(next), nil
}
