// Package posix keeps a log's tree in one directory, with Tessera's POSIX storage
// as the engine. Nothing else of Touchmark imports Tessera.
//
// Files under the directory:
//
//	lock                      held while the log is open (core/dirlock)
//	checkpoint                the log's published checkpoint
//	tree/tile/...             tiles and bundles, in the layout in which they are served
//	tree/.state/treeState     size and root of the integrated tree
//	tree/checkpoint           Tessera's own mark for collecting partial tiles, signed
//	                          with a key that is thrown away; it is never served
//
// # Durability
//
// Read in tessera v1.0.4, storage/posix/file_ops.go: every tile, bundle and state
// file is written to a temporary file opened with O_SYNC, renamed into place, and
// its directory is fsynced while it is held open; directories that are created are
// fsynced into their parents. The bundle comes first, then the tiles, treeState
// last, and only then does an Append return. So a crash leaves either the old
// state (and files beyond it, which the next batch overwrites) or the new one.
//
// A second opener is refused at once, in this process or another: the lock is
// flock(2) on a file that Tessera does not touch. Tessera's own fcntl locks are
// no help there, as one process may hold them twice.
package posix

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/api/layout"
	"github.com/transparency-dev/tessera/ctonly"
	tesseraposix "github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"
	"k8s.io/klog/v2"

	"github.com/touchmark/touchmark/core/dirlock"
	"github.com/touchmark/touchmark/services/internal/durable"
	"github.com/touchmark/touchmark/services/internal/tilelog"
)

const (
	// batchAge is how long an entry waits for company. Writing a batch takes several
	// fsyncs, so whoever comes during one shares the next anyway.
	batchAge  = 5 * time.Millisecond
	batchSize = 256

	// markInterval and collectInterval keep the partial tiles of a growing log few:
	// each batch leaves a copy of the last bundle behind.
	markInterval    = 250 * time.Millisecond
	collectInterval = 10 * time.Second

	// markTimeout is how long Close waits for the last mark, which a full disk may
	// never let happen. Nothing that was acknowledged depends on it.
	markTimeout = 2 * time.Second

	// maxState bounds the state file in bytes: a size and a root.
	maxState = 4 << 10
	// maxStored bounds a tile or bundle in bytes: 256 entries of the larger limit,
	// static-ct's 256 KiB.
	maxStored = 256 * (256<<10 + 2)
)

// Engine is a [tilelog.Engine] in a directory.
type Engine struct {
	dir      string
	layout   tilelog.Layout
	lock     *dirlock.Lock
	stop     context.CancelFunc
	shutdown func(context.Context) error
	add      func(context.Context, *tessera.Entry) tessera.IndexFuture
	addCT    func(context.Context, *ctonly.Entry) tessera.IndexFuture
}

// quiet makes Tessera's logger, which is one per process, discard: what goes wrong
// comes back as errors, and a library does not write to standard error.
var quiet = sync.OnceFunc(func() { klog.SetSlogLogger(slog.New(slog.DiscardHandler)) })

// Open opens the log in dir, or makes an empty one if dir does not exist or is
// empty. A directory with files of a log but without its state is refused: it
// would start a second, empty log under the same name.
func Open(dir string, l tilelog.Layout) (*Engine, error) {
	quiet()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("opening log directory: %w", err)
	}
	if err := durable.SyncDir(filepath.Dir(dir)); err != nil {
		return nil, fmt.Errorf("opening log directory: %w", err)
	}
	lock, err := dirlock.Take(dir)
	if err != nil {
		return nil, fmt.Errorf("opening log directory: %w", err)
	}
	e := &Engine{dir: dir, layout: l, lock: lock}
	if err := e.open(); err != nil {
		return nil, errors.Join(err, lock.Release())
	}
	return e, nil
}

func (e *Engine) open() error {
	if _, err := e.State(); errors.Is(err, fs.ErrNotExist) {
		for _, name := range []string{"checkpoint", "tree/checkpoint", "tree/tile"} {
			if _, statErr := os.Lstat(filepath.Join(e.dir, name)); !errors.Is(statErr, fs.ErrNotExist) {
				return fmt.Errorf("opening log directory: %w, although %s is there", err, filepath.Join(e.dir, name))
			}
		}
	} else if err != nil {
		return fmt.Errorf("opening log directory: %w", err)
	}
	if err := durable.RemoveTemporary(e.dir); err != nil {
		return fmt.Errorf("opening log directory: %w", err)
	}
	// Tessera makes its mark anew, but would never replace a damaged one.
	if err := os.Remove(filepath.Join(e.dir, "tree", "checkpoint")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("opening log directory: %w", err)
	}
	signer, err := throwawaySigner()
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	driver, err := tesseraposix.New(ctx, tesseraposix.Config{Path: filepath.Join(e.dir, "tree")})
	if err != nil {
		stop()
		return fmt.Errorf("opening log directory %s: %w", e.dir, err)
	}
	opts := tessera.NewAppendOptions().
		WithBatching(batchSize, batchAge).
		WithCheckpointSigner(signer).
		WithCheckpointInterval(markInterval).
		WithGarbageCollectionInterval(collectInterval)
	if e.layout == tilelog.StaticCT {
		opts = opts.WithCTLayout()
	}
	appender, shutdown, _, err := tessera.NewAppender(ctx, driver, opts)
	if err != nil {
		stop()
		return fmt.Errorf("opening log directory %s: %w", e.dir, err)
	}
	e.stop, e.shutdown = stop, shutdown
	e.add = appender.Add
	e.addCT = tessera.NewCertificateTransparencyAppender(appender)
	return nil
}

