package posix_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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
	if err == nil || !strings.Contains(err.Error(), "in use by another process") {
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
