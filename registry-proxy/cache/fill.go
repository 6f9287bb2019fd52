package cache

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"runtime/debug"
	"sync"
	"syscall"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/registry-proxy/blob"
)

// errTrouble says that the disk, and nothing else, kept a fill from going on. Those who wait go on by themselves, from where the file ends.
var errTrouble = errors.New("the cache cannot be written")

func trouble(cause error) error { return fmt.Errorf("%w: %w", errTrouble, cause) }

// fill is a blob that is being fetched. It belongs to no caller, and ends early when the last one has gone.
type fill struct {
	digest v1.Hash
	size   int64
	origin string
	open   OpenFunc
	cancel context.CancelFunc

	waiting int  // guarded by Cache.mu
	placed  bool // there is room for it; guarded by Cache.mu

	mu      sync.Mutex
	path    string        // of the file, wherever it is now
	written int64         // bytes in the file
	right   bool          // all of it is confirmed
	ended   bool          // nothing more will come
	err     error         // why, if it is not right
	changed chan struct{} // closed with every change
}

// begin starts the fetch of a blob for which room can be made; c.mu is held.
func (c *Cache) begin(ctx context.Context, origin string, digest v1.Hash, size int64, open OpenFunc) *fill {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	fl := &fill{digest: digest, size: size, origin: origin, open: open, cancel: cancel, changed: make(chan struct{})}
	c.fills[digest] = fl
	c.reserved += size
	go func() {
		defer cancel()
		err := c.runSafely(ctx, fl)
		c.mu.Lock()
		c.reserved -= size
		if fl.placed {
			c.size -= size
		}
		if c.fills[digest] == fl {
			delete(c.fills, digest)
		}
		switch {
		case err == nil:
			c.enter(fl)
		case errors.Is(err, errTrouble):
			c.complain("keeping a blob", err)
			if errors.Is(err, syscall.ENOSPC) { // others fill the disk: what is here must make room for what is asked for now
				c.evict(c.max - c.size + size)
			}
		}
		c.mu.Unlock()
		fl.update(func() { fl.ended, fl.err = true, err })
	}()
	return fl
}

func (c *Cache) runSafely(ctx context.Context, fl *fill) (err error) {
	defer func() {
		if p := recover(); p != nil { // those who wait must not hang, and one bad answer must not end the process
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return c.run(ctx, fl)
}

// run fetches a blob into a partial file, confirms it, and gives it its name.
func (c *Cache) run(ctx context.Context, fl *fill) error {
	body, err := fl.open(ctx)
	if err != nil {
		return err
	}
	defer body.Close()
	c.place(fl)
	f, err := c.partial()
	if err == nil {
		defer f.Close()
		defer os.Remove(f.Name()) // has another name by then, if all is well
		err = reserve(f, fl.size)
	}
	sum := sha256.New()
	if err != nil {
		return trouble(err)
	}
	fl.update(func() { fl.path = f.Name() })
	if err := fl.receive(body, f, sum); err != nil {
		return err
	}
	if err := blob.Check(sum, fl.digest); err != nil {
		return err
	}
	fl.update(func() { fl.right = true })
	if err := f.Sync(); err != nil {
		return trouble(err)
	}
	if err := c.keep(f, blobName(fl.digest)); err != nil {
		return trouble(err)
	}
	fl.update(func() { fl.path = c.path(blobName(fl.digest)) })
	return nil
}

// place makes room for a blob. Nothing goes for one that the upstream does not have, or not in this size: manifests may list anything.
func (c *Cache) place(fl *fill) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fl.placed = true
	c.size += fl.size
	c.evict(0)
}

// receive copies what comes into the file and the sum, and tells those who wait.
func (fl *fill) receive(untrusted io.Reader, f *os.File, sum hash.Hash) error {
	buf := make([]byte, blob.Step)
	for at := int64(0); ; {
		n, err := io.ReadAtLeast(untrusted, buf, 1)
		switch {
		case err == io.EOF && at == fl.size:
			return nil
		case err == io.EOF:
			return fmt.Errorf("%w: %s ends after %d of %d bytes", blob.ErrWrong, fl.digest, at, fl.size)
		case err != nil:
			return err
		case at+int64(n) > fl.size:
			return fmt.Errorf("%w: %s is longer than its %d bytes", blob.ErrWrong, fl.digest, fl.size)
		}
		if _, err := f.Write(buf[:n]); err != nil {
			return trouble(err)
		}
		sum.Write(buf[:n])
		at += int64(n)
		fl.update(func() { fl.written = at })
	}
}

func (fl *fill) update(change func()) {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	change()
	close(fl.changed)
	fl.changed = make(chan struct{})
}

// enter makes a filled blob an entry, which this process has verified by writing it; c.mu is held.
func (c *Cache) enter(fl *fill) {
	e := &entry{name: blobName(fl.digest), size: fl.size, touched: c.now()}
	if info, err := os.Stat(c.path(e.name)); err == nil && info.Size() == fl.size {
		e.verified, e.verifiedAt = identityOf(info), c.now()
	}
	c.add(e)
	c.evict(0)
}

// leave gives up one caller's part in a fill.
func (c *Cache) leave(fl *fill) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fl.waiting--
	if fl.waiting > 0 {
		return
	}
	fl.mu.Lock()
	settled := fl.right || fl.ended
	fl.mu.Unlock()
	if settled {
		return // what is confirmed is kept
	}
	fl.cancel()
	if c.fills[fl.digest] == fl {
		delete(c.fills, fl.digest)
	}
}
