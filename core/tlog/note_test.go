package tlog

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strings"
	"testing"
)

const origin = "log.example.com"

func newECDSA(tb testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func newEd25519(tb testing.TB) ed25519.PrivateKey {
	tb.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func newSigner(tb testing.TB, name string, key crypto.Signer) *Signer {
	tb.Helper()
	s, err := NewSigner(name, key)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func sign(tb testing.TB, s *Signer, text string) string {
	tb.Helper()
	sig, err := s.Sign([]byte(text))
	if err != nil {
		tb.Fatal(err)
	}
	return text + "\n" + signatureLine(s.Name(), s.KeyHash(), sig)
}

func signatureLine(name string, hint uint32, sig []byte) string {
	raw := append(binary.BigEndian.AppendUint32(nil, hint), sig...)
	return "— " + name + " " + base64.StdEncoding.EncodeToString(raw) + "\n"
}

// TestKeyIDVectors holds the key IDs that rekor-tiles computes for
// rekor.example.com.
func TestKeyIDVectors(t *testing.T) {
	const name = "rekor.example.com"
	edKey := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	id, err := KeyID(name, edKey.Public())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := base64.StdEncoding.EncodeToString(id[:]), "GuUEr06T6FOixd+DqUZChChMLq7+Z6yY4Fjj7MBHVTM="; got != want {
		t.Errorf("Ed25519: key ID is %s, want %s", got, want)
	}
	if got, want := newSigner(t, name, edKey).KeyHash(), uint32(0x1ae504af); got != want {
		t.Errorf("Ed25519: hint is %08x, want %08x", got, want)
	}
	one := make([]byte, 32)
	one[31] = 1
	private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), one)
	if err != nil {
		t.Fatal(err)
	}
	ecKey := private.Public()
	for _, n := range []string{name, "another name"} {
		id, err = KeyID(n, ecKey)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := hex.EncodeToString(id[:4]), "5cd252fb"; got != want {
			t.Errorf("ECDSA under %q: hint is %s, want %s", n, got, want)
		}
	}
}

func TestSignAndOpen(t *testing.T) {
	for name, key := range map[string]crypto.Signer{"ECDSA": newECDSA(t, elliptic.P256()), "Ed25519": newEd25519(t)} {
		for _, want := range []Checkpoint{
			{Origin: origin, Size: 0, Root: sha256.Sum256(nil)},
			{Origin: origin, Size: 7, Root: [32]byte{1, 2, 3}},
			{Origin: origin + " - 1193050959916656506", Size: 1<<63 - 1},
			{Origin: strings.Repeat("o", maxOrigin), Size: 1 << 40},
		} {
			s := newSigner(t, origin, key)
			signed, err := s.SignCheckpoint(want)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			v, err := NewVerifier(origin, key.Public())
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range []*Verifier{v, s.Verifier()} {
				if got, err := v.Open(signed); err != nil || got != want {
					t.Errorf("%s: opened %+v (%v), want %+v", name, got, err, want)
				}
			}
		}
	}
}

func TestSignerRefusesWhatCannotBeRead(t *testing.T) {
	s := newSigner(t, origin, newEd25519(t))
	for _, c := range []Checkpoint{
		{}, {Origin: "a\nb"}, {Origin: strings.Repeat("o", maxOrigin+1)}, {Origin: origin, Size: 1 << 63}, {Origin: "a\x00b"}, {Origin: "a\xff"},
	} {
		if _, err := s.SignCheckpoint(c); err == nil {
			t.Errorf("%+v is signed", c)
		}
	}
	if _, err := s.SignCheckpoint(Checkpoint{Origin: origin}); err != nil {
		t.Error(err)
	}
	for name, key := range map[string]crypto.Signer{"P-384": newECDSA(t, elliptic.P384()), "P-224": newECDSA(t, elliptic.P224())} {
		if _, err := NewSigner(origin, key); err == nil {
			t.Errorf("a key on %s signs", name)
		}
		if _, err := NewVerifier(origin, key.Public()); err == nil {
			t.Errorf("a key on %s verifies", name)
		}
	}
	for _, pub := range []crypto.PublicKey{nil, "key", []byte{1}} {
		if _, err := NewVerifier(origin, pub); err == nil {
			t.Errorf("a key of type %T verifies", pub)
		}
	}
}

// TestLIB15_A009_CheckpointForm signs text of many forms with the log's own
// key: what is wrong here is the form alone.
func TestLIB15_A009_CheckpointForm(t *testing.T) {
	root := base64.StdEncoding.EncodeToString(make([]byte, 32))
	good := origin + "\n5\n" + root + "\n"
	for name, key := range map[string]crypto.Signer{"ECDSA": newECDSA(t, elliptic.P256()), "Ed25519": newEd25519(t)} {
		s := newSigner(t, origin, key)
		for _, tt := range []struct {
			name, text string
			ok         bool
		}{
			{"good", good, true},
			{"Rekor v1's old timestamp line", good + "Timestamp: 1689177396617352539\n", true},
			{"another origin, which the caller compares", "other\n5\n" + root + "\n", true},
			{"extension line", good + "extension\n", false},
			{"two extension lines", good + "Timestamp: 1\nTimestamp: 2\n", false},
			{"timestamp that is no number", good + "Timestamp: x\n", false},
			{"timestamp without space", good + "Timestamp:1\n", false},
			{"empty extension line", good + "\n", false},
			{"CRLF", strings.ReplaceAll(good, "\n", "\r\n"), false},
			{"CR in the origin", "log\r.example\n5\n" + root + "\n", false},
			{"NUL in the origin", "log\x00\n5\n" + root + "\n", false},
			{"escape in the origin", "log\x1b[31m\n5\n" + root + "\n", false},
			{"tab in the origin", "log\tx\n5\n" + root + "\n", false},
			{"invalid UTF-8 in the origin", "log\xff\n5\n" + root + "\n", false},
			{"empty origin", "\n5\n" + root + "\n", false},
			{"long origin", strings.Repeat("o", maxOrigin+1) + "\n5\n" + root + "\n", false},
			{"no root", origin + "\n5\n", false},
			{"no size", origin + "\n" + root + "\n", false},
			{"empty", "", false},
			{"only the origin", origin + "\n", false},
			{"negative size", origin + "\n-5\n" + root + "\n", false},
			{"signed size", origin + "\n+5\n" + root + "\n", false},
			{"size with leading zero", origin + "\n05\n" + root + "\n", false},
			{"size with space", origin + "\n5 \n" + root + "\n", false},
			{"hexadecimal size", origin + "\n0x5\n" + root + "\n", false},
			{"size with underscore", origin + "\n1_0\n" + root + "\n", false},
			{"size of 2^63", origin + "\n9223372036854775808\n" + root + "\n", false},
			{"size above 2^64", origin + "\n18446744073709551616\n" + root + "\n", false},
			{"short root", origin + "\n5\n" + base64.StdEncoding.EncodeToString(make([]byte, 31)) + "\n", false},
			{"long root", origin + "\n5\n" + base64.StdEncoding.EncodeToString(make([]byte, 33)) + "\n", false},
			{"empty root", origin + "\n5\n\n", false},
			{"hexadecimal root", origin + "\n5\n" + hex.EncodeToString(make([]byte, 32)) + "\n", false},
			{"URL base64", origin + "\n5\n" + base64.URLEncoding.EncodeToString(bytes.Repeat([]byte{0xff}, 32)) + "\n", false},
			{"root without padding", origin + "\n5\n" + strings.TrimRight(root, "=") + "\n", false},
			{"root and more", origin + "\n5\n" + root + "AAAA\n", false},
			{"last timestamp", good + "Timestamp: 9223372036854775807\n", true},
			{"timestamp beyond the last", good + "Timestamp: 9223372036854775808\n", false},
			{"hexadecimal timestamp", good + "Timestamp: 1a\n", false},
			{"number in the timestamp's place", good + "1689177396617352539\n", false},
			{"root with stray bits", origin + "\n5\n" + root[:42] + "B=\n", false},
		} {
			// A signed note is signed by hand: note.Sign refuses some of these.
			cp, err := s.Verifier().Open(sign(t, s, tt.text))
			if (err == nil) != tt.ok {
				t.Errorf("%s, %s: error is %v, want accepted %v", name, tt.name, err, tt.ok)
			}
			if err != nil && cp != (Checkpoint{}) {
				t.Errorf("%s, %s: an error comes with a checkpoint", name, tt.name)
			}
		}
	}
}

// TestLIB15_LastLine: a text without its last line break is none.
func TestLIB15_LastLine(t *testing.T) {
	text := Checkpoint{Origin: origin, Size: 5}.Text()
	for more, want := range map[string]bool{"": true, "x": false} {
		if _, err := parseCheckpoint(text + more); (err == nil) != want {
			t.Errorf("%q behind the root: %v, want accepted %v", more, err, want)
		}
	}
}

// TestLIB14_Limit: a note may have up to maxNote bytes.
func TestLIB14_Limit(t *testing.T) {
	s := newSigner(t, origin, newEd25519(t))
	signed := sign(t, s, Checkpoint{Origin: origin, Size: 5}.Text())
	line := func(n int) string { return signatureLine(strings.Repeat("w", n), 7, make([]byte, 64)) }
	fill := maxNote - len(signed) - len(line(0))
	for n, want := range map[int]bool{fill: true, fill + 1: false} {
		text := signed + line(n)
		if _, err := s.Verifier().Open(text); (err == nil) != want {
			t.Errorf("%d bytes: %v, want accepted %v", len(text), err, want)
		}
	}
}

// recorder is a key that says what it was asked for, or that it cannot sign.
type recorder struct {
	*ecdsa.PrivateKey
	hash crypto.Hash
	err  error
}

func (r *recorder) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	r.hash = opts.HashFunc()
	if r.err != nil {
		return []byte{1}, r.err
	}
	return r.PrivateKey.Sign(random, digest, opts)
}

