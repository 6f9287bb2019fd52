package oracles

import (
	"crypto/sha256"
	"slices"
	"testing"
	"time"

	sgbundle "github.com/sigstore/sigstore-go/pkg/bundle"
	sgroot "github.com/sigstore/sigstore-go/pkg/root"
	sgsign "github.com/sigstore/sigstore-go/pkg/sign"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/identity"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/verify"
)

// BenchmarkVerify verifies one keyless bundle that our services made (DSSE, certificate with SCT, Rekor v1 entry with promise and proof, timestamp) with both
// verifiers, from its JSON and from the parsed form. The trust root is read before: both keep it for long.
func BenchmarkVerify(b *testing.B) {
	s := startStack(b)
	digest := sha256.Sum256([]byte("manifest"))
	text, _ := s.referenceSigned(b, &sgsign.DSSEData{PayloadType: "application/vnd.in-toto+json", Data: coretest.Statement(digest, "", "")}, true, 1)
	one := sample{bundle: text, root: s.root, digest: verify.SHA256(digest)}
	our, their := mustJudge(b, one)
	ourParsed, theirParsed := parsed(b, one)
	b.Run("touchmark/with parse", func(b *testing.B) { benchmark(b, our, one.bundle) })
	b.Run("sigstore-go/with parse", func(b *testing.B) { benchmark(b, their, one.bundle) })
	b.Run("touchmark/parsed", func(b *testing.B) { benchmark(b, ourParsed, nil) })
	b.Run("sigstore-go/parsed", func(b *testing.B) { benchmark(b, theirParsed, nil) })
	b.Run("ratio/with parse", func(b *testing.B) { benchmarkRatio(b, our, their, one.bundle) })
	b.Run("ratio/parsed", func(b *testing.B) { benchmarkRatio(b, ourParsed, theirParsed, nil) })
}

// BenchmarkVerifyRekorV2 is the same of a bundle with a Rekor v2 entry, by turns only.
func BenchmarkVerifyRekorV2(b *testing.B) {
	s := coretest.New(b)
	evidence := s.SignDigest(b, [32]byte{1}, coretest.SignOptions{Identity: coretest.Email("alice@acme.example"), Log: s.V2})
	text, err := bundle.Marshal(evidence)
	if err != nil {
		b.Fatal(err)
	}
	one := sample{bundle: text, root: s.TrustedRootJSON(b), digest: verify.SHA256([32]byte{1})}
	our, their := mustJudge(b, one)
	b.Run("ratio/with parse", func(b *testing.B) { benchmarkRatio(b, our, their, one.bundle) })
}

// benchmarkRatio runs both verifiers by turns and reports how many times as fast ours is, by the fastest run of each: what else the machine does at the time
// only ever adds.
func benchmarkRatio(b *testing.B, our, their judge, text []byte) {
	var ourTimes, theirTimes []time.Duration
	for b.Loop() {
		ourTimes = append(ourTimes, timed(b, our, text))
		theirTimes = append(theirTimes, timed(b, their, text))
	}
	b.ReportMetric(float64(slices.Min(theirTimes))/float64(slices.Min(ourTimes)), "times-as-fast")
}

func timed(b *testing.B, verdict judge, text []byte) time.Duration {
	start := time.Now()
	if err := verdict(text); err != nil {
		b.Fatal(err)
	}
	return time.Since(start)
}

func benchmark(b *testing.B, verdict judge, text []byte) {
	b.ReportAllocs()
	for b.Loop() {
		if err := verdict(text); err != nil {
			b.Fatal(err)
		}
	}
}

// parsed prepares both verifiers for a bundle that is parsed already; their argument is ignored.
func parsed(b *testing.B, s sample) (our, their judge) {
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
	theirRoot, err := sgroot.NewTrustedRootFromJSON(s.root)
	if err != nil {
		b.Fatal(err)
	}
	verifier, policy, err := reference(s, theirRoot)
	if err != nil {
		b.Fatal(err)
	}
	entity := new(sgbundle.Bundle)
	if err := entity.UnmarshalJSON(s.bundle); err != nil {
		b.Fatal(err)
	}
	our = func([]byte) error {
		_, err := verify.Verify(in)
		return err
	}
	their = func([]byte) error {
		_, err := verifier.Verify(entity, policy)
		return err
	}
	return our, their
}
