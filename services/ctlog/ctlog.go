// Package ctlog is a certificate log: the public record of every certificate that
// the authority issues, from which anyone can see who got one.
//
// It is written with RFC 6962's add-pre-chain and read as C2SP static-ct-api says.
// The authority hands it a precertificate; the log checks it, appends it, and only
// then signs the certificate timestamp (SCT), which holds the entry's index:
//
//	log, err := ctlog.New(ctx, ctlog.Config{Dir: dir, BaseURL: "https://stack.example/ct", Key: key, Roots: roots})
//	timestamp, err := log.AddPreChain(ctx, [][]byte{precert, issuer, root})
//	mux.Handle("/ct/", log.Handler())
//
// # HTTP, under /ct/
//
//	POST /ct/v1/add-pre-chain        {"chain":[...]} in base64 DER, the precertificate first
//	GET  /ct/v1/get-roots            the roots that a chain must lead to
//	GET  /ct/checkpoint              signed as static-ct-api demands (RFC6962NoteSignature)
//	GET  /ct/tile/<L>/<N>[.p/<W>]    tiles, and bundles under tile/data/
//	GET  /ct/issuer/<SHA-256>        a certificate of some entry's chain, DER
//
// Errors are {"code":400,"message":"..."}. add-chain, for final certificates, is
// not there: Sigstore's authorities embed their timestamps.
//
// # What is taken
//
// A chain in which each certificate signs the one before, up to a root of
// Config.Roots, whose first certificate is not an authority's, carries the poison
// exactly once and critical, and holds no timestamps yet. Validity periods and
// names are not judged: a log records what was issued, mistakes above all.
//
// # Files in Config.Dir
//
//	log/      the tree, see package tilelog/posix
//	issuer/   the certificates of the chains, by SHA-256
package ctlog

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/touchmark/touchmark/core/sct"
	"github.com/touchmark/touchmark/services/internal/durable"
	"github.com/touchmark/touchmark/services/internal/tilelog"
	"github.com/touchmark/touchmark/services/internal/tilelog/posix"
)

// Config configures a Log. Dir, BaseURL, Key and Roots are required.
type Config struct {
	// Dir is the log's own directory, created if it does not exist.
	Dir string
	// BaseURL is the public URL under which the log is read. Without its scheme it is
	// the origin of the log's checkpoints, and fixed at the first start.
	BaseURL string
	// Key signs timestamps and checkpoints: ECDSA P-256, which every verifier demands.
	Key crypto.Signer
	// Roots are what the chains must lead to.
	Roots []*x509.Certificate
	// Submissions lets anybody who has a chain of an authority of ours submit it
	// over HTTP. A log whose authority calls AddPreChain in process needs it not,
	// and is spared repetitions: every precertificate can be read in the log.
	Submissions bool
	// Clock gives the time of new entries; nil is time.Now.
	Clock func() time.Time
	// Logger gets what operators must know; nil discards.
	Logger *slog.Logger
}

// Log is an open certificate log.
type Log struct {
	cfg   Config
	id    [sha256.Size]byte
	tree  *tilelog.Log
	slots chan struct{} // one per request being answered
}

// New opens the log in cfg.Dir, or makes a new one if there is none. It refuses
// another base URL or key than those of the stored checkpoint, damaged files (by
// name) and a second writer.
func New(ctx context.Context, cfg Config) (*Log, error) {
	l, err := open(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("opening certificate log: %w", err)
	}
	return l, nil
}

func open(ctx context.Context, cfg Config) (*Log, error) {
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if len(cfg.Roots) == 0 {
		return nil, errors.New("there are no roots: it could take no certificate")
	}
	if cfg.Key == nil {
		return nil, errors.New("the key is missing")
	}
	public, ok := cfg.Key.Public().(*ecdsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("the key is %T; want ECDSA P-256", cfg.Key.Public())
	}
	id, err := sct.LogID(public)
	if err != nil {
		return nil, err
	}
	base, err := url.Parse(cfg.BaseURL)
	if err != nil || base.Host == "" {
		return nil, fmt.Errorf("the base URL %q is not an absolute URL", cfg.BaseURL)
	}
	origin := strings.TrimSuffix(base.Host+base.Path, "/")
	signer, err := newTreeHeadSigner(origin, cfg.Key, id, cfg.Clock)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(cfg.Dir, "issuer"), 0o700); err != nil {
		return nil, err
	}
	if err := errors.Join(durable.SyncDir(filepath.Dir(cfg.Dir)), durable.SyncDir(cfg.Dir)); err != nil {
		return nil, err
	}
	engine, err := posix.Open(filepath.Join(cfg.Dir, "log"), tilelog.StaticCT)
	if err != nil {
		return nil, err
	}
	tree, err := tilelog.Open(ctx, engine, tilelog.Options{Origin: origin, Signer: signer, Verifier: signer, Logger: cfg.Logger})
	if err != nil {
		return nil, err
	}
	return &Log{cfg: cfg, id: id, tree: tree, slots: make(chan struct{}, maxRequests)}, nil
}

// ID is the log's identifier in a timestamp: the SHA-256 of its public key.
func (l *Log) ID() [sha256.Size]byte { return l.id }

// PublicKey is the key that timestamps verify under.
func (l *Log) PublicKey() crypto.PublicKey { return l.cfg.Key.Public() }

// Healthy is nil while the log can take certificates, and otherwise says why it
// can't.
func (l *Log) Healthy() error { return l.tree.Err() }

// Check reads the tree from end to end and returns the first thing that does not
// fit, naming the file; the log then takes no more certificates.
func (l *Log) Check(ctx context.Context) error {
	if err := l.tree.Check(ctx); err != nil {
		return fmt.Errorf("checking certificate log: %w", err)
	}
	return nil
}

// Close waits for the certificates under way and closes the files. A timestamp
// that was handed out is covered by what is on stable storage.
func (l *Log) Close() error { return l.tree.Close() }
