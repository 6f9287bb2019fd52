package ctlog

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/touchmark/touchmark/core/sct"
	"github.com/touchmark/touchmark/services/internal/durable"
)

// AddPreChain logs the precertificate chain[0], given in DER with its issuers up to
// a root (which may be left out), and returns the timestamp for it. By then the
// entry is on stable storage, has been read back, and belongs to a tree that
// extends every one signed before. A chain that the log does not take is a
// [*RejectedError]; the same precertificate again gets a second entry.
func (l *Log) AddPreChain(ctx context.Context, untrustedChain [][]byte) (sct.SCT, error) {
	c, err := l.check(untrustedChain)
	if err != nil {
		return sct.SCT{}, fmt.Errorf("adding certificate chain: %w", err)
	}
	timestamp, err := l.add(ctx, c)
	if err != nil {
		return sct.SCT{}, fmt.Errorf("adding certificate chain: %w", err)
	}
	return timestamp, nil
}

func (l *Log) add(ctx context.Context, c checked) (sct.SCT, error) {
	// The tree commits to the issuers' fingerprints, so they must be there first.
	for _, issuer := range c.issuers {
		if err := l.storeIssuer(issuer); err != nil {
			return sct.SCT{}, err
		}
	}
	c.entry.Timestamp = uint64(l.cfg.Clock().UnixMilli())
	place, err := l.tree.AddPrecert(ctx, c.entry)
	if err != nil {
		return sct.SCT{}, err
	}
	extensions := sct.LeafIndexExtension(place)
	if extensions == nil {
		return sct.SCT{}, errors.New("the log is full: an index has 40 bits")
	}
	want, err := c.entry.TileLeaf(extensions)
	if err != nil {
		return sct.SCT{}, err
	}
	// Leaf advances the verified head over the entry before it returns it.
	stored, err := l.tree.Leaf(ctx, place)
	if err != nil {
		return sct.SCT{}, err
	}
	if !bytes.Equal(stored, want) {
		return sct.SCT{}, fmt.Errorf("the tree holds another entry at %d", place)
	}
	return sct.Sign(l.cfg.Key, c.entry.Timestamp, extensions, c.entry.IssuerKeyHash, c.entry.TBS)
}

// issuerPath is where a chain's certificate is kept.
func (l *Log) issuerPath(fingerprint [sha256.Size]byte) string {
	return filepath.Join(l.cfg.Dir, "issuer", fmt.Sprintf("%x", fingerprint))
}

// storeIssuer writes the certificate durably, unless it is there.
func (l *Log) storeIssuer(cert *x509.Certificate) error {
	path := l.issuerPath(sha256.Sum256(cert.Raw))
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return durable.WriteFile(path, cert.Raw, 0o600)
}
