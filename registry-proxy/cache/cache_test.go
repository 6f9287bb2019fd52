package cache

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/registry-proxy/blob"
)

func openCache(t testing.TB, dir string, maxBytes int64) *Cache {
	t.Helper()
	c, err := Open(Config{Dir: dir, MaxBytes: maxBytes})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// content is size bytes that depend on seed, and their digest.
func content(seed uint64, size int) ([]byte, v1.Hash) {
	b := make([]byte, size)
	rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b[:min(size, 1000)])
	for n := 1000; n < size; n *= 2 {
		copy(b[n:], b[:n])
	}
	sum := sha256.Sum256(b)
	return b, v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
}

// origin is an upstream that counts.
type origin struct {
	body  []byte
	opens atomic.Int64
	gate  chan struct{} // if set, the second half waits for it
}

func (o *origin) open(ctx context.Context) (io.ReadCloser, error) {
	o.opens.Add(1)
	half := len(o.body) / 2
	return io.NopCloser(io.MultiReader(bytes.NewReader(o.body[:half]), &waiting{ctx, o.gate, bytes.NewReader(o.body[half:])})), nil
}

type waiting struct {
	ctx  context.Context
	gate chan struct{}
	io.Reader
}

func (w *waiting) Read(b []byte) (int, error) {
	if w.gate != nil {
		select {
		case <-w.gate:
		case <-w.ctx.Done():
			return 0, w.ctx.Err()
		}
	}
	return w.Reader.Read(b)
}

// read gets a whole blob.
func read(ctx context.Context, c *Cache, digest v1.Hash, size int64, open OpenFunc) (got []byte, kept bool, err error) {
	r, err := c.Get(ctx, "app", digest, size, open)
	if err != nil {
		return nil, false, err
	}
	defer r.Close()
	var b bytes.Buffer
	err = r.Copy(ctx, &b, 0, size)
	return b.Bytes(), r.Kept(), err
}

// refuse is an upstream that must not be asked.
func refuse(context.Context) (io.ReadCloser, error) { return nil, errors.New("the upstream was asked") }

func waitFor(t *testing.T, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the condition did not come about")
		}
	}
}

func (c *Cache) settled() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.fills) == 0
}

func TestKeepsAndGivesAcrossRestarts(t *testing.T) {
	dir := t.TempDir()
	for i, size := range []int{0, 1, 1000, blob.Tail, blob.Tail + 1, 5 << 20} {
		body, digest := content(uint64(i), size)
		o := &origin{body: body}
		c := openCache(t, dir, MinBytes)
		if got, kept, err := read(t.Context(), c, digest, int64(size), o.open); err != nil || kept || !bytes.Equal(got, body) {
			t.Fatalf("%d bytes, first: %d bytes, kept %v, %v", size, len(got), kept, err)
		}
		waitFor(t, c.settled)
		for range 2 {
			if got, kept, err := read(t.Context(), c, digest, int64(size), refuse); err != nil || !kept || !bytes.Equal(got, body) {
				t.Errorf("%d bytes, again: %d bytes, kept %v, %v", size, len(got), kept, err)
			}
		}
		if !c.Has(digest, int64(size)) || c.Has(digest, int64(size)+1) {
			t.Error("Has is wrong")
		}
		c.Close()
		c = openCache(t, dir, MinBytes)
		if got, kept, err := read(t.Context(), c, digest, int64(size), refuse); err != nil || !kept || !bytes.Equal(got, body) {
			t.Errorf("%d bytes, after a restart: %d bytes, kept %v, %v", size, len(got), kept, err)
		}
		c.Close()
	}
}

func TestPX28_OneFetchHoweverManyAsk(t *testing.T) {
	c := openCache(t, t.TempDir(), MinBytes)
	body, digest := content(1, 1<<20)
	o := &origin{body: body, gate: make(chan struct{})}
	const clients = 30
	var wg sync.WaitGroup
	var early, right atomic.Int64
	leaving, leave := context.WithCancel(t.Context())
	for i := range clients {
		ctx := t.Context()
		gone := i%3 == 0 // the first, whose request began it all, too
		if gone {
			ctx = leaving
		}
		wg.Go(func() {
			r, err := c.Get(ctx, "app", digest, int64(len(body)), o.open)
			if err != nil {
				t.Error(err)
				return
			}
			defer r.Close()
			w := &counter{}
			w.at(int64(len(body)/2), func() { early.Add(1) })
			err = r.Copy(ctx, w, 0, int64(len(body)))
			switch {
			case gone && err == nil:
				t.Error("a client that had gone was served")
			case !gone && (err != nil || !bytes.Equal(w.Bytes(), body)):
				t.Errorf("client %d: %d bytes, %v", i, w.Len(), err)
			case !gone:
				right.Add(1)
			}
		})
	}
	waitFor(t, func() bool { return early.Load() == clients }) // the first half, before the second is there
	leave()
	const stay = clients - (clients+2)/3
	waitFor(t, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.fills[digest].waiting == stay
	})
	close(o.gate)
	wg.Wait()
	if o.opens.Load() != 1 || right.Load() != stay {
		t.Errorf("%d fetches, %d clients served", o.opens.Load(), right.Load())
	}
}

