package tilelog_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/touchmark/touchmark/core/tlog"
	"github.com/touchmark/touchmark/services/internal/tilelog"
	"github.com/touchmark/touchmark/services/internal/tilelog/posix"
)

// faultEngine is a real engine whose answers can be changed.
type faultEngine struct {
	tilelog.Engine
	append        func(tilelog.Entry) (uint64, error)
	tile          func(level, index uint64, b []byte)
	bundle        func(index uint64, b []byte)
	state         func(tilelog.State) (tilelog.State, error)
	setCheckpoint func() error
}

func (e *faultEngine) Append(entry tilelog.Entry) (uint64, error) {
	if e.append != nil {
		return e.append(entry)
	}
	return e.Engine.Append(entry)
}

func (e *faultEngine) Tile(level, index uint64, width int) ([]byte, error) {
	b, err := e.Engine.Tile(level, index, width)
	if err == nil && e.tile != nil {
		e.tile(level, index, b)
	}
	return b, err
}

func (e *faultEngine) Bundle(index uint64, width int) ([]byte, error) {
	b, err := e.Engine.Bundle(index, width)
	if err == nil && e.bundle != nil {
		e.bundle(index, b)
	}
	return b, err
}

func (e *faultEngine) State() (tilelog.State, error) {
	state, err := e.Engine.State()
	if err == nil && e.state != nil {
		return e.state(state)
	}
	return state, err
}

func (e *faultEngine) SetCheckpoint(b []byte) error {
	if e.setCheckpoint != nil {
		return e.setCheckpoint()
	}
	return e.Engine.SetCheckpoint(b)
}

