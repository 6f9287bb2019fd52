package cache

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/registry-proxy/blob"
)

// OpenFunc starts reading a whole blob from the upstream. Its errors are given to all who wait for the blob.
type OpenFunc func(ctx context.Context) (io.ReadCloser, error)

// ErrNotKept says that a blob is not in the cache and cannot be: it is larger than the cache, others that are being fetched
// fill it, or the disk cannot be written.
var ErrNotKept = errors.New("not kept")

// Reader reads one blob.
type Reader struct {
	cache  *Cache
	digest v1.Hash
	size   int64
	entry  *entry // of a blob that is there
	fill   *fill  // of one that is being fetched
	file   *os.File
}

// Has reports whether a blob of this size seems to be there. It looks at no content.
func (c *Cache) Has(digest v1.Hash, size int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[blobName(digest)]
	return ok && e.size == size
}

// Get gives a blob that is there, joins the fetch under way, or begins one, for which open is called once. It returns [ErrNotKept] if
// the blob has to be passed on without the cache. size is what an admitted manifest says, origin names what open reads from.
func (c *Cache) Get(ctx context.Context, origin string, digest v1.Hash, size int64, open OpenFunc) (*Reader, error) {
	for {
		c.mu.Lock()
		e, there := c.entries[blobName(digest)]
		if there {
			c.use(e)
			c.mu.Unlock()
			f, err := c.openVerified(e, digest)
			switch {
			case err == nil && e.size == size:
				return &Reader{cache: c, digest: digest, size: size, entry: e, file: f}, nil
			case err == nil: // the manifest has its size wrong: the upstream's answer will tell
				f.Close()
				return nil, ErrNotKept
			case !errors.Is(err, blob.ErrWrong) && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.EIO):
				return nil, fmt.Errorf("%w: %w", ErrNotKept, err) // no more files may be open, say
			}
			c.remove(e, err)
			continue
		}
		fl, ok := c.fills[digest]
		switch {
		case ok && fl.size != size: // as above
			c.mu.Unlock()
			return nil, ErrNotKept
		case !ok && (c.reserved+size > c.max || c.now().Before(c.trouble)):
			c.mu.Unlock()
			return nil, ErrNotKept
		case !ok:
			fl = c.begin(ctx, origin, digest, size, open)
		}
		fl.waiting++
		c.mu.Unlock()
		return &Reader{cache: c, digest: digest, size: size, fill: fl}, nil
	}
}

