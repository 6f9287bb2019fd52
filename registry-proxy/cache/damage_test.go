package cache

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/registry-proxy/blob"
)

// damages are what can happen to a file.
var damages = map[string]func(t *testing.T, file, other string){
	"first byte": func(t *testing.T, file, _ string) { flip(t, file, 0) },
	"last byte":  func(t *testing.T, file, _ string) { flip(t, file, -1) },
	"truncated":  func(t *testing.T, file, _ string) { check0(t, os.Truncate(file, 100_000)) },
	"empty":      func(t *testing.T, file, _ string) { check0(t, os.Truncate(file, 0)) },
	"longer": func(t *testing.T, file, _ string) {
		f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
		check0(t, err)
		f.WriteString("x")
		f.Close()
	},
	"swapped": func(t *testing.T, file, other string) {
		check0(t, os.Rename(file, file+"~"))
		check0(t, os.Rename(other, file))
		check0(t, os.Rename(file+"~", other))
	},
	"removed": func(t *testing.T, file, _ string) { check0(t, os.Remove(file)) },
	"times set back": func(t *testing.T, file, _ string) {
		info, err := os.Stat(file)
		check0(t, err)
		time.Sleep(20 * time.Millisecond) // the kernel's clock for files moves in such steps
		flip(t, file, 7)
		check0(t, os.Chtimes(file, info.ModTime(), info.ModTime()))
	},
}

func check0(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func flip(t *testing.T, file string, at int64) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	check0(t, err)
	defer f.Close()
	if at < 0 {
		info, _ := f.Stat()
		at += info.Size()
	}
	var b [1]byte
	f.ReadAt(b[:], at)
	b[0] ^= 1
	_, err = f.WriteAt(b[:], at)
	check0(t, err)
}

func TestPX24_DamagedFilesAreFetchedAgain(t *testing.T) {
	for name, damage := range damages {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprint(name, restart), func(t *testing.T) {
				dir := t.TempDir()
				c := openCache(t, dir, MinBytes)
				body, digest := content(1, 300_000)
				otherBody, otherDigest := content(2, 300_000)
				for _, o := range []*origin{{body: body}, {body: otherBody}} {
					h, _, _ := v1.SHA256(bytes.NewReader(o.body))
					if _, _, err := read(t.Context(), c, h, 300_000, o.open); err != nil {
						t.Fatal(err)
					}
				}
				waitFor(t, c.settled)
				if restart {
					c.Close()
				}
				damage(t, filepath.Join(dir, blobName(digest)), filepath.Join(dir, blobName(otherDigest)))
				if restart {
					c = openCache(t, dir, MinBytes)
				}
				o := &origin{body: body}
				got, _, err := read(t.Context(), c, digest, 300_000, o.open)
				if err != nil || !bytes.Equal(got, body) || o.opens.Load() != 1 {
					t.Errorf("%d bytes, %v, %d fetches", len(got), err, o.opens.Load())
				}
				waitFor(t, c.settled)
				if got, kept, err := read(t.Context(), c, digest, 300_000, refuse); err != nil || !kept || !bytes.Equal(got, body) {
					t.Errorf("the twin: %v %v", kept, err)
				}
			})
		}
	}
}

// TestPX24_ChangedWhileItIsServed: the client gets no end.
func TestPX24_ChangedWhileItIsServed(t *testing.T) {
	dir := t.TempDir()
	c := openCache(t, dir, MinBytes)
	body, digest := content(1, 4<<20)
	o := &origin{body: body}
	if _, _, err := read(t.Context(), c, digest, 4<<20, o.open); err != nil {
		t.Fatal(err)
	}
	waitFor(t, c.settled)
	r, err := c.Get(t.Context(), "app", digest, 4<<20, refuse)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	w := &counter{}
	w.at(1<<20, func() { flip(t, filepath.Join(dir, blobName(digest)), 2<<20) })
	if err := r.Copy(t.Context(), w, 0, 4<<20); !errors.Is(err, blob.ErrWrong) || w.Len() > len(body)-blob.Tail {
		t.Errorf("%d bytes left, %v", w.Len(), err)
	}
	if got, _, err := read(t.Context(), c, digest, 4<<20, o.open); err != nil || !bytes.Equal(got, body) || o.opens.Load() != 2 {
		t.Errorf("the next reader: %v, %d fetches", err, o.opens.Load())
	}
}

func TestPX10_WrongBlobsAreNeitherCompleteNorKept(t *testing.T) {
	for _, size := range []int{1, 1000, blob.Tail, blob.Tail + 1, 1 << 20} {
		good, digest := content(1, size)
		flipped := bytes.Clone(good)
		flipped[size-1] ^= 1
		for name, body := range map[string][]byte{"flipped": flipped, "shorter": good[:size-1], "longer": append(bytes.Clone(good), 0), "empty": {}} {
			dir := t.TempDir()
			c := openCache(t, dir, MinBytes)
			got, _, err := read(t.Context(), c, digest, int64(size), (&origin{body: body}).open)
			if !errors.Is(err, blob.ErrWrong) || int64(len(got)) > blob.Head(int64(size)) {
				t.Errorf("%d bytes, %s: %d left, %v", size, name, len(got), err)
			}
			waitFor(t, c.settled)
			if c.Has(digest, int64(size)) || c.size != 0 {
				t.Errorf("%d bytes, %s: it was kept", size, name)
			}
			if got, _, err := read(t.Context(), c, digest, int64(size), (&origin{body: good}).open); err != nil || !bytes.Equal(got, good) {
				t.Errorf("%d bytes: the twin: %v", size, err)
			}
		}
	}
}

func TestPX11_PartsComeFromVerifiedContentOnly(t *testing.T) {
	c := openCache(t, t.TempDir(), MinBytes)
	body, digest := content(1, 1<<20)
	part := func(open OpenFunc, from, to int64) ([]byte, error) {
		r, err := c.Get(t.Context(), "app", digest, 1<<20, open)
		if err != nil {
			return nil, err
		}
		defer r.Close()
		var b bytes.Buffer
		err = r.Copy(t.Context(), &b, from, to)
		return b.Bytes(), err
	}
	wrong := bytes.Clone(body)
	wrong[500_000] ^= 1
	if got, err := part((&origin{body: wrong}).open, 0, 10); !errors.Is(err, blob.ErrWrong) || len(got) > 0 {
		t.Errorf("%d bytes of a wrong blob left, %v", len(got), err)
	}
	o := &origin{body: body}
	for _, r := range [][2]int64{{0, 10}, {0, 1}, {5, 1 << 20}, {1<<20 - 1, 1 << 20}, {100, 1000_000}} {
		if got, err := part(o.open, r[0], r[1]); err != nil || !bytes.Equal(got, body[r[0]:r[1]]) {
			t.Errorf("%v: %d bytes, %v", r, len(got), err)
		}
	}
	if o.opens.Load() != 1 {
		t.Errorf("%d fetches", o.opens.Load())
	}
}
