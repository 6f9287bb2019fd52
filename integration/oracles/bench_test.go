package oracles

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	sgroot "github.com/sigstore/sigstore-go/pkg/root"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/verify"
)

// signatures are how many signatures somebody must check to verify a bundle, whatever else they do.
type signatures struct{ p256, p384, ed25519 int }

// needed are those of the three samples: of the leaf, its SCT, the bundle, and what the logs and timestamp authorities sign; and of the trust root's own chains.
var needed = map[string]struct{ bundle, chains signatures }{
	"public-good": {signatures{p256: 3, p384: 1}, signatures{p384: 1}}, // a promise and no proof, no timestamp
	"rekor v1":    {signatures{p256: 6}, signatures{p256: 3}},          // a promise and a proof
	"rekor v2":    {signatures{p256: 4, ed25519: 1}, signatures{p256: 3}},
}

// check prepares these checks.
func (s signatures) check(b *testing.B) func() error {
	digest := sha256.Sum256([]byte("x"))
	var all []func() bool
	for curve, n := range map[elliptic.Curve]int{elliptic.P256(): s.p256, elliptic.P384(): s.p384} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			b.Fatal(err)
		}
		sig, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
		if err != nil {
			b.Fatal(err)
		}
		for range n {
			all = append(all, func() bool { return ecdsa.VerifyASN1(&key.PublicKey, digest[:], sig) })
		}
	}
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	sig := ed25519.Sign(key, digest[:])
	for range s.ed25519 {
		all = append(all, func() bool { return ed25519.Verify(pub, digest[:], sig) })
	}
	return func() error {
		for _, good := range all {
			if !good() {
				return errors.New("bad signature")
			}
		}
		return nil
	}
}

// benchSamples are the bundle of a public-good signer that sigstore-go ships, and two of our own: DSSE, certificate with SCT, in Rekor v1 with promise, proof and timestamp,
// and in Rekor v2 with timestamp.
func benchSamples(b *testing.B) map[string]sample {
	b.Helper()
	samples := make(map[string]sample)
	for _, s := range fixtures(b) {
		if strings.HasPrefix(s.name, "bundle-provenance.json under public-good") {
			s.issuer, s.subject = "https://token.actions.githubusercontent.com", "https://github.com/sigstore/sigstore-js/.github/workflows/release.yml@refs/heads/main"
			samples["public-good"] = s
		}
	}
	if len(samples) == 0 {
		b.Fatal("sigstore-go ships no public-good bundle any more")
	}
	s := coretest.New(b)
	for name, log := range map[string]*coretest.Log{"rekor v1": s.V1, "rekor v2": s.V2} {
		text, err := bundle.Marshal(s.SignDigest(b, [32]byte{1}, coretest.SignOptions{Identity: coretest.Email("alice@acme.example"), Log: log}))
		if err != nil {
			b.Fatal(err)
		}
		samples[name] = sample{
			bundle: text, root: s.TrustedRootJSON(b), digest: verify.SHA256([32]byte{1}), issuer: coretest.Issuer, subject: "alice@acme.example",
		}
	}
	return samples
}

// BenchmarkVerify verifies each sample with both verifiers by turns, from the bundle's JSON. It reports how many times as fast ours is, and with what share of the
// allocations; and how many times as long as nothing but the signature checks that are needed, which nobody can beat.
//
//   - "remembered": the trust root was read before and has verified this bundle already, as in a server.
//   - "nothing remembered": the trust root is read from its JSON each time, and that is counted on both sides, as in a command.
//   - "verified only": the same with the reading left out on both sides. Ours checks the root's own chains while it reads it; so this flatters ours, and nothing is
//     claimed of it.
func BenchmarkVerify(b *testing.B) {
	samples := benchSamples(b)
	for _, name := range []string{"public-good", "rekor v1", "rekor v2"} {
		s := samples[name]
		our, their := mustJudge(b, s)
		bundle, chains := needed[name].bundle, needed[name].chains
		all := signatures{bundle.p256 + chains.p256, bundle.p384 + chains.p384, bundle.ed25519 + chains.ed25519}
		b.Run(name+"/remembered", func(b *testing.B) { compare(b, judged(our, s), judged(their, s), bundle) })
		b.Run(name+"/nothing remembered", func(b *testing.B) {
			compare(b, func(b *testing.B) func() error {
				return func() error {
					our, err := ours(s)
					if err != nil {
						return err
					}
					return our(s.bundle)
				}
			}, func(b *testing.B) func() error {
				return func() error {
					their, err := theirs(s)
					if err != nil {
						return err
					}
					return their(s.bundle)
				}
			}, all)
		})
		b.Run(name+"/verified only", func(b *testing.B) {
			compare(b, func(b *testing.B) func() error {
				root, err := trust.Parse("root", s.root)
				if err != nil {
					b.Fatal(err)
				}
				our, err := oursUnder(root, s)
				if err != nil {
					b.Fatal(err)
				}
				return func() error { return our(s.bundle) }
			}, func(b *testing.B) func() error {
				root, err := sgroot.NewTrustedRootFromJSON(s.root)
				if err != nil {
					b.Fatal(err)
				}
				their, err := theirsUnder(root, s)
				if err != nil {
					b.Fatal(err)
				}
				return func() error { return their(s.bundle) }
			}, all)
		})
	}
}

func judged(verdict judge, s sample) func(*testing.B) func() error {
	return func(*testing.B) func() error { return func() error { return verdict(s.bundle) } }
}

// compare runs both, and the signature checks that are needed, by turns and compares the fastest run of each: what else the machine does at the time only ever
// adds. prepare is not counted; it gives what is.
func compare(b *testing.B, prepareOurs, prepareTheirs func(*testing.B) func() error, need signatures) {
	var ourTimes, theirTimes, rawTimes []time.Duration
	raw := need.check(b)
	var ourAllocations, theirAllocations uint64
	for b.Loop() {
		took, allocations := measure(b, prepareOurs(b))
		ourTimes, ourAllocations = append(ourTimes, took), allocations
		took, allocations = measure(b, prepareTheirs(b))
		theirTimes, theirAllocations = append(theirTimes, took), allocations
		took, _ = measure(b, raw)
		rawTimes = append(rawTimes, took)
	}
	our, their, least := slices.Min(ourTimes), slices.Min(theirTimes), slices.Min(rawTimes)
	b.ReportMetric(float64(their)/float64(our), "times-as-fast")
	b.ReportMetric(float64(our)/1e3, "ours-µs")
	b.ReportMetric(float64(their)/1e3, "theirs-µs")
	b.ReportMetric(float64(least)/1e3, "needed-µs")
	b.ReportMetric(float64(our)/float64(least), "of-needed")
	b.ReportMetric(float64(ourAllocations), "ours-allocs")
	b.ReportMetric(float64(ourAllocations)/float64(theirAllocations), "of-their-allocs")
	b.ReportMetric(0, "ns/op") // of both together: says nothing
}

func measure(b *testing.B, run func() error) (time.Duration, uint64) {
	b.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	err := run()
	took := time.Since(start)
	if err != nil {
		b.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	return took, after.Mallocs - before.Mallocs
}
