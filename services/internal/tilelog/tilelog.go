// Package tilelog is an append-only Merkle log: RFC 6962 hashes, kept in the
// tiles of C2SP tlog-tiles or static-ct-api, with checkpoints signed by the
// log's own key.
//
// Open a storage engine (package posix keeps a log in one directory), hand it to
// [Open], and use the [Log]:
//
//	engine, err := posix.Open(dir, tilelog.Entries, logger)
//	log, err := tilelog.Open(ctx, engine, tilelog.Options{Origin: "log.example", Signer: signer, Verifier: signer.Verifier()})
//	index, err := log.Add(ctx, leaf)             // durable when it returns
//	signed, err := log.Checkpoint(ctx)           // covers the leaf
//	proof, err := log.InclusionProof(ctx, index, signed.Size)
//
// # What is promised
//
// Add returns once the leaf is sequenced, integrated and on stable storage. A
// checkpoint may then be signed at once over that state; it does not wait for the
// one that is published every second.
//
// No head is signed before it has been recomputed from what the storage gives
// back: the new leaves are read again, hashed and appended to the compact range of
// the last head that was signed (kept in memory), and the result must equal both
// the engine's root and the hashes in the stored tiles. So every signed head
// extends the one before it, one size never gets two roots, and a bit that flips
// between the request and the disk is found before it is signed, not after.
//
// Proofs are verified before they are handed out, and so is every leaf.
//
// # When storage lies
//
// The first write error, and the first stored byte that contradicts a hash, stop
// the log: it signs nothing more and takes no more leaves until the process is
// started again and [Open] has found the storage sound ([ErrStopped]). After a
// failed fsync the page cache may lie, so nothing less is safe.
package tilelog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/touchmark/touchmark/core/tlog"
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
)

// tileWidth is the number of hashes in a full tile, and of entries in a full
// bundle (C2SP tlog-tiles).
const tileWidth = 256

// maxLeaf bounds one leaf in bytes: a bundle gives each a 16 bit length.
const maxLeaf = 1<<16 - 1

// ErrStopped is returned by every call that would write or sign after a storage
// error or after corruption was found.
var ErrStopped = errors.New("log is stopped")

// ErrClosed is returned by Add after Close.
var ErrClosed = errors.New("log is closed")

// Signer signs the log's checkpoints: [tlog.Signer] is one.
type Signer interface {
	// SignCheckpoint returns the whole signed note.
	SignCheckpoint(tlog.Checkpoint) (note string, err error)
}

// Verifier opens what the Signer signed: [tlog.Verifier] is one.
type Verifier interface {
	// Open returns the checkpoint, or [tlog.ErrNotSigned] if another key signed it.
	Open(untrustedNote string) (tlog.Checkpoint, error)
}

// Options configure a Log. Origin, Signer and Verifier are required.
type Options struct {
	// Origin is the first line of the log's checkpoints.
	Origin string
	// Signer signs checkpoints, and Verifier opens them. The key must be the one that
	// signed the checkpoint found in storage, if there is one.
	Signer   Signer
	Verifier Verifier
	// Logger gets storage errors and corruption; nil discards.
	Logger *slog.Logger
}

// Log is an open log. Its methods may be called concurrently.
type Log struct {
	engine Engine
	opts   Options

	mu     sync.Mutex
	rng    *compact.Range // the last verified head; only ever extended
	head   tlog.Checkpoint
	signed Signed // of head, or of an earlier one
	broken error  // set once, then nothing is signed or added
	closed bool

	published string // the note in storage; publish's own

	adding sync.WaitGroup // Adds that reached the engine; Close waits for them
	stop   context.CancelFunc
	done   chan struct{} // closed when the publisher has ended
}

// Signed is a checkpoint with the note that signs it.
type Signed struct {
	tlog.Checkpoint
	Note string
}

var ranges = compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}

// Open checks what the engine holds and returns the log. It recomputes the root
// from the tiles of the right edge, compares it with the engine's, compares the
// last bundle's leaves with the tile above them, and demands that the published
// checkpoint bears the log's signature and is a prefix of the tree; a small tree is
// read as a whole, as [Log.Check] does. A check that fails is an error which names
// the file. ctx bounds the check only. The engine
// belongs to the log from here on: Close closes it, and so does a failed Open.
func Open(ctx context.Context, engine Engine, opts Options) (*Log, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	l := &Log{engine: engine, opts: opts, done: make(chan struct{})}
	if err := l.load(ctx); err != nil {
		return nil, errors.Join(err, engine.Close())
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	l.stop = stop
	go l.publishLoop(background)
	return l, nil
}

// Add appends a leaf and returns its index once it is durable. If ctx ends
// first, Add returns its error, but the leaf may still enter the log.
func (l *Log) Add(ctx context.Context, leaf []byte) (uint64, error) {
	if len(leaf) == 0 || len(leaf) > maxLeaf {
		return 0, fmt.Errorf("appending leaf: it has %d bytes; want 1 to %d", len(leaf), maxLeaf)
	}
	return l.add(ctx, Entry{Leaf: leaf})
}

// AddPrecert is Add for a log with the [StaticCT] layout.
func (l *Log) AddPrecert(ctx context.Context, p Precert) (uint64, error) {
	return l.add(ctx, Entry{Precert: &p})
}

func (l *Log) add(ctx context.Context, e Entry) (uint64, error) {
	l.mu.Lock()
	if err := l.writable(); err != nil {
		l.mu.Unlock()
		return 0, err
	}
	l.adding.Add(1)
	l.mu.Unlock()

	type result struct {
		index uint64
		err   error
	}
	appended := make(chan result, 1)
	go func() {
		defer l.adding.Done()
		index, err := l.engine.Append(e)
		if err != nil {
			err = l.fail(fmt.Errorf("appending: %w", err))
		}
		appended <- result{index, err}
	}()
	select {
	case r := <-appended:
		return r.index, r.err
	case <-ctx.Done():
		return 0, fmt.Errorf("waiting for the leaf to be sequenced: %w", ctx.Err())
	}
}

// writable returns why nothing may be written; the caller holds l.mu.
func (l *Log) writable() error {
	if l.broken != nil {
		return l.broken
	}
	if l.closed {
		return ErrClosed
	}
	return nil
}

// fail stops the log and returns the error that every later call will return.
func (l *Log) fail(cause error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failLocked(cause)
}

func (l *Log) failLocked(cause error) error {
	if l.broken == nil {
		l.broken = fmt.Errorf("%w: %w", ErrStopped, cause)
		l.opts.Logger.Error("log stopped: it signs nothing more until it is restarted", "origin", l.opts.Origin, "error", cause)
	}
	return l.broken
}

// Err is nil while the log can write and sign, and otherwise says why it can't.
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.writable()
}

// Close waits for the leaves that were handed to Add, publishes a last checkpoint
// and closes the engine. Adds that come later return [ErrClosed].
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	l.mu.Unlock()

	l.adding.Wait()
	l.stop()
	<-l.done
	return l.engine.Close()
}