func TestSignerAsksForSHA256(t *testing.T) {
	key := &recorder{PrivateKey: newECDSA(t, elliptic.P256())}
	s := newSigner(t, origin, key)
	if _, err := s.SignCheckpoint(Checkpoint{Origin: origin}); err != nil || key.hash != crypto.SHA256 {
		t.Errorf("asked for %v, %v", key.hash, err)
	}
	key.err = errors.New("out of order")
	if _, err := s.SignCheckpoint(Checkpoint{Origin: origin}); !errors.Is(err, key.err) {
		t.Errorf("a key that cannot sign gives %v", err)
	}
	//lint:ignore SA1019 no other way leads to a key that is none
	if _, err := NewVerifier(origin, &ecdsa.PublicKey{Curve: elliptic.P256(), X: big.NewInt(1), Y: big.NewInt(1)}); err == nil {
		t.Error("a point off the curve verifies")
	}
}

// TestLIB16_LIB17_HintCollision: a name and a hint belong together. The log's hint
// is made the witness's here, for which one would otherwise try 2^32 keys.
func TestLIB16_LIB17_HintCollision(t *testing.T) {
	key := newEd25519(t)
	w := &Witness{Name: "witness.example", Key: key.Public().(ed25519.PublicKey)}
	hint := cosigner{w}.KeyHash()
	logKey := newEd25519(t)
	log := &Signer{noteKey: noteKey{name: origin, hint: hint, pub: logKey.Public()}, key: logKey}
	text := Checkpoint{Origin: origin, Size: 5}.Text()
	byLog := strings.TrimPrefix(sign(t, log, text), text+"\n")
	byWitness := signatureLine(w.Name, hint, append(make([]byte, 8), ed25519.Sign(key, CosignedText([]byte(text), 0))...))
	bad := signatureLine(w.Name, hint, make([]byte, cosignatureLength))
	if _, _, err := log.Verifier().OpenCosigned(text+"\n"+byLog+bad, []*Witness{w}); err == nil || errors.Is(err, ErrNotSigned) {
		t.Errorf("a bad cosignature under the log's hint: %v", err)
	}
	for _, tt := range []struct {
		name, note string
		want       int // cosigners; -1 is an error
	}{
		{"the log and the witness", text + "\n" + byLog + byWitness, 1}, {"the log alone", text + "\n" + byLog, 0}, {"the witness alone", text + "\n" + byWitness, -1},
	} {
		_, got, err := log.Verifier().OpenCosigned(tt.note, []*Witness{w})
		if (err != nil) != (tt.want < 0) || err == nil && len(got) != tt.want {
			t.Errorf("%s: %d cosigners, %v; want %d", tt.name, len(got), err, tt.want)
		}
	}
}

