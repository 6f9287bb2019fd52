package verify_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"testing"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/tsp"
	"github.com/touchmark/touchmark/core/verify"
)

// BenchmarkVerify verifies keyless bundles of our own kind, JSON included: DSSE, a certificate with an SCT, a timestamp, and an
// entry of either kind of log. "unremembered" checks the trust root's own chains each time, "parsed" leaves out reading the JSON. "raw checks" makes only the
// signature checks that nobody can avoid: what Verify takes beyond that is its own.
func BenchmarkVerify(b *testing.B) {
	w := newWorld(b)
	for name, log := range map[string]*coretest.Log{"rekor v1": w.V1, "rekor v2": w.V2} {
		evidence := w.sign(b, coretest.SignOptions{Log: log})
		in := w.input(b, evidence)
		raw, err := bundle.Marshal(evidence)
		if err != nil {
			b.Fatal(err)
		}
		unremembered := w.Root()
		ask := func(in verify.Input, parse bool) func(*testing.B) {
			return func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if parse {
						if in.Evidence, err = bundle.Parse(raw); err != nil {
							b.Fatal(err)
						}
					}
					if _, err := verify.Verify(in); err != nil {
						b.Fatal(err)
					}
				}
			}
		}
		b.Run(name+"/json", ask(in, true))
		b.Run(name+"/parsed", ask(in, false))
		in.Root = unremembered
		b.Run(name+"/unremembered", ask(in, true))
		b.Run(name+"/raw checks", func(b *testing.B) { rawChecks(b, log.Promises) })
	}
}

// rawChecks makes the signature checks of one verification: the certificate, its timestamp, the signature and the RFC 3161 timestamp, all by
// P-256, and the log's.
func rawChecks(b *testing.B, v1 bool) {
	digest := sha256.Sum256([]byte("x"))
	sign := func(key crypto.Signer, message []byte, hash crypto.Hash) []byte {
		sig, err := key.Sign(rand.Reader, message, hash)
		if err != nil {
			b.Fatal(err)
		}
		return sig
	}
	p256 := ecKey(b, elliptic.P256())
	ec := sign(p256, digest[:], crypto.SHA256)
	ed := edKey(b)
	noted := sign(ed, digest[:], 0)
	checks := 4
	if v1 {
		checks = 6 // promise and checkpoint
	}
	for b.Loop() {
		for range checks {
			if !ecdsa.VerifyASN1(&p256.PublicKey, digest[:], ec) {
				b.Fatal("bad signature")
			}
		}
		if !v1 && !ed25519.Verify(ed.Public().(ed25519.PublicKey), digest[:], noted) {
			b.Fatal("bad signature")
		}
	}
}

// BenchmarkParts takes one verification apart.
func BenchmarkParts(b *testing.B) {
	w := newWorld(b)
	e := w.sign(b, coretest.SignOptions{})
	raw, err := bundle.Marshal(e)
	if err != nil {
		b.Fatal(err)
	}
	for name, part := range map[string]func() error{
		"bundle":      func() error { _, err := bundle.Parse(raw); return err },
		"certificate": func() error { _, err := x509.ParseCertificate(e.Certificates[0]); return err },
		"timestamp":   func() error { _, err := tsp.Parse(e.Timestamps[0]); return err },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := part(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