// counter is a writer that calls back when it has so many bytes.
type counter struct {
	bytes.Buffer
	n    int64
	call func()
}

func (c *counter) at(n int64, call func()) { c.n, c.call = n, call }

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.Buffer.Write(b)
	if c.call != nil && int64(c.Len()) >= c.n {
		c.call()
		c.call = nil
	}
	return n, err
}

// ReadFrom is not bytes.Buffer's, which would go round Write.
func (c *counter) ReadFrom(r io.Reader) (int64, error) { return io.Copy(struct{ io.Writer }{c}, r) }

func TestFetchEndsWithItsLastReader(t *testing.T) {
	dir := t.TempDir()
	c := openCache(t, dir, MinBytes)
	body, digest := content(1, 1<<20)
	o := &origin{body: body, gate: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, _, err := read(ctx, c, digest, 1<<20, o.open); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	waitFor(t, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.fills) == 0 && c.reserved == 0 && c.size == 0
	})
	waitFor(t, func() bool { names, _ := os.ReadDir(filepath.Join(dir, partialDir)); return len(names) == 0 })
	close(o.gate)
	if got, _, err := read(t.Context(), c, digest, 1<<20, o.open); err != nil || !bytes.Equal(got, body) {
		t.Errorf("the next reader: %v", err)
	}
}

func TestSizeIsBoundedAndLastUsedStays(t *testing.T) {
	dir := t.TempDir()
	c := openCache(t, dir, MinBytes)
	const size = 10 << 20
	get := func(seed uint64) int64 {
		body, digest := content(seed, size)
		o := &origin{body: body}
		if got, _, err := read(t.Context(), c, digest, size, o.open); err != nil || !bytes.Equal(got, body) {
			t.Fatal(err)
		}
		waitFor(t, c.settled)
		return o.opens.Load()
	}
	get(0)
	for seed := range uint64(8) {
		get(seed + 1)
		if n := get(0); n != 0 {
			t.Fatalf("what is used all the time was removed after %d", seed)
		}
		var total int64
		filepath.Walk(dir, func(_ string, info os.FileInfo, err error) error {
			if err == nil && info.Mode().IsRegular() {
				total += info.Size()
			}
			return nil
		})
		if total > MinBytes || c.size > MinBytes {
			t.Fatalf("%d bytes in the directory, %d counted", total, c.size)
		}
	}
	if n := get(1); n != 1 {
		t.Error("what was used least recently is there still")
	}
	// Larger than all of it, or no room beside what is being fetched: not kept, and nothing is removed for it.
	entries := len(c.entries)
	if _, _, err := read(t.Context(), c, v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("a", 64)}, MinBytes+1, refuse); !errors.Is(err, ErrNotKept) || len(c.entries) != entries {
		t.Errorf("too large: %v, %d entries", err, len(c.entries))
	}
}

// PX-27: what a manifest says of a blob that the upstream does not have pushes nothing out.
func TestPX27_NothingGoesForWhatDoesNotCome(t *testing.T) {
	c := openCache(t, t.TempDir(), MinBytes)
	body, digest := content(1, 1<<20)
	o := &origin{body: body}
	read := func(digest v1.Hash, size int64, open OpenFunc) error {
		r, err := c.Get(t.Context(), "app", digest, size, open)
		if err != nil {
			return err
		}
		defer r.Close()
		return r.Copy(t.Context(), io.Discard, 0, size)
	}
	if err := read(digest, 1<<20, o.open); err != nil {
		t.Fatal(err)
	}
	_, other := content(2, 1000)
	if err := read(other, MinBytes, func(context.Context) (io.ReadCloser, error) { return nil, errors.New("there is none") }); err == nil {
		t.Fatal("a blob that does not exist was read")
	}
	if err := read(digest, 1<<20, o.open); err != nil || o.opens.Load() != 1 {
		t.Errorf("%v, and it was fetched %d times", err, o.opens.Load())
	}
}

