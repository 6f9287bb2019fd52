package verify_test

import (
	"crypto/x509"
	"testing"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/tsp"
	"github.com/touchmark/touchmark/core/verify"
)

// BenchmarkVerify verifies keyless bundles of our own kind, JSON included: DSSE, a certificate with an SCT, a timestamp, and an
// entry of either kind of log. "unremembered" checks the trust root's own chains each time, "parsed" leaves out reading the JSON. The oracles' benchmark of the
// same name stands beside the signature checks that nobody can avoid.
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
