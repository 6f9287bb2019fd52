package oracles

import (
	"slices"
	"testing"
	"time"

	sgbundle "github.com/sigstore/sigstore-go/pkg/bundle"
	sgroot "github.com/sigstore/sigstore-go/pkg/root"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/identity"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/verify"
)

// BenchmarkVerify verifies the same keyless bundles of a fresh Sigstore (certificate with SCT, log entry with proof, timestamp) with both verifiers, from their
// JSON and from the parsed form. The trust root is read before: both keep it for long.
func BenchmarkVerify(b *testing.B) {
	s := coretest.New(b)
	for _, one := range own(b, s, [32]byte{1}) {
		if one.key != nil {
			continue
		}
		benchmarkBoth(b, one)
	}
}

// benchmarkBoth runs each verifier by itself, and both by turns.
func benchmarkBoth(b *testing.B, s sample) {
	our, their := mustJudge(b, s)
	ourParsed, theirParsed := parsed(b, s)
	b.Run("touchmark/with parse/"+s.name, func(b *testing.B) { benchmark(b, our, s.bundle) })
	b.Run("sigstore-go/with parse/"+s.name, func(b *testing.B) { benchmark(b, their, s.bundle) })
	b.Run("touchmark/parsed/"+s.name, func(b *testing.B) { benchmark(b, ourParsed, nil) })
	b.Run("sigstore-go/parsed/"+s.name, func(b *testing.B) { benchmark(b, theirParsed, nil) })
	b.Run("ratio/with parse/"+s.name, func(b *testing.B) { benchmarkRatio(b, our, their, s.bundle) })
	b.Run("ratio/parsed/"+s.name, func(b *testing.B) { benchmarkRatio(b, ourParsed, theirParsed, nil) })
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
