package index_test

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/touchmark/touchmark/services/internal/index"
)

func hashN(i int) [sha256.Size]byte { return sha256.Sum256(fmt.Appendf(nil, "%d", i)) }

func open(t *testing.T, path string) *index.Index {
	t.Helper()
	x, err := index.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestReserveKeepsTheTimeOfACompletedEntry(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index.sqlite")
	x := open(t, path)
	ctx := t.Context()
	reserve := func(at int64) index.Record {
		t.Helper()
		r, err := x.Reserve(ctx, index.Entry{LeafHash: hashN(1), Time: at, Keys: []string{"k"}})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if got, want := reserve(100), (index.Record{Time: 100}); got != want {
		t.Fatalf("first: %+v, want %+v", got, want)
	}
	// Nobody was told about the first one: it was never appended.
	if got, want := reserve(200), (index.Record{Time: 200}); got != want {
		t.Fatalf("second: %+v, want %+v", got, want)
	}
	if found, err := x.Search(ctx, "k"); err != nil || len(found) != 0 {
		t.Fatalf("a reservation was found: %v, %v", found, err)
	}
	if err := x.Complete(ctx, index.Entry{LeafHash: hashN(1), Time: 999, LogIndex: 7}); err != nil {
		t.Fatal(err)
	}
	want := index.Record{Time: 200, LogIndex: 7, Completed: true}
	if got := reserve(300); got != want {
		t.Fatalf("after completion: %+v, want %+v", got, want)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := x.Reserve(ctx, index.Entry{}); !errors.Is(err, index.ErrClosed) {
		t.Errorf("writing after Close: %v", err)
	}
	x = open(t, path)
	defer x.Close()
	if got := reserve(400); got != want {
		t.Errorf("after restart: %+v, want %+v", got, want)
	}
	if found, err := x.Search(ctx, "k"); err != nil || !cmp.Equal(found, [][32]byte{hashN(1)}) {
		t.Errorf("searching: %v, %v", found, err)
	}
	if _, err := x.Lookup(ctx, hashN(2)); !errors.Is(err, index.ErrNotFound) {
		t.Errorf("looking up what is not there: %v", err)
	}
}

func TestNextIsTheFirstGap(t *testing.T) {
	x := open(t, filepath.Join(t.TempDir(), "index.sqlite"))
	defer x.Close()
	for _, step := range []struct {
		complete int64
		want     uint64
	}{{-1, 0}, {2, 0}, {0, 1}, {3, 1}, {1, 4}} {
		if step.complete >= 0 {
			if err := x.Complete(t.Context(), index.Entry{LeafHash: hashN(int(step.complete)), LogIndex: step.complete}); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := x.Next(t.Context()); err != nil || got != step.want {
			t.Errorf("after %d: next %d, %v; want %d", step.complete, got, err, step.want)
		}
	}
}

func TestConcurrentWritesAllHappen(t *testing.T) {
	x := open(t, filepath.Join(t.TempDir(), "index.sqlite"))
	defer x.Close()
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			if _, err := x.Reserve(t.Context(), index.Entry{LeafHash: hashN(i), Time: int64(i), Keys: []string{"all", ""}}); err != nil {
				t.Error(err)
			}
			if err := x.Complete(t.Context(), index.Entry{LeafHash: hashN(i), LogIndex: int64(i)}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	found, err := x.Search(t.Context(), "all")
	if err != nil || len(found) != 200 || found[0] != hashN(199) {
		t.Fatalf("found %d, %v", len(found), err)
	}
}

func TestUnusableFilesAreRefusedByName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "with space?#%.sqlite")
	x := open(t, path)
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the file is %v, %v", info, err)
	}
	db, err := sql.Open("sqlite", strings.NewReplacer("?", "%3f", "#", "%23", "%", "%25").Replace("file:"+path))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("PRAGMA user_version = 2"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := index.Open(context.Background(), path); err == nil || !strings.Contains(err.Error(), "schema version is 2") || !strings.Contains(err.Error(), path) {
		t.Errorf("a newer schema: %v", err)
	}
	zeroed := filepath.Join(t.TempDir(), "zeroed.sqlite")
	if err := os.WriteFile(zeroed, make([]byte, 8192), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := index.Open(context.Background(), zeroed); err == nil || !strings.Contains(err.Error(), zeroed) {
		t.Errorf("a file of NULs: %v", err)
	}
}
