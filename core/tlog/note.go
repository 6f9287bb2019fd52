package tlog

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/note"
)

// maxNote bounds a signed note, in bytes: three lines and 16 signatures of the
// largest post-quantum kind, which the specification asks readers to take.
const maxNote = 128 << 10

// algEd25519 is the signed-note algorithm byte of Ed25519.
const algEd25519 = 0x01

// KeyID is the log's identifier for a key: what a log entry's logId and a
// trusted root's tlogs[].logId hold. Its first four bytes are the note
// signature's key hint. For ECDSA it is SHA-256(SubjectPublicKeyInfo), which
// does not depend on the name; for Ed25519 it is the C2SP signed-note key ID,
// SHA-256(name || 0x0A || 0x01 || key).
func KeyID(name string, pub crypto.PublicKey) ([32]byte, error) {
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		spki, err := x509.MarshalPKIXPublicKey(pub)
		if err != nil {
			return [32]byte{}, fmt.Errorf("encoding log key: %w", err)
		}
		return sha256.Sum256(spki), nil
	case ed25519.PublicKey:
		return sha256.Sum256(append([]byte(name+"\n"), append([]byte{algEd25519}, pub...)...)), nil
	}
	return [32]byte{}, fmt.Errorf("log key has type %T; want ECDSA P-256 or Ed25519", pub)
}

// Verifier opens notes that one log has signed.
type Verifier struct {
	note noteKey
}

// NewVerifier makes a verifier for the log that signs as name with the given
// key (ECDSA P-256 with SHA-256, or Ed25519).
func NewVerifier(name string, pub crypto.PublicKey) (*Verifier, error) {
	key, err := newNoteKey(name, pub)
	if err != nil {
		return nil, err
	}
	return &Verifier{note: key}, nil
}

// ErrNotSigned is returned by [Verifier.Open] if the note is well-formed, but
// carries no valid signature of the log.
var ErrNotSigned = errors.New("checkpoint: not signed by the log's key")

// Open checks the note's signature and returns the checkpoint that it signs.
// Signatures of unknown keys (witnesses) are ignored, as the signed-note
// specification demands; a signature under the log's name and key hint that
// does not verify is an error.
func (v *Verifier) Open(untrustedNote string) (Checkpoint, error) {
	cp, _, err := v.OpenCosigned(untrustedNote, nil)
	return cp, err
}

// Signer signs checkpoints.
type Signer struct {
	noteKey
	key crypto.Signer
}

// NewSigner makes a signer that signs as name with the given key (ECDSA P-256
// or Ed25519).
func NewSigner(name string, key crypto.Signer) (*Signer, error) {
	nk, err := newNoteKey(name, key.Public())
	if err != nil {
		return nil, err
	}
	return &Signer{noteKey: nk, key: key}, nil
}

// SignCheckpoint returns the whole signed note of a checkpoint.
func (s *Signer) SignCheckpoint(c Checkpoint) (string, error) {
	if _, err := parseCheckpoint(c.Text()); err != nil {
		return "", err
	}
	signed, err := note.Sign(&note.Note{Text: c.Text()}, s)
	if err != nil {
		return "", fmt.Errorf("signing checkpoint: %w", err)
	}
	return string(signed), nil
}

// Sign signs a note's text. With Name and KeyHash it makes a Signer usable as
// a golang.org/x/mod/sumdb/note.Signer.
func (s *Signer) Sign(text []byte) ([]byte, error) {
	if _, ok := s.pub.(ed25519.PublicKey); ok {
		return s.key.Sign(rand.Reader, text, crypto.Hash(0))
	}
	digest := sha256.Sum256(text)
	return s.key.Sign(rand.Reader, digest[:], crypto.SHA256)
}

// Verifier is the verifier that belongs to the signer.
func (s *Signer) Verifier() *Verifier { return &Verifier{note: s.noteKey} }

// noteKey implements golang.org/x/mod/sumdb/note.Verifier.
type noteKey struct {
	name string
	hint uint32
	pub  crypto.PublicKey
}

func newNoteKey(name string, pub crypto.PublicKey) (noteKey, error) {
	if k, ok := pub.(*ecdsa.PublicKey); ok && k.Curve != elliptic.P256() {
		return noteKey{}, errors.New("log key is ECDSA, but not on P-256")
	}
	id, err := KeyID(name, pub)
	if err != nil {
		return noteKey{}, err
	}
	return noteKey{name: name, hint: binary.BigEndian.Uint32(id[:4]), pub: pub}, nil
}

// Name is the name in the note's signature line.
func (k noteKey) Name() string { return k.name }

// KeyHash is the key hint of the note's signature line.
func (k noteKey) KeyHash() uint32 { return k.hint }

// Verify reports whether sig is the key's signature over text.
func (k noteKey) Verify(text, sig []byte) bool {
	switch pub := k.pub.(type) {
	case *ecdsa.PublicKey:
		digest := sha256.Sum256(text)
		return ecdsa.VerifyASN1(pub, digest[:], sig)
	case ed25519.PublicKey:
		return ed25519.Verify(pub, text, sig)
	}
	return false
}
