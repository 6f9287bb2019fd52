package posix_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/touchmark/touchmark/core/tlog"
	"github.com/touchmark/touchmark/services/internal/tilelog"
	"github.com/touchmark/touchmark/services/internal/tilelog/posix"
)

// testLog is a log in a directory that can be closed and opened again.
type testLog struct {
	*tilelog.Log
	dir    string
	signer *tlog.Signer
}

func newTestLog(t *testing.T) *testLog {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := tlog.NewSigner("log.example", key)
	if err != nil {
		t.Fatal(err)
	}
	l := &testLog{dir: filepath.Join(t.TempDir(), "log"), signer: signer}
	if err := l.open(t); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *testLog) open(t *testing.T) error {
	t.Helper()
	engine, err := posix.Open(l.dir, tilelog.Entries)
	if err != nil {
		return err
	}
	log, err := tilelog.Open(t.Context(), engine, tilelog.Options{Origin: "log.example", Signer: l.signer, Verifier: l.signer.Verifier()})
	if err != nil {
		return err
	}
	l.Log = log
	t.Cleanup(func() { log.Close() })
	return nil
}

func (l *testLog) reopen(t *testing.T) error {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return l.open(t)
}

func leafN(i int) []byte { return fmt.Appendf(nil, "leaf %d", i) }

