package tilelog

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"

	"github.com/touchmark/touchmark/core/tlog"
)

// Layout is the format of a log's bundles.
type Layout int

const (
	// Entries is C2SP tlog-tiles: bundles at tile/entries/, each entry a 16 bit
	// length and the leaf.
	Entries Layout = iota
	// StaticCT is C2SP static-ct-api: bundles at tile/data/, each entry a TileLeaf.
	StaticCT
)

// Dir is the path element that bundles are served under.
func (l Layout) Dir() string {
	if l == StaticCT {
		return "data"
	}
	return "entries"
}

// leaf is one entry of a bundle: the stored bytes and the hash that the tree
// commits to.
type leaf struct {
	data []byte
	hash [sha256.Size]byte
}

// parse splits a bundle into its entries; all of it must be used up.
func (l Layout) parse(bundle []byte) ([]leaf, error) {
	next := nextEntry
	if l == StaticCT {
		next = nextTileLeaf
	}
	s := cryptobyte.String(bundle)
	var leaves []leaf
	for !s.Empty() {
		if len(leaves) == tileWidth {
			return nil, fmt.Errorf("more than %d entries", tileWidth)
		}
		e, err := next(&s)
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", len(leaves), err)
		}
		leaves = append(leaves, e)
	}
	return leaves, nil
}

var errTruncated = errors.New("truncated or malformed")

func nextEntry(s *cryptobyte.String) (leaf, error) {
	var data cryptobyte.String
	if !s.ReadUint16LengthPrefixed(&data) {
		return leaf{}, errTruncated
	}
	return leaf{data: data, hash: tlog.LeafHash(data)}, nil
}

// The entry types of RFC 6962 section 3.1.
const x509Entry, precertEntry = 0, 1

// TileLeaf is the bundle entry of the precertificate with the given timestamp
// extensions (static-ct-api, "Log Entries"):
//
//	struct { TimestampedEntry timestamped_entry;
//	         select (entry_type) { case precert_entry: ASN.1Cert pre_certificate; };
//	         Fingerprint certificate_chain<0..2^16-1>; } TileLeaf;
//
// An error means that a part is too long for its length prefix.
func (p Precert) TileLeaf(extensions []byte) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddUint64(p.Timestamp)
	b.AddUint16(precertEntry)
	b.AddBytes(p.IssuerKeyHash[:])
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(p.TBS) })
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(extensions) })
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(p.Precertificate) })
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, fingerprint := range p.Chain {
			b.AddBytes(fingerprint[:])
		}
	})
	return b.Bytes()
}

// nextTileLeaf reads one TileLeaf. The tree commits to MerkleTreeLeaf, which is version and leaf type (two zero
// bytes) before the timestamped entry (RFC 6962 section 3.4).
func nextTileLeaf(s *cryptobyte.String) (leaf, error) {
	start := []byte(*s)
	var timestamp uint64
	var entryType uint16
	var body, extensions, precert, chain cryptobyte.String
	if !s.ReadUint64(&timestamp) || !s.ReadUint16(&entryType) {
		return leaf{}, errTruncated
	}
	if entryType != x509Entry && entryType != precertEntry {
		return leaf{}, fmt.Errorf("unknown entry type %d", entryType)
	}
	if entryType == precertEntry && !s.Skip(sha256.Size) {
		return leaf{}, errTruncated
	}
	if !s.ReadUint24LengthPrefixed(&body) || !s.ReadUint16LengthPrefixed(&extensions) {
		return leaf{}, errTruncated
	}
	timestamped := start[:len(start)-len(*s)]
	if entryType == precertEntry && !s.ReadUint24LengthPrefixed(&precert) {
		return leaf{}, errTruncated
	}
	if !s.ReadUint16LengthPrefixed(&chain) {
		return leaf{}, errTruncated
	}
	return leaf{
		data: start[:len(start)-len(*s)],
		hash: tlog.LeafHash(append([]byte{0, 0}, timestamped...)),
	}, nil
}
