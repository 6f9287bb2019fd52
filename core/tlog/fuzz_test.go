package tlog_test

import (
	"bytes"
	"crypto/ed25519"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/tlog"
)

// FuzzOpen asserts that a note that is opened was signed by the log, reads as x/mod reads it, and that its checkpoint is written as it was read.
func FuzzOpen(f *testing.F) {
	key := func(n byte) ed25519.PrivateKey {
		return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))
	} // the same in every process
	log := coretest.NewLogV2(f)
	log.Key = key(1)
	verifier, err := tlog.NewVerifier(log.Name, log.Key.Public())
	if err != nil {
		f.Fatal(err)
	}
	signer, err := tlog.NewSigner(log.Name, log.Key)
	if err != nil {
		f.Fatal(err)
	}
	known, unknown := &coretest.Witness{Name: "witness.example/known", Key: key(2)}, &coretest.Witness{Name: "witness.example/unknown", Key: key(3)}
	signed := log.Checkpoint(f, tlog.Checkpoint{Origin: log.Origin, Size: 7, Root: [32]byte{1}})
	seeds := []string{signed, known.Cosign(f, signed, coretest.Start), unknown.Cosign(f, known.Cosign(f, signed, coretest.Start), coretest.Start)}
	for n, seed := range seeds {
		if _, _, err := verifier.OpenCosigned(seed, []*tlog.Witness{known.Witness()}); err != nil {
			f.Fatalf("seed %d is not good any more: %v", n, err)
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		cp, witnesses, err := verifier.OpenCosigned(text, []*tlog.Witness{known.Witness()})
		plain, plainErr := verifier.Open(text)
		if err == nil && (plainErr != nil || plain != cp) {
			t.Fatalf("with witnesses it is %v, without %v, %v", cp, plain, plainErr)
		}
		if plainErr != nil {
			return
		}
		if _, err := note.Open([]byte(text), note.VerifierList(modVerifier{signer})); err != nil {
			t.Fatalf("x/mod: %v", err)
		}
		lines := strings.SplitAfterN(text, "\n", 4) // an extension line may follow
		if got := strings.Join(lines[:3], ""); got != plain.Text() {
			t.Fatalf("read %q, written %q", got, plain.Text())
		}
		if len(witnesses) > 1 {
			t.Fatalf("one witness is known, %d are reported", len(witnesses))
		}
	})
}

// modVerifier is x/mod's view of a log's key.
type modVerifier struct{ *tlog.Signer }

// FuzzParseWitness asserts that a key that is read is written as it was.
func FuzzParseWitness(f *testing.F) {
	seed := coretest.NewWitness(f, "witness.example/w1").Witness().String()
	if _, err := tlog.ParseWitness(seed); err != nil {
		f.Fatalf("the seed is not good any more: %v", err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, text string) {
		w, err := tlog.ParseWitness(text)
		if err == nil && w.String() != text {
			t.Fatalf("read %q, written %q", text, w.String())
		}
	})
}
