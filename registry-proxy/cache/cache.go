// Package cache keeps what a registry proxy has fetched in a directory: blobs by their digest, and answers of the upstream
// to fall back on while it is down.
//
//	c, err := cache.Open(cache.Config{Dir: "/var/cache/touchmark-proxy", MaxBytes: 50 << 30})
//	r, err := c.Get(ctx, origin, digest, size, func(ctx context.Context) (io.ReadCloser, error) { ... })
//	defer r.Close()
//	err = r.Copy(ctx, w, 0, size)
//
// The cache says nothing about who may have what. A blob has one content for everybody, and whoever asks here has found
// out before that it may be passed on, and sees from [Reader.Origin] where it came from.
//
// # What is promised
//
//   - One fetch per blob, however many ask at the same time: those who come later read the file that is growing. When
//     the last of them has gone, the fetch ends.
//   - No complete wrong blob leaves. What arrives is hashed, and its last [blob.Tail] bytes are held back until the digest is
//     confirmed. A file that was there before this process, or was last hashed more than [verifiedFor] ago, is hashed from
//     beginning to end before its first byte leaves. After that it is served as it is, by the kernel where it can, as long
//     as inode, size and times of modification and change are what they were: the kernel notes every write
//     in them, and nobody can set the last one back. They are compared once more before a blob's last bytes leave.
//   - What is wrong is removed, and fetched again.
//   - A crash leaves nothing behind that could be taken for a blob: files are written under partial/, synchronized, and renamed.
//     What lies in partial/ is removed by the next start. (A rename that a power failure undoes costs a fetch.)
//   - One process has the directory at a time.
//   - A full or broken disk stops no pull: whoever reads goes on with the upstream where the file ends, and for
//     [troubleFor] nothing new is kept.
//
// # The directory
//
//	version             "touchmark proxy cache 1"
//	lock                held while the cache is open (core/dirlock)
//	blobs/ab/abcd...    a blob; its name is its SHA-256
//	answers/REPO/KEY    an answer of the upstream (answers.go); both names are SHA-256 sums
//	partial/N           what is being written
//
// It can be removed whenever no proxy runs. What was used last is kept longest; the size of the directory stays below MaxBytes, files
// counted as what they take in whole blocks.
package cache

import (
	"cmp"
	"container/list"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/configfile"
	"github.com/touchmark/touchmark/core/dirlock"
)

const (
	// MinBytes is the smallest size that makes sense: some images' manifests and evidence, and one ordinary layer.
	MinBytes = 64 << 20
	// maxFiles bounds what is kept in memory about files, some 300 bytes each.
	maxFiles = 1 << 18
	// blockSize is what a file takes at least.
	blockSize = 4096
	// verifiedFor is how long a file is believed that this process has hashed. It bounds what a disk that rots, the one thing
	// that changes a file without the kernel's knowledge, can do.
	verifiedFor = time.Hour
	// touchEvery is how exactly the time of the last use is written down for the next start.
	touchEvery = time.Hour
	// setBack is how far a file's time of modification lies before the moment in which it was complete; see [identity].
	setBack = time.Second
	// troubleFor is how long nothing new is kept after writing has failed.
	troubleFor = time.Minute

	versionFile = "version"
	version     = "touchmark proxy cache 1\n"
	blobsDir    = "blobs"
	answersDir  = "answers"
	partialDir  = "partial"
)

// Config says where a cache lies and how large it may become.
type Config struct {
	// Dir is made if it does not exist. It must be empty, or a cache.
	Dir string
	// MaxBytes bounds the size of the directory, blobs that are being fetched included; at least [MinBytes].
	MaxBytes int64
	// Logger hears of a disk that cannot be written, and of files that were damaged; nil discards that.
	Logger *slog.Logger
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Cache is an open cache. Its methods may be called at the same time.
type Cache struct {
	dir    string
	max    int64
	logger *slog.Logger
	now    func() time.Time
	lock   *dirlock.Lock

	mu       sync.Mutex
	size     int64 // of entries, and of fills that have begun to arrive
	reserved int64 // for fills
	entries  map[string]*entry
	recent   *list.List // of *entry, the one used last in front
	fills    map[v1.Hash]*fill
	checks   map[v1.Hash]*check
	serial   int       // of partial files
	trouble  time.Time // until when nothing new is kept
}

// entry is a file of the cache. All but name and size is guarded by Cache.mu.
type entry struct {
	name       string // below the directory
	size       int64
	element    *list.Element
	touched    time.Time // the file's time of modification
	sum        [32]byte  // of an answer that was kept by this process
	verified   identity  // when it was hashed; zero if this process has not
	verifiedAt time.Time
}

func (e *entry) cost() int64 { return max(blockSize, (e.size+blockSize-1)/blockSize*blockSize) }

// Open opens a cache, or makes one.
func Open(c Config) (*Cache, error) {
	if c.MaxBytes < MinBytes {
		return nil, fmt.Errorf("size of the cache is %d bytes, it must be %d or more", c.MaxBytes, int64(MinBytes))
	}
	cache := &Cache{
		dir: c.Dir, max: c.MaxBytes, logger: c.Logger, now: c.Now,
		entries: map[string]*entry{}, recent: list.New(), fills: map[v1.Hash]*fill{}, checks: map[v1.Hash]*check{},
	}
	if cache.logger == nil {
		cache.logger = slog.New(slog.DiscardHandler)
	}
	if cache.now == nil {
		cache.now = time.Now
	}
	if err := cache.open(); err != nil {
		return nil, errors.Join(err, cache.Close())
	}
	return cache, nil
}

func (c *Cache) open() error {
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return fmt.Errorf("making the cache: %w", err)
	}
	if err := c.checkVersion(); err != nil {
		return err
	}
	var err error
	if c.lock, err = dirlock.Take(c.dir); err != nil {
		return err
	}
	if err := os.RemoveAll(c.path(partialDir)); err != nil {
		return fmt.Errorf("removing what an earlier process left: %w", err)
	}
	for _, dir := range []string{blobsDir, answersDir, partialDir} {
		if err := os.MkdirAll(c.path(dir), 0o700); err != nil {
			return fmt.Errorf("making the cache: %w", err)
		}
	}
	return c.scan()
}

