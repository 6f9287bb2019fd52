package ctlog

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/mod/sumdb/note"

	"github.com/touchmark/touchmark/core/tlog"
)

// treeHeadSigner signs and opens checkpoints as static-ct-api demands: the note's
// signature is an RFC6962NoteSignature,
//
//	struct { uint64 timestamp; TreeHeadSignature signature; }
//
// over RFC 6962's tree head (section 3.5), not over the note's text.
type treeHeadSigner struct {
	origin string
	key    crypto.Signer
	hint   uint32
	clock  func() time.Time
}

// algRFC6962 is the note signature type of RFC6962NoteSignature.
const algRFC6962 = 0x05

func newTreeHeadSigner(origin string, key crypto.Signer, logID [sha256.Size]byte, clock func() time.Time) (*treeHeadSigner, error) {
	if strings.ContainsAny(origin, " +\n") || origin == "" {
		return nil, fmt.Errorf("the origin %q can't be a note's name", origin)
	}
	id := sha256.Sum256(append([]byte(origin+"\n"), append([]byte{algRFC6962}, logID[:]...)...))
	return &treeHeadSigner{origin: origin, key: key, hint: binary.BigEndian.Uint32(id[:4]), clock: clock}, nil
}

// Name implements [note.Signer] and [note.Verifier].
func (s *treeHeadSigner) Name() string { return s.origin }

// KeyHash implements [note.Signer] and [note.Verifier].
func (s *treeHeadSigner) KeyHash() uint32 { return s.hint }

// Sign implements [note.Signer].
func (s *treeHeadSigner) Sign(text []byte) ([]byte, error) {
	cp, err := parseText(string(text))
	if err != nil {
		return nil, err
	}
	timestamp := uint64(s.clock().UnixMilli())
	digest := sha256.Sum256(treeHead(timestamp, cp))
	sig, err := s.key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	var b cryptobyte.Builder
	b.AddUint64(timestamp)
	b.AddUint8(4) // SHA-256 (RFC 5246 section 7.4.1.4.1)
	b.AddUint8(3) // ECDSA
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(sig) })
	return b.Bytes()
}

// Verify implements [note.Verifier].
func (s *treeHeadSigner) Verify(text, untrustedSig []byte) bool {
	in := cryptobyte.String(untrustedSig)
	var timestamp uint64
	var hash, algorithm uint8
	var sig cryptobyte.String
	if !in.ReadUint64(&timestamp) || !in.ReadUint8(&hash) || !in.ReadUint8(&algorithm) || !in.ReadUint16LengthPrefixed(&sig) || !in.Empty() || hash != 4 || algorithm != 3 {
		return false
	}
	cp, err := parseText(string(text))
	public, ok := s.key.Public().(*ecdsa.PublicKey)
	if err != nil || !ok {
		return false
	}
	digest := sha256.Sum256(treeHead(timestamp, cp))
	return ecdsa.VerifyASN1(public, digest[:], sig)
}

// SignCheckpoint returns the signed note of a checkpoint.
func (s *treeHeadSigner) SignCheckpoint(cp tlog.Checkpoint) (string, error) {
	signed, err := note.Sign(&note.Note{Text: cp.Text()}, s)
	if err != nil {
		return "", fmt.Errorf("signing tree head: %w", err)
	}
	return string(signed), nil
}

// Open returns the checkpoint of a note that this log signed.
func (s *treeHeadSigner) Open(untrustedNote string) (tlog.Checkpoint, error) {
	n, err := note.Open([]byte(untrustedNote), note.VerifierList(s))
	var unverified *note.UnverifiedNoteError
	var invalid *note.InvalidSignatureError
	switch {
	case errors.As(err, &unverified), errors.As(err, &invalid):
		return tlog.Checkpoint{}, tlog.ErrNotSigned
	case err != nil:
		return tlog.Checkpoint{}, errors.New("malformed signed note")
	}
	return parseText(n.Text)
}

// treeHead is what RFC 6962 signs: version 0, signature type 1 (tree_hash).
func treeHead(timestamp uint64, cp tlog.Checkpoint) []byte {
	b := binary.BigEndian.AppendUint64([]byte{0, 1}, timestamp)
	b = binary.BigEndian.AppendUint64(b, cp.Size)
	return append(b, cp.Root[:]...)
}

// parseText reads a checkpoint's three lines, in their one form.
func parseText(text string) (tlog.Checkpoint, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 {
		return tlog.Checkpoint{}, errors.New("malformed checkpoint")
	}
	size, err := strconv.ParseUint(lines[1], 10, 63)
	if err != nil {
		return tlog.Checkpoint{}, errors.New("malformed checkpoint")
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || len(root) != sha256.Size {
		return tlog.Checkpoint{}, errors.New("malformed checkpoint")
	}
	cp := tlog.Checkpoint{Origin: lines[0], Size: size, Root: [sha256.Size]byte(root)}
	if cp.Text() != text {
		return tlog.Checkpoint{}, errors.New("malformed checkpoint")
	}
	return cp, nil
}