// throwawaySigner makes the signer that Tessera wants for its own mark. Its name
// is no log's.
func throwawaySigner() (note.Signer, error) {
	key, _, err := note.GenerateKey(rand.Reader, "not-a-checkpoint.invalid")
	if err != nil {
		return nil, fmt.Errorf("opening log directory: %w", err)
	}
	return note.NewSigner(key)
}

// Append implements [tilelog.Engine].
func (e *Engine) Append(entry tilelog.Entry) (uint64, error) {
	ctx := context.Background() // an entry in the queue can't be called back
	var future tessera.IndexFuture
	switch {
	case entry.Leaf != nil && e.layout == tilelog.Entries:
		future = e.add(ctx, tessera.NewEntry(entry.Leaf))
	case entry.Precert != nil && e.layout == tilelog.StaticCT:
		p := entry.Precert
		future = e.addCT(ctx, &ctonly.Entry{
			Timestamp:         p.Timestamp,
			IsPrecert:         true,
			Certificate:       p.TBS,
			Precertificate:    p.Precertificate,
			IssuerKeyHash:     p.IssuerKeyHash[:],
			FingerprintsChain: p.Chain,
		})
	default:
		return 0, errors.New("the entry does not fit the log's layout")
	}
	index, err := future()
	return index.Index, err
}

// State implements [tilelog.Engine]. It reads the file that Tessera replaces
// atomically at the end of each batch.
func (e *Engine) State() (tilelog.State, error) {
	name := e.Name(tilelog.Resource{Kind: tilelog.StateResource})
	raw, err := readFile(name, maxState)
	if err != nil {
		return tilelog.State{}, err
	}
	var stored struct {
		Size *uint64 `json:"size"`
		Root string  `json:"root"`
	}
	dec := json.NewDecoder(strings.NewReader(string(raw)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&stored); err != nil || dec.More() || stored.Size == nil {
		return tilelog.State{}, &tilelog.CorruptError{Name: name, Reason: "it is not a tree state"}
	}
	root, err := base64.StdEncoding.DecodeString(stored.Root)
	state := tilelog.State{Size: *stored.Size}
	if err != nil || len(root) != len(state.Root) {
		return tilelog.State{}, &tilelog.CorruptError{Name: name, Reason: "its root is not a SHA-256 hash"}
	}
	copy(state.Root[:], root)
	return state, nil
}

// Tile implements [tilelog.Engine].
func (e *Engine) Tile(level, index uint64, width int) ([]byte, error) {
	return readFile(e.Name(tilelog.Resource{Kind: tilelog.TileResource, Level: level, Index: index, Width: width}), maxStored)
}

// Bundle implements [tilelog.Engine].
func (e *Engine) Bundle(index uint64, width int) ([]byte, error) {
	return readFile(e.Name(tilelog.Resource{Kind: tilelog.BundleResource, Index: index, Width: width}), maxStored)
}

// Name implements [tilelog.Engine]: it is the file's path.
func (e *Engine) Name(r tilelog.Resource) string {
	partial := uint8(r.Width % layout.TileWidth) // 0 means full
	switch r.Kind {
	case tilelog.TileResource:
		return filepath.Join(e.dir, "tree", layout.TilePath(r.Level, r.Index, partial))
	case tilelog.BundleResource:
		return filepath.Join(e.dir, "tree", "tile", e.layout.Dir(), layout.NWithSuffix(0, r.Index, partial))
	case tilelog.StateResource:
		return filepath.Join(e.dir, "tree", ".state", "treeState")
	}
	return filepath.Join(e.dir, "checkpoint")
}

// Layout implements [tilelog.Engine].
func (e *Engine) Layout() tilelog.Layout { return e.layout }

// Close implements [tilelog.Engine]: it ends Tessera's background work and frees
// the directory.
func (e *Engine) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), markTimeout)
	defer cancel()
	if err := e.shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("closing log directory %s: %w", e.dir, err)
		e.stop()
		return errors.Join(err, e.lock.Release())
	}
	e.stop()
	return e.lock.Release()
}
