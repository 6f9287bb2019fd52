// Package siglog is Sigstore's signature log: the record of every signature that
// was made, which a verifier demands proof of.
//
// One service has two faces, each on an append-only tree of its own. The v1 tree
// is Rekor v1: entries of kind hashedrekord 0.0.1 and dsse 0.0.1, signed entry
// timestamps, inclusion proofs, a search index; its key is ECDSA P-256, which every
// verifier of such timestamps demands. The v2 tree is Rekor v2: entries of kind
// hashedrekord 0.0.2, inclusion proofs, and the tree itself in tiles; its key is
// Ed25519, so that its log ID, which depends on the name, is no v1 log's. A tree
// holds only bodies that its face's readers can parse.
//
//	log, err := siglog.New(ctx, siglog.Config{Dir: dir, Hostname: "log.example", V1Key: k1, V2Key: k2})
//	http.ListenAndServe(addr, log.Handler())
//	defer log.Close()
//
// # HTTP
//
//	POST /api/v1/log/entries                adds an entry; 201 with proof and timestamp
//	GET  /api/v1/log/entries?logIndex=N     one entry by its place
//	GET  /api/v1/log/entries/{id}           one entry by entry ID (80 hex) or leaf hash (64 hex)
//	POST /api/v1/log/entries/retrieve       up to 10 entries by ID, place or content
//	GET  /api/v1/log                        size, root hash and checkpoint
//	GET  /api/v1/log/proof                  consistency proof (firstSize, lastSize, treeID)
//	GET  /api/v1/log/publicKey              the v1 key in PEM
//	POST /api/v1/index/retrieve             entry IDs by digest, e-mail, subject or key
//	GET  /checkpoint, /tile/...             the v2 tree (C2SP tlog-tiles)
//	GET  /api/v2/checkpoint, /api/v2/tile/  the same
//	POST /api/v2/log/entries                adds an entry to it; 201 with proof
//
// Errors are {"code":400,"message":"..."}, below /api/v2/ as a gRPC gateway writes
// them: {"code":3,"message":"...","details":[]} with the gRPC code.
//
// # What an answer means
//
// When an entry is acknowledged it is sequenced, on stable storage, and covered by
// the signed checkpoint in the answer, with a verified inclusion proof. The time
// was stored before the leaf was: the same entry, submitted again at any time,
// also while the first is under way or after a crash, gets the same place and time
// with status 201. (Rekor answers 409 there, which clients of 2026 fail on. Only
// deterministic signatures ever meet it.) An entry of the v2 tree has no time; for
// it, too, there is an index that finds it again.
//
// The log checks that an entry is what it says: that the signature verifies, over
// that digest, with that key or the certificate's key. It does not judge
// certificates; that is the verifier's business.
//
// # Files in Config.Dir
//
//	log.json         schema version, host name and tree ID, written at the first start
//	index.sqlite     places, times and search keys of the v1 tree's entries, see package index
//	index-v2.sqlite  places of the v2 tree's entries; both are rebuilt if they are lost
//	v1/ v2/          the trees, see package tilelog/posix
package siglog

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/touchmark/touchmark/services/internal/durable"
)

// Config configures a Log. Dir, Hostname, V1Key and V2Key are required.
type Config struct {
	// Dir is the log's own directory, created if it does not exist.
	Dir string
	// Hostname is that of the log's public URL, without port: verifiers look for a
	// checkpoint with this name. It is fixed at the first start.
	Hostname string
	// V1Key signs the v1 tree's checkpoints and entry timestamps: ECDSA P-256.
	V1Key crypto.Signer
	// V2Key signs the v2 tree's checkpoints: Ed25519.
	V2Key crypto.Signer
	// Clock gives the time of new entries; nil is time.Now.
	Clock func() time.Time
	// Logger gets what operators must know; nil discards.
	Logger *slog.Logger
}

// Tree describes one of the log's trees for a trusted root.
type Tree struct {
	Origin string   // first line of its checkpoints
	LogID  [32]byte // logId.keyId of its entries
	Key    crypto.PublicKey
}

