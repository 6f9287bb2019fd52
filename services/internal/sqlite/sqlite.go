// Package sqlite opens SQLite files as this project's services use them: made
// with mode 0600, with a write-ahead log, every commit on stable storage before
// it returns, and a schema whose version is the file's user_version.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/touchmark/touchmark/services/internal/durable"
)

// maxConns bounds the connections that read; each holds a page cache of 2 MB.
const maxConns = 8

// Schema is the tables of a file.
type Schema struct {
	Version int    // at least 1; another one in the file is refused
	SQL     string // makes them in an empty file
}

// Open opens a file, or makes it with its schema. Transactions take the write
// lock when they begin, and wait five seconds for it.
func Open(ctx context.Context, path string, schema Schema) (*sql.DB, error) {
	// SQLite would create it with wider permissions.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(f.Close(), durable.SyncDir(filepath.Dir(path))); err != nil {
		return nil, err
	}
	dsn := url.URL{Scheme: "file", Path: path, RawQuery: url.Values{
		"_pragma": {"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)"},
		"_txlock": {"immediate"},
	}.Encode()}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	db.SetMaxOpenConns(maxConns)
	if err := migrate(ctx, db, schema); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), db.Close())
	}
	return db, nil
}

// migrate creates the schema in an empty database and refuses another version.
func migrate(ctx context.Context, db *sql.DB, schema Schema) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // nothing to undo after the commit
	var version int
	if err := tx.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	switch {
	case version == schema.Version:
		return nil
	case version != 0:
		return fmt.Errorf("its schema version is %d, this program knows %d", version, schema.Version)
	}
	if _, err := tx.ExecContext(ctx, schema.SQL+fmt.Sprintf("PRAGMA user_version = %d", schema.Version)); err != nil {
		return err
	}
	return tx.Commit()
}
