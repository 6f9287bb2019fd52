package cache

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/registry-proxy/blob"
)

// clocked is a cache with one blob, and its clock.
func clocked(t *testing.T) (*Cache, *coretest.Clock) {
	t.Helper()
	clock := coretest.NewClock(time.Now())
	c, err := Open(Config{Dir: t.TempDir(), MaxBytes: MinBytes, Now: clock.Now})
	check0(t, err)
	t.Cleanup(func() { c.Close() })
	return c, clock
}

// A file that rots without the kernel's knowledge is found out within an hour.
func TestFilesAreHashedAgain(t *testing.T) {
	c, clock := clocked(t)
	body, digest := content(1, 200_000)
	_, _, err := read(t.Context(), c, digest, int64(len(body)), (&origin{body: body}).open)
	check0(t, err)
	waitFor(t, func() bool { return c.Has(digest, int64(len(body))) })
	file := c.path(blobName(digest))
	flip(t, file, 7)
	info, err := os.Stat(file)
	check0(t, err)
	c.mu.Lock()
	c.entries[blobName(digest)].verified = identityOf(info) // the kernel knows of nothing
	c.mu.Unlock()
	clock.Advance(time.Hour - 1)
	if _, kept, err := read(t.Context(), c, digest, int64(len(body)), refuse); err != nil || !kept {
		t.Fatalf("before an hour: %v", err) // else the test shows nothing
	}
	clock.Advance(1)
	if _, _, err := read(t.Context(), c, digest, int64(len(body)), refuse); err == nil || errors.Is(err, blob.ErrWrong) {
		t.Errorf("after an hour: %v", err) // it is fetched again
	}
}

// After an error nothing is written for a minute, and an answer that says the same again is written once in a minute.
func TestAnswersAreKeptAgain(t *testing.T) {
	c, clock := clocked(t)
	kept := func(what string, want bool) {
		t.Helper()
		a := Answer{Repository: "r.example/app", Key: "manifests/v1", Status: 200, At: clock.Now().UTC().Round(0), Body: []byte("x")}
		c.Keep(a)
		if got, _ := c.Recall(a.Repository, a.Key); got.At.Equal(a.At) != want {
			t.Errorf("%s: it is kept: %v", what, !want)
		}
	}
	kept("at first", true)
	clock.Advance(time.Minute - 1)
	kept("before a minute", false)
	clock.Advance(1)
	kept("after a minute", true)
	c.mu.Lock()
	c.complain("testing", errors.New("the disk is full"))
	c.mu.Unlock()
	clock.Advance(time.Minute - 1)
	kept("in trouble", false)
	clock.Advance(1)
	kept("out of trouble", true)
}