// open returns a log with n leaves over a faultEngine that has no faults yet.
func open(t testing.TB, n int) (*tilelog.Log, *faultEngine) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := tlog.NewSigner("log.example", key)
	if err != nil {
		t.Fatal(err)
	}
	real, err := posix.Open(filepath.Join(t.TempDir(), "log"), tilelog.Entries)
	if err != nil {
		t.Fatal(err)
	}
	engine := &faultEngine{Engine: real}
	log, err := tilelog.Open(t.Context(), engine, tilelog.Options{Origin: "log.example", Signer: signer, Verifier: signer.Verifier()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	add(t, log, 0, n)
	return log, engine
}

func add(t testing.TB, log *tilelog.Log, from, to int) {
	t.Helper()
	done := make(chan error, to-from)
	for i := from; i < to; i++ {
		go func() {
			_, err := log.Add(t.Context(), fmt.Appendf(nil, "leaf %d", i))
			done <- err
		}()
	}
	for range to - from {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

func TestA167_FlippedBitBeforeSigningIsRefused(t *testing.T) {
	faults := map[string]func(*faultEngine){
		"none":   func(*faultEngine) {},
		"bundle": func(e *faultEngine) { e.bundle = func(_ uint64, b []byte) { b[len(b)-1] ^= 1 } },
		"tile": func(e *faultEngine) {
			e.tile = func(level, _ uint64, b []byte) {
				if level == 0 {
					b[len(b)-1] ^= 1
				}
			}
		},
		"root": func(e *faultEngine) {
			e.state = func(s tilelog.State) (tilelog.State, error) { s.Root[0] ^= 1; return s, nil }
		},
	}
	for name, inject := range faults {
		t.Run(name, func(t *testing.T) {
			log, engine := open(t, 5)
			before, err := log.Checkpoint(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			add(t, log, 5, 10)
			inject(engine)
			signed, err := log.Checkpoint(t.Context())
			if name == "none" {
				if err != nil || signed.Size != 10 {
					t.Fatalf("the sound log signs %d leaves, %v", signed.Size, err)
				}
				return
			}
			if !errors.Is(err, tilelog.ErrStopped) {
				t.Fatalf("signed a root that does not fit: %v", err)
			}
			if _, err := log.Add(t.Context(), []byte("later")); !errors.Is(err, tilelog.ErrStopped) {
				t.Errorf("the stopped log took a leaf: %v", err)
			}
			// Readers still get what was signed before.
			rec := httptest.NewRecorder()
			log.Handler("/").ServeHTTP(rec, httptest.NewRequest("GET", "/checkpoint", nil))
			if rec.Code != 200 || rec.Body.String() != before.Note {
				t.Errorf("the stopped log serves %d %q", rec.Code, rec.Body)
			}
		})
	}
}

func TestLOG17_NeverSignsTwoRootsForOneSizeNorASmallerTree(t *testing.T) {
	for name, change := range map[string]func(tilelog.State) tilelog.State{
		"equal size, other root": func(s tilelog.State) tilelog.State { s.Root[7] ^= 1; return s },
		"smaller size":           func(s tilelog.State) tilelog.State { s.Size--; return s },
	} {
		t.Run(name, func(t *testing.T) {
			log, engine := open(t, 5)
			if _, err := log.Checkpoint(t.Context()); err != nil {
				t.Fatal(err)
			}
			engine.state = func(s tilelog.State) (tilelog.State, error) { return change(s), nil }
			if _, err := log.Checkpoint(t.Context()); !errors.Is(err, tilelog.ErrStopped) {
				t.Fatalf("signed: %v", err)
			}
		})
	}
}

func TestLOG10_WriteErrorStopsSigning(t *testing.T) {
	log, engine := open(t, 5)
	if _, err := log.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	engine.append = func(tilelog.Entry) (uint64, error) { return 0, syscall.EIO }
	if _, err := log.Add(t.Context(), []byte("x")); !errors.Is(err, tilelog.ErrStopped) || !errors.Is(err, syscall.EIO) {
		t.Fatalf("adding on a failing disk: %v", err)
	}
	engine.append = nil
	if _, err := log.Add(t.Context(), []byte("x")); !errors.Is(err, tilelog.ErrStopped) {
		t.Errorf("adding once the disk works again: %v", err)
	}
	if _, err := log.Checkpoint(t.Context()); !errors.Is(err, tilelog.ErrStopped) {
		t.Errorf("signing after a write error: %v", err)
	}
	if leaf, err := log.Leaf(t.Context(), 0); err != nil || !strings.HasPrefix(string(leaf), "leaf") {
		t.Errorf("reading after a write error: %q, %v", leaf, err)
	}
}

func TestFailedReadOfTheStateIsNotFinal(t *testing.T) {
	log, engine := open(t, 5)
	var failing atomic.Bool
	failing.Store(true)
	engine.state = func(s tilelog.State) (tilelog.State, error) {
		if failing.Load() {
			return tilelog.State{}, syscall.EMFILE
		}
		return s, nil
	}
	if _, err := log.Checkpoint(t.Context()); !errors.Is(err, syscall.EMFILE) {
		t.Fatalf("signing without having read the state: %v", err)
	}
	failing.Store(false)
	if _, err := log.Checkpoint(t.Context()); err != nil {
		t.Fatalf("signing once the state can be read again: %v", err)
	}
}

func TestLOG19_OnlyCanonicalTilesOfThePresentTreeExist(t *testing.T) {
	log, _ := open(t, 0)
	add(t, log, 0, 256)
	add(t, log, 256, 300)
	server := httptest.NewServer(log.Handler("/base/"))
	defer server.Close()
	get := func(path string) (int, http.Header) {
		req, err := http.NewRequestWithContext(t.Context(), "GET", server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.URL.Opaque = strings.TrimPrefix(server.URL, "http:") + path // as it stands, not cleaned
		resp, err := server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode, resp.Header
	}
	good := []string{"/base/checkpoint", "/base/tile/0/000", "/base/tile/entries/000", "/base/tile/0/001.p/44", "/base/tile/1/000.p/1", "/base/tile/entries/001.p/44", "/base/tile/0/000?x=1"}
	for _, path := range good {
		status, header := get(path)
		if status != 200 {
			t.Errorf("%s: %d", path, status)
		}
		cache := header.Get("Cache-Control")
		full := slices.Contains([]string{"/base/tile/0/000", "/base/tile/entries/000", "/base/tile/0/000?x=1"}, path)
		if strings.Contains(cache, "immutable") != full || (path == "/base/checkpoint") != (cache == "no-cache") {
			t.Errorf("%s: Cache-Control %q", path, cache)
		}
	}
	bad := []string{
		"/base/tile/0/001", "/base/tile/0/001.p/45", "/base/tile/0/001.p/255", "/base/tile/0/001.p/7", "/base/tile/0/002.p/1",
		"/base/tile/0/000.p/0", "/base/tile/0/000.p/256", "/base/tile/0/000.p/", "/base/tile/0/000.p", "/base/tile/0/001.p/044", "/base/tile/0/001.p/+44",
		"/base/tile/1/000.p/2", "/base/tile/2/000.p/1", "/base/tile/63/000", "/base/tile/64/000", "/base/tile/00/000", "/base/tile/+0/000", "/base/tile/-1/000",
		"/base/tile/0/0", "/base/tile/0/0000", "/base/tile/0/x000/000", "/base/tile/0/000/000", "/base/tile/0/x001", "/base/tile/0/x000", "/base/tile/0/00x",
		"/base/tile/0/", "/base/tile/0", "/base/tile/", "/base/tile", "/base/", "/base/tile//000", "/base/tile/0//000", "/base/tile/0/000/",
		"/base/tile/../checkpoint", "/base/tile/0/../0/000", "/base/tile/%30/000", "/base/tile/0/%30%30%30", "/base/tile/0%2f000", "/base/%2e%2e/checkpoint",
		"/base/tile/data/000", "/base/tile/Entries/000", "/base/tile/entries/0/000", "/base/checkpoint/", "/base//checkpoint", "/checkpoint", "/base/../base/checkpoint",
		"/base/lock", "/base/tree/.state/treeState", "/base/tile/0/x" + strings.Repeat("999/x", 20) + "999/999",
	}
	for _, path := range bad {
		if status, _ := get(path); status != 404 {
			t.Errorf("%s: %d", path, status)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), "POST", server.URL+"/base/checkpoint", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 405 {
		t.Errorf("POST: %d", resp.StatusCode)
	}
}