func (c *Cache) openVerified(e *entry, digest v1.Hash) (*os.File, error) {
	f, err := os.Open(c.path(e.name))
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.Size() != e.size {
		err = fmt.Errorf("%w: the file has %d bytes, it had %d", blob.ErrWrong, info.Size(), e.size)
	}
	if err == nil {
		err = c.verify(f, e, digest)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Close ends the reader's part in a fetch.
func (r *Reader) Close() error {
	if r.fill != nil {
		r.cache.leave(r.fill)
	}
	if r.file != nil {
		return r.file.Close()
	}
	return nil
}

// Kept reports whether the blob came from the cache, not from the upstream.
func (r *Reader) Kept() bool { return r.fill == nil }

// Origin names what the blob is being fetched from; empty if it was there.
func (r *Reader) Origin() string {
	if r.fill == nil {
		return ""
	}
	return r.fill.origin
}

// Copy writes the bytes from (included) to (excluded). A part of a blob is written when the whole is confirmed; of a whole
// blob that is being fetched, all but the end at once. It may be called once.
func (r *Reader) Copy(ctx context.Context, w io.Writer, from, to int64) error {
	if r.fill == nil {
		return r.copyFile(w, from, to)
	}
	if from > 0 || to < r.size {
		return r.copyPart(ctx, w, from, to)
	}
	return r.follow(ctx, w)
}

// errDamaged says that a file was written while it was read.
var errDamaged = fmt.Errorf("%w: a file of the cache was changed while it was served", blob.ErrWrong)

// copyFile writes a part of a file that is verified. Before the last bytes it makes sure that it is the same still.
func (r *Reader) copyFile(w io.Writer, from, to int64) error {
	if _, err := r.file.Seek(from, io.SeekStart); err != nil {
		return err
	}
	head := from + blob.Head(to-from)
	if err := copySteps(w, r.file, head-from); err != nil {
		return err
	}
	if !r.cache.unchanged(r.file, r.entry) {
		r.cache.remove(r.entry, errDamaged)
		return errDamaged
	}
	return copySteps(w, r.file, to-head)
}

// copySteps copies from a file so that the kernel can do it, in steps of [blob.Step], between which a writer can extend its deadline.
func copySteps(w io.Writer, f *os.File, n int64) error {
	for n > 0 {
		step, err := io.CopyN(w, f, min(n, blob.Step))
		n -= step
		if errors.Is(err, io.EOF) {
			return errDamaged // shorter than it was
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// copyPart waits for the whole blob.
func (r *Reader) copyPart(ctx context.Context, w io.Writer, from, to int64) error {
	for {
		s, changed := r.fill.state()
		switch {
		case s.err != nil:
			return s.err
		case s.ended:
			whole, err := r.cache.Get(ctx, r.fill.origin, r.digest, r.size, r.fill.open)
			if err != nil {
				return err
			}
			defer whole.Close()
			return whole.Copy(ctx, w, from, to)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// follow writes a blob as it arrives.
func (r *Reader) follow(ctx context.Context, w io.Writer) error {
	for at := int64(0); ; {
		s, changed := r.fill.state()
		allowed := min(s.written, blob.Head(r.size))
		if s.right {
			allowed = r.size
		}
		switch {
		case s.err != nil && !s.right && errors.Is(s.err, errTrouble):
			return r.goOn(ctx, w, at)
		case s.err != nil && !s.right:
			return s.err
		case s.right && at == r.size:
			return r.nothing(w)
		case at < allowed:
			err := r.openFill()
			if err == nil {
				if err := copySteps(w, r.file, allowed-at); err != nil {
					return err
				}
				at = allowed
				continue
			}
			if s.ended || !errors.Is(err, fs.ErrNotExist) {
				return r.goOn(ctx, w, at)
			}
			// It is getting its name at this moment, or is given up: the next change says which.
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// nothing writes an empty blob, so that the writer learns of it.
func (r *Reader) nothing(w io.Writer) error {
	if r.size > 0 {
		return nil
	}
	_, err := w.Write(nil)
	return err
}

// openFill opens the growing file for this reader alone, with a position of its own.
func (r *Reader) openFill() error {
	if r.file != nil {
		return nil
	}
	r.fill.mu.Lock()
	defer r.fill.mu.Unlock()
	f, err := os.Open(r.fill.path)
	if err != nil {
		return err
	}
	r.file = f
	return nil
}

// goOn reads the rest of a blob from the upstream, because the disk fails. The at bytes that have left are hashed again, from our file; the
// upstream sends its own once more, and those are not looked at: client and digest have to agree about what did leave.
func (r *Reader) goOn(ctx context.Context, w io.Writer, at int64) error {
	sum := sha256.New()
	if at > 0 {
		if _, err := io.Copy(sum, io.NewSectionReader(r.file, 0, at)); err != nil {
			return err
		}
	}
	body, err := r.fill.open(ctx)
	if err != nil {
		return err
	}
	defer body.Close()
	if n, err := io.CopyN(io.Discard, body, at); err != nil {
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("%w: %s ends after %d of %d bytes", blob.ErrWrong, r.digest, n, r.size)
		}
		return err
	}
	return blob.Continue(w, body, r.digest, r.size, sum, at)
}

// fillState is a fill at one moment.
type fillState struct {
	written      int64
	right, ended bool
	err          error
}

func (fl *fill) state() (fillState, <-chan struct{}) {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	return fillState{fl.written, fl.right, fl.ended, fl.err}, fl.changed
}