// Log is an open signature log.
type Log struct {
	cfg    Config
	treeID uint64 // of the v1 tree
	v1, v2 *tree
	slots  chan struct{}       // one per request being answered
	bodies *semaphore.Weighted // bytes of the bodies of these
}

// New opens the log in cfg.Dir, or makes a new one if there is none. It refuses
// another host name than at the first start, other keys than those that signed
// the stored checkpoints, damaged files (by name), a newer schema and a second
// writer.
func New(ctx context.Context, cfg Config) (_ *Log, err error) {
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if err := checkKeys(cfg); err != nil {
		return nil, fmt.Errorf("opening signature log: %w", err)
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("opening signature log: %w", err)
	}
	if err := durable.SyncDir(filepath.Dir(cfg.Dir)); err != nil {
		return nil, fmt.Errorf("opening signature log: %w", err)
	}
	l := &Log{cfg: cfg, slots: make(chan struct{}, maxRequests), bodies: semaphore.NewWeighted(maxBodies)}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("opening signature log: %w", err), l.closeStorage())
		}
	}()
	if l.treeID, err = loadState(cfg.Dir, cfg.Hostname); err != nil {
		return nil, err
	}
	v1Origin := fmt.Sprintf("%s - %d", cfg.Hostname, l.treeID)
	if l.v1, err = openTree(ctx, cfg, "v1", v1Origin, cfg.V1Key); err != nil {
		return nil, err
	}
	if l.v2, err = openTree(ctx, cfg, "v2", cfg.Hostname, cfg.V2Key); err != nil {
		return nil, err
	}
	l.v1.searchKeys = keysOfBody
	if err := l.v1.openIndex(ctx, "index.sqlite"); err != nil {
		return nil, err
	}
	if err := l.v2.openIndex(ctx, "index-v2.sqlite"); err != nil {
		return nil, err
	}
	return l, nil
}

func checkKeys(cfg Config) error {
	if cfg.V1Key == nil || cfg.V2Key == nil {
		return errors.New("a key is missing")
	}
	if k, ok := cfg.V1Key.Public().(*ecdsa.PublicKey); !ok || k.Curve != elliptic.P256() {
		return errors.New("the v1 key is not ECDSA P-256, which verifiers of entry timestamps demand")
	}
	if _, ok := cfg.V2Key.Public().(ed25519.PublicKey); !ok {
		return errors.New("the v2 key is not Ed25519")
	}
	return nil
}

// V1 describes the Rekor v1 tree.
func (l *Log) V1() Tree { return l.v1.about }

// V2 describes the Rekor v2 tree.
func (l *Log) V2() Tree { return l.v2.about }

// Healthy is nil while the log can take entries, and otherwise says why it can't.
func (l *Log) Healthy() error { return errors.Join(l.v1.Err(), l.v2.Err()) }

// Check reads both trees from end to end and returns the first thing that does not
// fit, naming the file; the tree then takes no more entries.
func (l *Log) Check(ctx context.Context) error {
	for _, tree := range []*tree{l.v1, l.v2} {
		if err := tree.Check(ctx); err != nil {
			return fmt.Errorf("checking signature log: %w", err)
		}
	}
	return nil
}

// Close waits for the entries under way, publishes last checkpoints and closes the
// files. What was acknowledged is on stable storage before; entries that come
// later are refused.
func (l *Log) Close() error {
	l.v1.stop()
	l.v2.stop()
	return l.closeStorage()
}

func (l *Log) closeStorage() error {
	var errs [2]error
	var closing sync.WaitGroup // each waits for its own disk
	for i, tree := range []*tree{l.v1, l.v2} {
		if tree != nil {
			closing.Go(func() { errs[i] = tree.close() })
		}
	}
	closing.Wait()
	return errors.Join(errs[:]...)
}

// publicKeyDER is the v1 key's SubjectPublicKeyInfo.
func (l *Log) publicKeyDER() ([]byte, error) { return x509.MarshalPKIXPublicKey(l.v1.about.Key) }