// fill appends leaves [from, to) in order, all in flight at once.
func (l *testLog) fill(t *testing.T, from, to int) {
	t.Helper()
	var wg sync.WaitGroup
	for i := from; i < to; i++ {
		wg.Go(func() {
			if _, err := l.Add(t.Context(), leafN(i)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestAddProvesEveryLeafAtEverySize(t *testing.T) {
	l := newTestLog(t)
	var older []tilelog.Signed
	for i := range 5 {
		index, err := l.Add(t.Context(), leafN(i))
		if err != nil {
			t.Fatal(err)
		}
		if index != uint64(i) {
			t.Fatalf("leaf %d got index %d", i, index)
		}
		signed, err := l.Checkpoint(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if signed.Size <= index {
			t.Fatalf("the checkpoint after leaf %d has size %d", i, signed.Size)
		}
		older = append(older, signed)
	}
	l.fill(t, 5, 600)
	if err := l.reopen(t); err != nil {
		t.Fatal(err)
	}
	head, err := l.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if head.Size != 600 {
		t.Fatalf("size %d after 600 leaves", head.Size)
	}
	for index := uint64(0); index < head.Size; index += 37 {
		leaf, err := l.Leaf(t.Context(), index)
		if err != nil {
			t.Fatal(err)
		}
		for _, cp := range append(older, head) {
			if index >= cp.Size {
				continue
			}
			hashes, err := l.InclusionProof(t.Context(), index, cp.Size)
			if err != nil {
				t.Fatal(err)
			}
			if err := tlog.VerifyInclusion(tlog.LeafHash(leaf), index, hashes, cp.Checkpoint); err != nil {
				t.Errorf("leaf %d at size %d: %v", index, cp.Size, err)
			}
		}
	}
	for _, cp := range older {
		hashes, err := l.ConsistencyProof(t.Context(), cp.Size, head.Size)
		if err != nil {
			t.Fatal(err)
		}
		if err := tlog.VerifyConsistency(cp.Checkpoint, head.Checkpoint, hashes); err != nil {
			t.Error(err)
		}
	}
	if err := l.Check(t.Context()); err != nil {
		t.Errorf("checking a sound log: %v", err)
	}
}

func TestLOG12_SecondWriterIsRefused(t *testing.T) {
	l := newTestLog(t)
	_, err := posix.Open(l.dir, tilelog.Entries)
	if err == nil || !strings.Contains(err.Error(), "another writer") {
		t.Fatalf("a second writer in the same process got %v", err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(l.dir, link); err != nil {
		t.Fatal(err)
	}
	if _, err := posix.Open(link, tilelog.Entries); err == nil {
		t.Fatal("a second writer got in over a link")
	}
	// The refused ones must not have taken the lock with them.
	if _, err := l.Add(t.Context(), leafN(0)); err != nil {
		t.Fatal(err)
	}
	if err := l.reopen(t); err != nil {
		t.Fatalf("opening after the first writer has left: %v", err)
	}
}

func TestLOG23_ChangedKeyOrOriginIsRefused(t *testing.T) {
	l := newTestLog(t)
	l.fill(t, 0, 3)
	good := l.signer
	l.signer = newTestLog(t).signer
	err := l.reopen(t)
	if err == nil || !strings.Contains(err.Error(), filepath.Join(l.dir, "checkpoint")) {
		t.Fatalf("opening with another key: %v", err)
	}
	l.signer = good
	if err := l.open(t); err != nil {
		t.Fatalf("opening with the right key again: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	engine, err := posix.Open(l.dir, tilelog.Entries)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tilelog.Open(t.Context(), engine, tilelog.Options{Origin: "other.example", Signer: good, Verifier: good.Verifier()}); err == nil {
		t.Fatal("opened under another origin")
	}
}

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

func TestLOG26_CloseAcknowledgesOrRefusesEveryPendingAdd(t *testing.T) {
	l := newTestLog(t)
	const n = 1000
	type answer struct {
		leaf  int
		index uint64
		err   error
	}
	answers := make(chan answer, n)
	started := make(chan struct{}, n)
	for i := range n {
		go func() {
			started <- struct{}{}
			index, err := l.Add(context.Background(), leafN(i))
			answers <- answer{i, index, err}
		}()
	}
	for range n / 2 {
		<-started
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	acked := map[int]uint64{}
	for range n {
		switch a := <-answers; {
		case a.err == nil:
			acked[a.leaf] = a.index
		case !errors.Is(a.err, tilelog.ErrClosed):
			t.Errorf("leaf %d: %v", a.leaf, a.err)
		}
	}
	if err := l.open(t); err != nil {
		t.Fatal(err)
	}
	for i, index := range acked {
		leaf, err := l.Leaf(t.Context(), index)
		if err != nil || string(leaf) != string(leafN(i)) {
			t.Fatalf("leaf %d, acknowledged at %d, is %q, %v", i, index, leaf, err)
		}
	}
	size, _, err := l.Head(t.Context())
	if err != nil || size != uint64(len(acked)) {
		t.Errorf("%d leaves acknowledged, the tree has %d, %v", len(acked), size, err)
	}
	t.Logf("%d of %d acknowledged", len(acked), n)
}

func TestLOG18_CheckpointsNeverGoBack(t *testing.T) {
	l := newTestLog(t)
	var mu sync.Mutex
	roots := map[uint64][sha256.Size]byte{0: sha256.Sum256(nil)}
	var wg sync.WaitGroup
	for worker := range 16 {
		wg.Go(func() {
			last := uint64(0)
			for i := range 20 {
				if _, err := l.Add(t.Context(), leafN(worker*100+i)); err != nil {
					t.Error(err)
					return
				}
				signed, err := l.Checkpoint(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				if signed.Size <= last {
					t.Errorf("size %d after %d", signed.Size, last)
				}
				last = signed.Size
				mu.Lock()
				if root, ok := roots[signed.Size]; ok && root != signed.Root {
					t.Errorf("two roots at size %d", signed.Size)
				}
				roots[signed.Size] = signed.Root
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if err := l.reopen(t); err != nil {
		t.Fatal(err)
	}
	head, err := l.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for size, root := range roots {
		hashes, err := l.ConsistencyProof(t.Context(), size, head.Size)
		if err != nil {
			t.Fatal(err)
		}
		older := tlog.Checkpoint{Origin: head.Origin, Size: size, Root: root}
		if err := tlog.VerifyConsistency(older, head.Checkpoint, hashes); err != nil {
			t.Errorf("size %d: %v", size, err)
		}
	}
}