// TestLIB14_LIB15_LIB16_NoteSignatures changes the signature lines.
func TestLIB14_LIB15_LIB16_NoteSignatures(t *testing.T) {
	key := newEd25519(t)
	s := newSigner(t, origin, key)
	text := Checkpoint{Origin: origin, Size: 5}.Text()
	signed := sign(t, s, text)
	own := strings.TrimPrefix(signed, text+"\n")
	otherKey := newSigner(t, origin, newEd25519(t))
	otherName := newSigner(t, "other.example.com", key)
	witness := func(i int) string {
		w := newSigner(t, fmt.Sprintf("witness-%d.example", i), newEd25519(t))
		return strings.TrimPrefix(sign(t, w, text), text+"\n")
	}
	cosignatures := func(n int) string {
		var lines strings.Builder
		for i := range n {
			lines.WriteString(witness(i))
		}
		return lines.String()
	}
	garbage := make([]byte, ed25519.SignatureSize)
	sigOf := func(s *Signer, text string) []byte {
		sig, err := s.Sign([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return sig
	}
	for _, tt := range []struct {
		name, note string
		ok         bool
	}{
		{"signed by the log", signed, true},
		{"16 unknown cosignatures after", signed + cosignatures(16), true},
		{"16 unknown cosignatures before", text + "\n" + cosignatures(16) + own, true},
		{"a garbage signature of somebody unknown", signed + signatureLine("unknown", 7, garbage), true},
		{"101 signatures", signed + cosignatures(100), false},
		{"unsigned", text, false},
		{"unsigned, with blank line", text + "\n", false},
		{"by a witness only", text + "\n" + witness(1), false},
		{"by 16 witnesses only", text + "\n" + cosignatures(16), false},
		{"by another key under the log's name", sign(t, otherKey, text), false},
		{"by the log's key under another name", sign(t, otherName, text), false},
		{"by another key under the log's hint", text + "\n" + signatureLine(origin, s.KeyHash(), sigOf(otherKey, text)), false},
		{"hint collision before the true signature", text + "\n" + signatureLine(origin, s.KeyHash(), sigOf(otherKey, text)) + own, false},
		{"true signature under another hint", text + "\n" + signatureLine(origin, s.KeyHash()^1, sigOf(s, text)), false},
		{"true signature under another name", text + "\n" + signatureLine("other", s.KeyHash(), sigOf(s, text)), false},
		{"signature of another text", text + "\n" + signatureLine(origin, s.KeyHash(), sigOf(s, strings.Replace(text, "5", "6", 1))), false},
		{"signature of the text without its last line break", text + "\n" + signatureLine(origin, s.KeyHash(), sigOf(s, strings.TrimSuffix(text, "\n"))), false},
		{"empty signature", text + "\n" + signatureLine(origin, s.KeyHash(), nil), false},
		{"signature and a byte", text + "\n" + signatureLine(origin, s.KeyHash(), append(sigOf(s, text), 0)), false},
		{"hyphen for the dash", strings.Replace(signed, "—", "-", 1), false},
		{"no line break at the end", strings.TrimSuffix(signed, "\n"), false},
		{"CRLF", strings.ReplaceAll(signed, "\n", "\r\n"), false},
		{"blank line before", "\n" + signed, false},
		{"text after the signature", signed + "more\n", false},
		{"malformed line beside the true one", signed + "— nothing\n", false},
		{"NUL in a cosigner's name", signed + signatureLine("wit\x00ness", 7, garbage), false},
		{"control character in a cosigner's name", signed + signatureLine("wit\x1bness", 7, garbage), false},
		{"above the size limit", signed + strings.Repeat(signatureLine(strings.Repeat("w", 1000), 7, garbage), 140), false},
	} {
		if _, err := s.Verifier().Open(tt.note); (err == nil) != tt.ok {
			t.Errorf("%s: error is %v, want accepted %v", tt.name, err, tt.ok)
		}
	}
	for i := range len(signed) * 8 {
		flipped := []byte(signed)
		flipped[i/8] ^= 1 << (i % 8)
		if _, err := s.Verifier().Open(string(flipped)); err == nil {
			t.Fatalf("accepted with bit %d of byte %d flipped: %q", i%8, i/8, flipped)
		}
	}
}