func TestOrderOfUseSurvivesARestart(t *testing.T) {
	now := time.Now()
	dir := t.TempDir()
	start := func() *Cache {
		c, err := Open(Config{Dir: dir, MaxBytes: MinBytes, Now: func() time.Time { return now }})
		check0(t, err)
		return c
	}
	c := start()
	const size = 15 << 20
	get := func(seed uint64) int64 {
		body, digest := content(seed, size)
		o := &origin{body: body}
		_, _, err := read(t.Context(), c, digest, size, o.open)
		check0(t, err)
		waitFor(t, c.settled)
		return o.opens.Load()
	}
	for seed := range uint64(4) {
		get(seed)
		now = now.Add(time.Minute)
	}
	now = now.Add(2 * touchEvery)
	if get(0) != 0 {
		t.Fatal("not kept")
	}
	c.Close()
	c = start()
	defer c.Close()
	get(4)
	if get(0) != 0 {
		t.Error("what was used last before the restart was removed first")
	}
	if get(1) != 1 {
		t.Error("what was used least recently is there still")
	}
}

func TestOneProcessPerDirectory(t *testing.T) {
	dir := t.TempDir()
	c := openCache(t, dir, MinBytes)
	if _, err := Open(Config{Dir: dir, MaxBytes: MinBytes}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second one: %v", err)
	}
	c.Close()
	openCache(t, dir, MinBytes)
}

func TestRefusesWhatIsNoCache(t *testing.T) {
	for name, spoil := range map[string]func(dir string) error{
		"another version": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, versionFile), []byte("touchmark proxy cache 2\n"), 0o600)
		},
		"other files": func(dir string) error { return os.WriteFile(filepath.Join(dir, "thesis.tex"), nil, 0o600) },
	} {
		dir := t.TempDir()
		check0(t, spoil(dir))
		if _, err := Open(Config{Dir: dir, MaxBytes: MinBytes}); err == nil || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Open(Config{Dir: t.TempDir(), MaxBytes: 1 << 20}); err == nil {
		t.Error("a tiny cache is opened")
	}
}

func TestPartialFilesAreRemovedAtStart(t *testing.T) {
	dir := t.TempDir()
	openCache(t, dir, MinBytes).Close()
	left := filepath.Join(dir, partialDir, "7")
	check0(t, os.WriteFile(left, []byte("half a blob"), 0o600))
	openCache(t, dir, MinBytes)
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func TestAnswers(t *testing.T) {
	dir := t.TempDir()
	c := openCache(t, dir, MinBytes)
	at := time.Now().UTC().Round(time.Second)
	a := Answer{Repository: "r.example/app", Key: "manifests/v1", Status: 200, ContentType: "text/x", Link: "</n>", At: at, Body: []byte("{}\n{}")}
	none := Answer{Repository: "r.example/app", Key: "referrers/x?n=1", Status: 404, At: at}
	for _, x := range []Answer{a, none} {
		c.Keep(x)
		c.Keep(x)
	}
	for range 2 {
		got, ok := c.Recall("r.example/app", "manifests/v1")
		if !ok || got.Status != 200 || string(got.Body) != "{}\n{}" || got.Link != "</n>" || !got.At.Equal(at) || got.ContentType != "text/x" {
			t.Errorf("%v %+v", ok, got)
		}
		if got, ok := c.Recall("r.example/app", none.Key); !ok || got.Status != 404 || len(got.Body) != 0 {
			t.Errorf("%v %+v", ok, got)
		}
		if _, ok := c.Recall("r.example/other", "manifests/v1"); ok {
			t.Error("another repository's")
		}
		for prefix, want := range map[string]int{"": 2, "manifests/": 1, "blobs/": 0} {
			if all := slices.Collect(c.Recalled("r.example/app", prefix)); len(all) != want {
				t.Errorf("%q: %d answers", prefix, len(all))
			}
		}
		for range c.Recalled("r.example/app", "") {
			break
		}
		c.Close()
		c = openCache(t, dir, MinBytes)
	}
	if all := slices.Collect(c.Recalled("r.example/other", "")); len(all) != 0 {
		t.Errorf("%d answers of a repository of which none were kept", len(all))
	}
	file := filepath.Join(dir, answerName(a.Repository, a.Key))
	flip(t, file, -1)
	if _, ok := c.Recall(a.Repository, a.Key); ok {
		t.Error("a damaged answer is given")
	}
	c.Keep(a)
	check0(t, os.Rename(file, filepath.Join(dir, answerName(none.Repository, none.Key))))
	if _, ok := c.Recall(none.Repository, none.Key); ok {
		t.Error("the answer to another question is given")
	}
	a.Body = make([]byte, MaxAnswer+1)
	c.Keep(a)
	if got, ok := c.Recall(a.Repository, a.Key); ok {
		t.Errorf("an answer of %d bytes is kept", len(got.Body))
	}
}
