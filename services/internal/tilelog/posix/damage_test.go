package posix_test

import (
	"errors"
	"io/fs"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/services/internal/tilelog"
)

// storedFiles are the files of a log that hold its content.
func storedFiles(t *testing.T, dir string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, path)
		if err == nil && d.Type().IsRegular() && (strings.HasPrefix(rel, "tree/tile/") || rel == "checkpoint" || rel == "tree/.state/treeState") {
			files = append(files, path)
		}
		return err
	})
	if err != nil || len(files) < 4 {
		t.Fatalf("listing %s: %d files, %v", dir, len(files), err)
	}
	return files
}

// rightEdge are the files without which the present head can't be rebuilt.
func rightEdge(dir string) []string {
	return []string{
		dir + "/checkpoint",
		dir + "/tree/.state/treeState",
		dir + "/tree/tile/0/002.p/88",
		dir + "/tree/tile/1/000.p/2",
		dir + "/tree/tile/entries/002.p/88",
	}
}

func TestLOG08_DamagedFileIsRefusedByName(t *testing.T) {
	l := newTestLog(t)
	l.fill(t, 0, 600)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	damage := map[string]func(name string, b []byte) error{
		"torn":   func(name string, b []byte) error { return os.WriteFile(name, b[:len(b)/2], 0o600) },
		"empty":  func(name string, b []byte) error { return os.WriteFile(name, nil, 0o600) },
		"zeroed": func(name string, b []byte) error { return os.WriteFile(name, make([]byte, len(b)), 0o600) },
		"gone":   func(name string, _ []byte) error { return os.Remove(name) },
	}
	for _, name := range rightEdge(l.dir) {
		good, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for kind, apply := range damage {
			t.Run(kind+" "+strings.TrimPrefix(name, l.dir+"/"), func(t *testing.T) {
				if err := apply(name, good); err != nil {
					t.Fatal(err)
				}
				err := l.open(t)
				if err == nil {
					t.Fatal("opened")
				}
				if !strings.Contains(err.Error(), name) {
					t.Errorf("the error does not name %s: %v", name, err)
				}
				if err := os.WriteFile(name, good, 0o600); err != nil {
					t.Fatal(err)
				}
				if err := l.open(t); err != nil {
					t.Fatalf("opening after repair: %v", err)
				}
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
			})
		}
	}
}

func TestLOG14_EditedFileIsRefusedAtStart(t *testing.T) {
	l := newTestLog(t)
	l.fill(t, 0, 600)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range append(rightEdge(l.dir), l.dir+"/tree/tile/0/000", l.dir+"/tree/tile/entries/001") {
		restore := flipBit(t, name, 200)
		if err := l.open(t); err == nil {
			t.Errorf("opened with a flipped bit in %s", name)
			l.Close()
		} else if !strings.Contains(err.Error(), name) {
			t.Errorf("the error does not name %s: %v", name, err)
		}
		restore()
	}
	if err := l.open(t); err != nil {
		t.Fatalf("opening the restored log: %v", err)
	}
}

// flipBit flips a bit of a file (at pos, or in its middle if it is shorter) and
// returns what undoes it.
func flipBit(t *testing.T, name string, pos int) func() {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if pos >= len(b) {
		pos = len(b) / 2
	}
	b[pos] ^= 1
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return func() {
		b[pos] ^= 1
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestA168_CheckFindsAFlippedBitInAnyFileAndStops(t *testing.T) {
	l := newTestLog(t)
	for i := 0; i < 600; i += 60 { // several batches leave several partial tiles
		l.fill(t, i, i+60)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	present := []string{"/.state/treeState", "/tile/0/000", "/tile/0/001", "/tile/0/002.p/88", "/tile/1/000.p/2", "/tile/entries/000", "/tile/entries/001", "/tile/entries/002.p/88"}
	for _, name := range storedFiles(t, l.dir) {
		if err := l.open(t); err != nil {
			t.Fatal(err)
		}
		if err := l.Check(t.Context()); err != nil {
			t.Fatalf("checking the sound log: %v", err)
		}
		restore := flipBit(t, name, 77)
		err := l.Check(t.Context())
		if served, narrower := strings.CutPrefix(name, l.dir+"/tree"); narrower && !slices.Contains(present, served) {
			// Nothing reads it but the handler, which does not serve it.
			rec := httptest.NewRecorder()
			l.Handler("/").ServeHTTP(rec, httptest.NewRequest("GET", served, nil))
			if err != nil || rec.Code != 404 {
				t.Errorf("a flipped bit in %s: %v; served with %d", name, err, rec.Code)
			}
			restore()
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("a flipped bit in %s: %v", name, err)
		}
		if _, err := l.Checkpoint(t.Context()); !errors.Is(err, tilelog.ErrStopped) {
			t.Errorf("after a flipped bit in %s the log still signs: %v", name, err)
		}
		restore()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMissingStateIsNotANewLog(t *testing.T) {
	l := newTestLog(t)
	l.fill(t, 0, 3)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(l.dir, "tree", ".state")); err != nil {
		t.Fatal(err)
	}
	if err := l.open(t); err == nil || !strings.Contains(err.Error(), "treeState") {
		t.Fatalf("opening without the state: %v", err)
	}
}

func TestDamagedMarkOfTheEngineIsReplaced(t *testing.T) {
	l := newTestLog(t)
	l.fill(t, 0, 3)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(l.dir, "tree", "checkpoint"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(l.dir, ".new-123"), []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.open(t); err != nil {
		t.Fatal(err)
	}
	l.fill(t, 3, 6)
	if err := l.reopen(t); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(filepath.Join(l.dir, ".new-123")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what a crash left behind is still there: %v", err)
	}
}
