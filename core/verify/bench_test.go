package verify_test

import (
	"crypto/sha256"
	"testing"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/identity"
	"github.com/touchmark/touchmark/core/verify"
)

// BenchmarkVerify verifies a keyless bundle: certificate, SCT, log entry with
// promise and proof, timestamp. "parsed" leaves out reading the JSON.
func BenchmarkVerify(b *testing.B) {
	s := coretest.New(b)
	digest := sha256.Sum256([]byte("an image"))
	evidence := s.SignDigest(b, digest, coretest.SignOptions{Identity: coretest.Email("alice@acme.example")})
	raw, err := bundle.Marshal(evidence)
	if err != nil {
		b.Fatal(err)
	}
	m, err := identity.NewMatcher(identity.Spec{Issuer: coretest.Issuer, Subject: "alice@acme.example"})
	if err != nil {
		b.Fatal(err)
	}
	in := verify.Input{Evidence: evidence, Artifact: verify.SHA256(digest), Root: s.TrustedRoot(b), Signer: verify.Keyless(m)}
	b.Run("parsed", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := verify.Verify(in); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			in := in
			if in.Evidence, err = bundle.Parse(raw); err != nil {
				b.Fatal(err)
			}
			if _, err := verify.Verify(in); err != nil {
				b.Fatal(err)
			}
		}
	})
}
