package store

import (
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/touchmark/touchmark/services/internal/sqlite"
)

// Exec does something to a file.
func Exec(path, statement string) error {
	db, err := sql.Open("sqlite", path)
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.Exec(statement)
	return err
}

// Count counts the rows of a table, and has SQLite look the file over.
func Count(tb testing.TB, dir, table string) (n int) {
	tb.Helper()
	db, err := sqlite.Open(tb.Context(), filepath.Join(dir, File), sqlite.Schema{Version: 1, SQL: schema})
	if err != nil {
		tb.Fatal(err)
	}
	defer db.Close()
	var verdict string
	if err := db.QueryRow("PRAGMA integrity_check").Scan(&verdict); err != nil || verdict != "ok" {
		tb.Errorf("the file is %q, %v", verdict, err)
	}
	if err := db.QueryRow("SELECT count(*) FROM " + table).Scan(&n); err != nil {
		tb.Fatal(err)
	}
	return n
}
