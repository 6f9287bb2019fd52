// Package index keeps what a signature log knows about its entries beside the
// tree: when each was accepted, where it stands, and under which keys it is found.
// It is one SQLite file.
//
//	record, err := idx.Reserve(ctx, index.Entry{LeafHash: h, Time: now, Keys: keys})
//	// append the leaf to the tree
//	err = idx.Complete(ctx, index.Entry{LeafHash: h, LogIndex: i, ...})
//
// An entry is reserved, with its time, before its leaf is appended: whatever
// happens in between, the same entry is later answered with the same time, and
// once only. A process that dies in between leaves a reservation without an index;
// the log completes it at the next start by reading the leaves from [Index.Next]
// on. All that is lost with the file are times: everything else comes back from
// the tree the same way.
//
// # Durability
//
// Every Reserve and Complete is on stable storage when it returns (write-ahead
// log, synchronous=FULL). Calls made at the same time share one transaction.
// The schema's version is the database's user_version; a newer one is refused.
package index

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"

	"github.com/touchmark/touchmark/services/internal/sqlite"
)

// schemaVersion is written to user_version.
const schemaVersion = 1

const schema = `
CREATE TABLE entries (
	leaf_hash       BLOB PRIMARY KEY, -- RFC 6962
	integrated_time INTEGER NOT NULL, -- seconds since 1970
	log_index       INTEGER UNIQUE    -- NULL while reserved
) WITHOUT ROWID;
CREATE TABLE keys (
	key       TEXT NOT NULL,
	leaf_hash BLOB NOT NULL,
	PRIMARY KEY (key, leaf_hash)
) WITHOUT ROWID;
`

// ErrNotFound is returned for an entry that the index does not hold.
var ErrNotFound = errors.New("not in the index")

// Index is an open index. Its methods may be called concurrently.
type Index struct {
	db     *sql.DB
	writes chan write
	quit   chan struct{}
	done   chan struct{} // closed when the writer has ended
}

// Entry is one log entry.
type Entry struct {
	LeafHash [sha256.Size]byte
	Time     int64    // when it was accepted, in seconds since 1970
	LogIndex int64    // its place in the tree; ignored by Reserve
	Keys     []string // under which Search finds it; empty keys are left out
}

// Record is what the index holds about an entry.
type Record struct {
	Time      int64 // when it was accepted, in seconds since 1970
	LogIndex  int64 // its place in the tree, valid if Complete
	Completed bool  // false: only reserved
}

// Open opens the file, or creates it.
func Open(ctx context.Context, path string) (*Index, error) {
	db, err := sqlite.Open(ctx, path, sqlite.Schema{Version: schemaVersion, SQL: schema})
	if err != nil {
		return nil, fmt.Errorf("opening index: %w", err)
	}
	x := &Index{db: db, writes: make(chan write), quit: make(chan struct{}), done: make(chan struct{})}
	go x.writer()
	return x, nil
}

// Reserve notes that an entry is about to be appended, and returns what is known
// of it. If it is in the tree already, that is its old time and index, and nothing
// changes; otherwise it now has e.Time.
func (x *Index) Reserve(ctx context.Context, e Entry) (Record, error) {
	var r Record
	err := x.write(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec(`INSERT INTO entries (leaf_hash, integrated_time) VALUES (?, ?)
			ON CONFLICT (leaf_hash) DO UPDATE SET integrated_time = excluded.integrated_time WHERE log_index IS NULL`,
			e.LeafHash[:], e.Time)
		if err != nil {
			return err
		}
		if err := insertKeys(tx, e); err != nil {
			return err
		}
		r, err = lookup(tx.QueryRow(selectRecord, e.LeafHash[:]))
		return err
	})
	if err != nil {
		return Record{}, fmt.Errorf("reserving log entry: %w", err)
	}
	return r, nil
}

// Complete notes where entries stand in the tree. An entry that was not reserved
// gets e.Time; a reserved one keeps its own, and a completed one its index.
func (x *Index) Complete(ctx context.Context, entries ...Entry) error {
	err := x.write(ctx, func(tx *sql.Tx) error {
		for _, e := range entries {
			_, err := tx.Exec(`INSERT INTO entries (leaf_hash, integrated_time, log_index) VALUES (?, ?, ?)
				ON CONFLICT (leaf_hash) DO UPDATE SET log_index = excluded.log_index WHERE log_index IS NULL`,
				e.LeafHash[:], e.Time, e.LogIndex)
			if err != nil {
				return err
			}
			if err := insertKeys(tx, e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("completing log entry: %w", err)
	}
	return nil
}

func insertKeys(tx *sql.Tx, e Entry) error {
	for _, key := range e.Keys {
		if key == "" {
			continue
		}
		if _, err := tx.Exec("INSERT OR IGNORE INTO keys (key, leaf_hash) VALUES (?, ?)", key, e.LeafHash[:]); err != nil {
			return err
		}
	}
	return nil
}

// Close waits for the writes under way and closes the file. Later writes fail.
func (x *Index) Close() error {
	close(x.quit)
	<-x.done
	return x.db.Close()
}
