package coretest

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/tlog"
)

// Witness cosigns checkpoints, whatever they say.
type Witness struct {
	Key  ed25519.PrivateKey
	Name string
}

// NewWitness makes a witness.
func NewWitness(tb testing.TB, name string) *Witness {
	tb.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return &Witness{Key: key, Name: name}
}

// Witness is what a verifier knows of it.
func (w *Witness) Witness() *tlog.Witness {
	return &tlog.Witness{Name: w.Name, Key: w.Key.Public().(ed25519.PublicKey)}
}

// Cosign returns the signed note with the witness's cosignature of a time added to it.
func (w *Witness) Cosign(tb testing.TB, note string, at time.Time) string {
	tb.Helper()
	text, _, found := strings.Cut(note, "\n\n")
	if !found {
		tb.Fatalf("%q is not a signed note", note)
	}
	hint, err := hex.DecodeString(strings.Split(w.Witness().String(), "+")[1])
	if err != nil {
		tb.Fatal(err)
	}
	seconds := uint64(at.Unix())
	signature := binary.BigEndian.AppendUint64(hint, seconds)
	signature = append(signature, ed25519.Sign(w.Key, tlog.CosignedText([]byte(text+"\n"), seconds))...)
	return note + "— " + w.Name + " " + base64.StdEncoding.EncodeToString(signature) + "\n"
}
