// Package tlog reads and writes what transparency logs sign: checkpoints as
// signed notes (C2SP tlog-checkpoint and signed-note), and RFC 6962 inclusion
// and consistency proofs against them.
//
// It serves both faces of Sigstore's signature log. Rekor v1 signs its notes
// with ECDSA under the log's host name, with an origin "<host> - <tree ID>";
// Rekor v2 signs with Ed25519 and uses the host name as its origin. [Signer]
// and [Verifier] take either key; entry bodies are in the package entry.
//
// Everything here is pure: no I/O, no clock, and no argument is changed.
package tlog

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
)

// Checkpoint is a log's statement that its first Size leaves have the given
// Merkle root.
type Checkpoint struct {
	Origin string   // names the log; never empty, no line break
	Size   uint64   // in leaves
	Root   [32]byte // RFC 6962 root hash
}

// maxOrigin bounds a checkpoint's first line, in bytes.
const maxOrigin = 512

// maxProofHashes bounds a proof: a tree of 2^63 leaves needs 63 hashes for an
// inclusion proof and at most 64 for a consistency proof.
const maxProofHashes = 64

// Text is the checkpoint's three lines, the text that is signed.
func (c Checkpoint) Text() string {
	return fmt.Sprintf("%s\n%d\n%s\n", c.Origin, c.Size, base64.StdEncoding.EncodeToString(c.Root[:]))
}

// parseCheckpoint reads a checkpoint's text. The one extension line that is
// known is accepted and ignored: "Timestamp: <nanoseconds>", which Rekor v1
// wrote until 2023. It says when the tree's head was made, not when an entry
// was, so nothing may lean on it. Any other extension line is refused, since
// its meaning would be unknown.
func parseCheckpoint(text string) (Checkpoint, error) {
	lines := strings.Split(text, "\n")
	if len(lines) == 5 && isTimestampLine(lines[3]) {
		lines = append(lines[:3], lines[4])
	}
	if len(lines) != 4 || lines[3] != "" {
		return Checkpoint{}, errors.New("checkpoint: want exactly the lines origin, size and root")
	}
	origin, size, root := lines[0], lines[1], lines[2]
	if origin == "" || len(origin) > maxOrigin {
		return Checkpoint{}, errors.New("checkpoint: its origin line is empty or too long")
	}
	// No note with such an origin could be opened, so none may be signed.
	if !utf8.ValidString(origin) || strings.ContainsFunc(origin, unicode.IsControl) {
		return Checkpoint{}, errors.New("checkpoint: its origin line holds a control character or invalid UTF-8")
	}
	n, err := strconv.ParseUint(size, 10, 63)
	if err != nil || strconv.FormatUint(n, 10) != size {
		return Checkpoint{}, fmt.Errorf("checkpoint: %q is not a tree size", size)
	}
	c := Checkpoint{Origin: origin, Size: n}
	raw, err := base64.StdEncoding.Strict().DecodeString(root)
	if err != nil || len(raw) != len(c.Root) {
		return Checkpoint{}, errors.New("checkpoint: its root is not 32 bytes of base64")
	}
	copy(c.Root[:], raw)
	return c, nil
}

func isTimestampLine(line string) bool {
	digits, found := strings.CutPrefix(line, "Timestamp: ")
	_, err := strconv.ParseUint(digits, 10, 63)
	return found && err == nil
}

// LeafHash is RFC 6962's hash of a leaf, SHA-256(0x00 || leaf).
func LeafHash(leaf []byte) [32]byte {
	h := sha256.New()
	h.Write([]byte{rfc6962.RFC6962LeafHashPrefix})
	h.Write(leaf)
	return [32]byte(h.Sum(nil))
}

// VerifyInclusion checks that the leaf with the given hash stands at index in
// the tree that the checkpoint commits to. The checkpoint must come from
// [Verifier.Open]: a proof against an unsigned root proves nothing.
func VerifyInclusion(leafHash [32]byte, index uint64, untrustedHashes [][]byte, cp Checkpoint) error {
	if err := checkHashes(untrustedHashes); err != nil {
		return fmt.Errorf("inclusion proof: %w", err)
	}
	if index >= cp.Size {
		return fmt.Errorf("inclusion proof: index %d is outside the checkpoint's tree of %d leaves", index, cp.Size)
	}
	if err := proof.VerifyInclusion(rfc6962.DefaultHasher, index, cp.Size, leafHash[:], untrustedHashes, cp.Root[:]); err != nil {
		return errors.New("inclusion proof: it does not lead from the leaf to the checkpoint's root")
	}
	return nil
}

// VerifyConsistency checks that the tree of the newer checkpoint begins with
// the tree of the older one. Both must come from [Verifier.Open] or from the
// log's own state.
func VerifyConsistency(older, newer Checkpoint, untrustedHashes [][]byte) error {
	if err := checkHashes(untrustedHashes); err != nil {
		return fmt.Errorf("consistency proof: %w", err)
	}
	if older.Size > newer.Size {
		return fmt.Errorf("consistency proof: the older tree has %d leaves, the newer %d", older.Size, newer.Size)
	}
	if err := proof.VerifyConsistency(rfc6962.DefaultHasher, older.Size, newer.Size, untrustedHashes, older.Root[:], newer.Root[:]); err != nil {
		return fmt.Errorf("consistency proof: the tree of %d leaves does not begin with the tree of %d", newer.Size, older.Size)
	}
	return nil
}

func checkHashes(untrustedHashes [][]byte) error {
	if len(untrustedHashes) > maxProofHashes {
		return fmt.Errorf("has %d hashes, the limit is %d", len(untrustedHashes), maxProofHashes)
	}
	for i, h := range untrustedHashes {
		if len(h) != sha256.Size {
			return fmt.Errorf("hash %d has %d bytes, want %d", i, len(h), sha256.Size)
		}
	}
	return nil
}
