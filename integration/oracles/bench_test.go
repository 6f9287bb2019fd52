package oracles

import (
	"testing"

	sgbundle "github.com/sigstore/sigstore-go/pkg/bundle"
	sgroot "github.com/sigstore/sigstore-go/pkg/root"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/identity"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/verify"
)

// BenchmarkVerify verifies the same keyless bundle of a fresh Sigstore (certificate with SCT, log entry with promise and proof, timestamp), from its JSON and from
// the parsed form. The trust root is read before: both keep it for long.
func BenchmarkVerify(b *testing.B) {
	s := coretest.New(b)
	for _, one := range own(b, s, [32]byte{1}) {
		if one.key != nil {
			continue
		}
		b.Run(one.name+"/with parse/touchmark", func(b *testing.B) { benchmark(b, mustOurs(b, one), one.bundle) })
		b.Run(one.name+"/with parse/sigstore-go", func(b *testing.B) { benchmark(b, mustTheirs(b, one), one.bundle) })
		b.Run(one.name+"/parsed/touchmark", func(b *testing.B) { benchmarkOursParsed(b, one) })
		b.Run(one.name+"/parsed/sigstore-go", func(b *testing.B) { benchmarkTheirsParsed(b, one) })
	}
}

func mustOurs(b *testing.B, s sample) judge {
	our, _ := mustJudge(b, s)
	return our
}

func mustTheirs(b *testing.B, s sample) judge {
	_, their := mustJudge(b, s)
	return their
}

func benchmark(b *testing.B, verdict judge, text []byte) {
	b.ReportAllocs()
	for b.Loop() {
		if err := verdict(text); err != nil {
			b.Fatal(err)
		}
	}
}

func benchmarkOursParsed(b *testing.B, s sample) {
	root, err := trust.Parse("root", s.root)
	if err != nil {
		b.Fatal(err)
	}
	anybody, err := identity.NewMatcher(identity.Spec{IssuerRegExp: ".*", SubjectRegExp: ".*"})
	if err != nil {
		b.Fatal(err)
	}
	evidence, err := bundle.Parse(s.bundle)
	if err != nil {
		b.Fatal(err)
	}
	in := verify.Input{Evidence: evidence, Artifact: s.digest, Signer: verify.Keyless(anybody), Root: root}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := verify.Verify(in); err != nil {
			b.Fatal(err)
		}
	}
}

func benchmarkTheirsParsed(b *testing.B, s sample) {
	root, err := sgroot.NewTrustedRootFromJSON(s.root)
	if err != nil {
		b.Fatal(err)
	}
	verifier, policy, err := reference(s, root)
	if err != nil {
		b.Fatal(err)
	}
	parsed := new(sgbundle.Bundle)
	if err := parsed.UnmarshalJSON(s.bundle); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := verifier.Verify(parsed, policy); err != nil {
			b.Fatal(err)
		}
	}
}
