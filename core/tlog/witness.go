package tlog

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/note"
)

// Algorithm and length of a cosignature/v1 (C2SP tlog-cosignature): a
// timestamp of eight bytes, and an Ed25519 signature.
const (
	algCosignatureV1  = 0x04
	cosignatureLength = 8 + ed25519.SignatureSize
)

// Witness is who cosigns checkpoints (C2SP tlog-cosignature): it says that it
// saw the log grow from every checkpoint that it cosigned before.
type Witness struct {
	Name string
	Key  ed25519.PublicKey
}

// ParseWitness reads a witness's verifier key (C2SP signed-note):
// "<name>+<hint in hex>+<base64 of 0x04 and the Ed25519 key>".
func ParseWitness(vkey string) (*Witness, error) {
	name, rest, _ := strings.Cut(vkey, "+")
	hint, encoded, _ := strings.Cut(rest, "+")
	if err := checkName(name); err != nil {
		return nil, fmt.Errorf("witness key: %w", err)
	}
	key, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil || len(key) != 1+ed25519.PublicKeySize || strings.ContainsAny(encoded, "\r\n") {
		return nil, fmt.Errorf("witness key of %s: want 33 bytes of base64 behind the second +", name)
	}
	if key[0] != algCosignatureV1 {
		return nil, fmt.Errorf("witness key of %s: its algorithm is %d, want %d (cosignature/v1)", name, key[0], algCosignatureV1)
	}
	w := &Witness{Name: name, Key: key[1:]}
	want := w.keyID()
	if got, err := hex.DecodeString(hint); err != nil || string(got) != string(want[:]) || strings.ToLower(hint) != hint {
		return nil, fmt.Errorf("witness key of %s: its hint is %q, but the key's is %x", name, hint, want)
	}
	return w, nil
}

// String is the witness's verifier key, which [ParseWitness] reads.
func (w *Witness) String() string {
	return fmt.Sprintf("%s+%x+%s", w.Name, w.keyID(), base64.StdEncoding.EncodeToString(append([]byte{algCosignatureV1}, w.Key...)))
}

// keyID is the key hint: the first four bytes of SHA-256(name || 0x0A || 0x04 ||
// key).
func (w *Witness) keyID() [4]byte {
	h := sha256.New()
	h.Write([]byte(w.Name + "\n\x04"))
	h.Write(w.Key)
	return [4]byte(h.Sum(nil))
}

// checkName refuses key names that the signed-note format does not have. (A + is
// behind a name in any case.)
func checkName(name string) error {
	if name == "" || !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r)
	}) {
		return fmt.Errorf("%q is not a key's name", name)
	}
	return nil
}

// cosigner makes a [Witness] a golang.org/x/mod/sumdb/note.Verifier.
type cosigner struct{ *Witness }

func (c cosigner) Name() string { return c.Witness.Name }

func (c cosigner) KeyHash() uint32 {
	id := c.keyID()
	return binary.BigEndian.Uint32(id[:])
}

// Verify reports whether sig is a cosignature/v1 over a checkpoint's text. Its
// timestamp says when the witness saw the checkpoint; nothing leans on it.
func (c cosigner) Verify(text, sig []byte) bool {
	if len(sig) != cosignatureLength || len(c.Key) != ed25519.PublicKeySize {
		return false
	}
	seconds := binary.BigEndian.Uint64(sig)
	// "[The timestamp] MUST NOT exceed 2^63 - 1"
	return seconds <= math.MaxInt64 && ed25519.Verify(c.Key, CosignedText(text, seconds), sig[8:])
}

// CosignedText is what a cosignature/v1 signs: a header, when the witness
// cosigned (seconds since 1970), and the checkpoint's text.
func CosignedText(text []byte, seconds uint64) []byte {
	return append(fmt.Appendf(nil, "cosignature/v1\ntime %d\n", seconds), text...)
}

// OpenCosigned is [Verifier.Open] that also returns those of the witnesses whose
// cosignatures are on the note. A cosignature under a witness's name and key hint
// that does not verify makes the whole note an error. Two witnesses that
// share a key are both returned: to count them, compare their keys.
func (v *Verifier) OpenCosigned(untrustedNote string, witnesses []*Witness) (Checkpoint, []*Witness, error) {
	verifiers := []note.Verifier{v.note}
	for _, w := range witnesses {
		verifiers = append(verifiers, cosigner{w})
	}
	n, err := v.open(untrustedNote, verifiers)
	if err != nil {
		return Checkpoint{}, nil, err
	}
	var cosigned []*Witness
	bySigner := false
	for _, sig := range n.Sigs {
		if sig.Name == v.note.name && sig.Hash == v.note.hint {
			bySigner = true
		}
		for _, w := range witnesses {
			if c := (cosigner{w}); sig.Name == c.Name() && sig.Hash == c.KeyHash() {
				cosigned = append(cosigned, w)
			}
		}
	}
	if !bySigner {
		return Checkpoint{}, nil, ErrNotSigned
	}
	cp, err := parseCheckpoint(n.Text)
	if err != nil {
		return Checkpoint{}, nil, err
	}
	return cp, cosigned, nil
}

// checkSpelling refuses verified signatures that are not in canonical base64, so
// that nothing of a log's or witness's line can be changed. RFC 4648 section 3.5
// leaves that to the reader, and the note package takes either.
func checkSpelling(sigs []note.Signature) error {
	for _, sig := range sigs {
		if _, err := base64.StdEncoding.Strict().DecodeString(sig.Base64); err != nil {
			return fmt.Errorf("checkpoint: the signature of %s is not canonical base64", sig.Name)
		}
	}
	return nil
}

// open opens a note that any of the verifiers has signed.
func (v *Verifier) open(untrustedNote string, verifiers []note.Verifier) (*note.Note, error) {
	if len(untrustedNote) > maxNote {
		return nil, fmt.Errorf("checkpoint: the signed note has %d bytes, the limit is %d", len(untrustedNote), maxNote)
	}
	n, err := note.Open([]byte(untrustedNote), note.VerifierList(verifiers...))
	var unverified *note.UnverifiedNoteError
	var invalid *note.InvalidSignatureError
	switch {
	case err == nil:
		return n, checkSpelling(n.Sigs)
	case errors.As(err, &unverified), errors.As(err, &invalid) && invalid.Name == v.note.name && invalid.Hash == v.note.hint:
		return nil, ErrNotSigned
	case invalid != nil:
		return nil, fmt.Errorf("checkpoint: the cosignature of the witness %s does not verify", invalid.Name)
	}
	return nil, errors.New("checkpoint: malformed signed note")
}
