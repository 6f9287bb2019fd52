package cache

import (
	"crypto/sha256"
	"io"
	"os"
	"syscall"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/registry-proxy/blob"
)

// identity tells a file from what it is after any write to it. The kernel's clock for the times of files moves in steps of some
// milliseconds, in which a second write would leave no trace; so times of modification are set back by [setBack], and any write shows.
type identity struct {
	inode            uint64
	size             int64
	modified, change int64 // nanoseconds
}

func identityOf(info os.FileInfo) identity {
	id := identity{size: info.Size(), modified: info.ModTime().UnixNano()}
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		id.inode = s.Ino
		id.change = changeTime(s)
	}
	return id
}

// check is the hashing of one file, for all who wait for it.
type check struct {
	done chan struct{}
	err  error // written before done is closed
}

// verify makes sure that a file holds the blob of its name, by hashing it unless this process did so a short while ago and it was not written
// since. An error that is not [blob.ErrWrong] is the disk's.
func (c *Cache) verify(f *os.File, e *entry, digest v1.Hash) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	for {
		c.mu.Lock()
		if e.verified == identityOf(info) && c.now().Sub(e.verifiedAt) < verifiedFor {
			c.mu.Unlock()
			return nil
		}
		running, ok := c.checks[digest]
		if !ok {
			running = &check{done: make(chan struct{})}
			c.checks[digest] = running
		}
		c.mu.Unlock()
		if !ok {
			running.err = c.hash(f, e, digest)
			c.mu.Lock()
			delete(c.checks, digest)
			c.mu.Unlock()
			close(running.done)
			return running.err
		}
		<-running.done // hashing needs no one else, and ends
		if running.err != nil {
			return running.err
		}
		if info, err = f.Stat(); err != nil {
			return err
		}
	}
}

// hash reads a file from beginning to end, and notes its identity if it is right and was not written meanwhile.
func (c *Cache) hash(f *os.File, e *entry, digest v1.Hash) error {
	before, err := f.Stat()
	if err != nil {
		return err
	}
	sum := sha256.New()
	if _, err := io.CopyBuffer(struct{ io.Writer }{sum}, io.NewSectionReader(f, 0, before.Size()), make([]byte, blob.Step)); err != nil {
		return err
	}
	if err := blob.Check(sum, digest); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e.verified, e.verifiedAt = identityOf(before), c.now()
	return nil
}

// unchanged reports whether a file that is being served is the one that was verified.
func (c *Cache) unchanged(f *os.File, e *entry) bool {
	info, err := f.Stat()
	c.mu.Lock()
	defer c.mu.Unlock()
	return err == nil && e.verified == identityOf(info)
}