// checkVersion refuses a directory that holds something else, so that a mistyped path costs nobody their files.
func (c *Cache) checkVersion() error {
	file := c.path(versionFile)
	switch got, err := configfile.Read(file, blockSize); {
	case err == nil && string(got) == version:
		return nil
	case err == nil:
		return fmt.Errorf("%s says %.40q, this program knows %q: give it another directory, or remove this one", file, strings.TrimSpace(string(got)), strings.TrimSpace(version))
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("reading the cache's version: %w", err)
	}
	names, err := os.ReadDir(c.dir)
	if err != nil {
		return fmt.Errorf("opening the cache: %w", err)
	}
	for _, n := range names {
		if n.Name() != dirlock.File && n.Name() != versionFile+".new" { // as a process leaves it that is killed right here
			return fmt.Errorf("%s holds %s and is no cache: give an empty directory", c.dir, n.Name())
		}
	}
	if err := os.WriteFile(file+".new", []byte(version), 0o600); err != nil {
		return fmt.Errorf("making the cache: %w", err)
	}
	return os.Rename(file+".new", file)
}

// scan takes stock of the files, in the order of their last use. Their content is looked at when it is asked for.
func (c *Cache) scan() error {
	var all []*entry
	for _, dir := range []string{blobsDir, answersDir} {
		err := filepath.WalkDir(c.path(dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			all = append(all, &entry{name: path[len(c.dir)+1:], size: info.Size(), touched: info.ModTime()})
			return nil
		})
		if err != nil {
			return fmt.Errorf("reading the cache: %w", err)
		}
	}
	slices.SortFunc(all, func(a, b *entry) int { return cmp.Compare(a.touched.UnixNano(), b.touched.UnixNano()) })
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range all {
		c.add(e)
	}
	c.evict(0)
	return nil
}

// Close gives the directory free. Readers that are open stay so.
func (c *Cache) Close() error {
	if c.lock == nil {
		return nil
	}
	return c.lock.Release()
}

func (c *Cache) path(name string) string { return filepath.Join(filepath.Clean(c.dir), name) }

func blobName(digest v1.Hash) string { return filepath.Join(blobsDir, digest.Hex[:2], digest.Hex) }

// add enters a file; c.mu is held.
func (c *Cache) add(e *entry) {
	if old, ok := c.entries[e.name]; ok {
		c.forget(old)
	}
	e.element = c.recent.PushFront(e)
	c.entries[e.name] = e
	c.size += e.cost()
}

// forget takes a file out of the books; c.mu is held.
func (c *Cache) forget(e *entry) {
	c.recent.Remove(e.element)
	delete(c.entries, e.name)
	c.size -= e.cost()
}

// evict removes what was used least recently until there is room for size bytes more; c.mu is held. It reports whether there is.
func (c *Cache) evict(size int64) bool {
	for c.recent.Len() > 0 && (c.size+size > c.max || len(c.entries) >= maxFiles) {
		e := c.recent.Back().Value.(*entry)
		c.forget(e)
		if err := os.Remove(c.path(e.name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			c.complain("removing a file of the cache", err)
		}
	}
	return c.size+size <= c.max
}

// remove removes a file that turned out to be wrong.
func (c *Cache) remove(e *entry, why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries[e.name] != e {
		return // somebody else did
	}
	c.forget(e)
	c.logger.Warn("a file of the cache is damaged and was removed; it will be fetched again", "file", e.name, "error", why)
	if err := os.Remove(c.path(e.name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.complain("removing a file of the cache", err)
	}
}

// use notes that a file was used; c.mu is held.
func (c *Cache) use(e *entry) {
	c.recent.MoveToFront(e.element)
	now := c.now()
	if now.Sub(e.touched) < touchEvery {
		return
	}
	e.touched = now
	path := c.path(e.name)
	before, err := os.Stat(path)
	if err != nil {
		return // whoever opens it will see
	}
	if err := os.Chtimes(path, now, now.Add(-setBack)); err != nil {
		return // it only counts as older at the next start
	}
	if after, err := os.Stat(path); err == nil && e.verified == identityOf(before) {
		e.verified = identityOf(after)
	}
}

// complain logs that the disk cannot be written, and keeps it from being tried for a while; c.mu is held.
func (c *Cache) complain(what string, err error) {
	if c.now().Before(c.trouble) {
		return
	}
	c.trouble = c.now().Add(troubleFor)
	c.logger.Error("the cache cannot be written; images are served without it for a while", "doing", what, "error", err)
}

// partial makes a file to write.
func (c *Cache) partial() (*os.File, error) {
	c.mu.Lock()
	c.serial++
	n := c.serial
	c.mu.Unlock()
	return os.OpenFile(c.path(filepath.Join(partialDir, strconv.Itoa(n))), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
}

// keep gives a partial file its name. The rename is not synchronized: without it the file is not there, which is fine.
func (c *Cache) keep(f *os.File, name string) error {
	now := c.now()
	if err := os.Chtimes(f.Name(), now, now.Add(-setBack)); err != nil {
		return err
	}
	target := c.path(name)
	if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
		return err
	}
	return os.Rename(f.Name(), target)
}
