package oracles

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"regexp"
	"sync"
	"sync/atomic"
	"testing"
	"testing/cryptotest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	trustpb "github.com/sigstore/protobuf-specs/gen/pb-go/trustroot/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/identity"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/verify"
)

// flipEvery is how many bits lie between two that are flipped, on average: 101, or as FLIP_EVERY says (make torture flips each one).
func flipEvery(tb testing.TB) int { return int(setting(tb, "FLIP_EVERY", 101)) }

// unsigned are the values in a bundle of which bits may flip, as nothing signs them and no verdict leans on them.
var unsigned = []place{
	{regexp.MustCompile(`^mediaType$`), "versions of the format differ in what they demand: this bundle has all that the other demands"},
	{regexp.MustCompile(`^verificationMaterial\.publicKey(\.hint)?$`), "the hint may help to find a key, here the verifier has it"},
	{regexp.MustCompile(`^verificationMaterial\.tlogEntries\[0\]\.integratedTime$`), "of an entry without a promise: no time is taken from it"},
	{regexp.MustCompile(`^verificationMaterial\.tlogEntries\[0\]\.logIndex$`), "of a Rekor v1 entry without a promise: it is the index over all shards, and the proof is for the tree's own"},
}

// unsignedInRoot are the values in a trust root of which bits may flip with the verdict unchanged. The file itself is what the verifier trusts.
var unsignedInRoot = []place{
	{regexp.MustCompile(`(baseUrl|uri|operator)$`), "names for people; of a Rekor v2 log's URL only the host counts"},
	{regexp.MustCompile(`\.subject\.`), "names for people: the certificates have their own"},
	{regexp.MustCompile(`validFor\.(start|end)(\.(seconds|nanos))?$`), "the window still has the time of the signature in it"},
	{regexp.MustCompile(`checkpointKeyId`), "the key says which log it is"},
	{regexp.MustCompile(`^certificateAuthorities\[0\]\.certChain\.certificates\[1\]\.rawBytes$`),
		"the anchor itself: its own signature, serial number and validity in years are nobody else's statement, the file says that it is trusted"},
	{regexp.MustCompile(`^timestampAuthorities\[0\]\.certChain\.certificates\[[12]\]\.rawBytes$`),
		"the anchor itself, as with certificate authorities"},
}

// flipped is good evidence in which nothing is there twice, so that no part can stand in for another, under a trust root of which each part is needed.
type flipped struct {
	name     string
	in       input
	evidence *bundle.Evidence
	want     *verify.Result
}

// flipSamples makes two dozen: every content, log, kind of signer and source of time, and some kinds of keys.
func flipSamples(t *testing.T) []flipped {
	t.Helper()
	cryptotest.SetGlobalRandom(t, 1)
	c := newCast(t)
	var all []flipped
	for n := range 24 {
		insist := func(s *shape) {
			*s = shape{
				message: n&1 != 0, v2: n&2 != 0, keyed: n&4 != 0, promise: n&8 != 0, intoto: n%5 == 0, mediaType: bundle.MediaTypeV03,
				algorithm: []int{p256, p256, p384, rsa2048, ed25519Key}[n/5],
			}
			s.timestamp = !s.keyed && (!s.promise || s.v2)
		}
		d := newDraft(t, rand.New(rand.NewPCG(1, uint64(n))), c, insist)
		d.trusting(func(r *trust.Root) {
			r.CTLogs, r.TimestampAuthorities = r.CTLogs[:1], r.TimestampAuthorities[:1]
			r.Logs = []trust.Log{*r.FindLog(d.log.ID)}
			if d.shape.keyed {
				r.CTLogs, r.CertificateAuthorities = nil, nil
			}
			if !d.shape.timestamp {
				r.TimestampAuthorities = nil
			}
		})
		in, err := d.finish()
		if err != nil {
			t.Fatal(err)
		}
		s := flipped{name: fmt.Sprintf("%d %+v", n, d.shape), in: in}
		if s.evidence, err = bundle.Parse(in.bundle); err != nil {
			t.Fatal(err)
		}
		if s.want, err = s.verify(s.evidence, in.read.our, in.digest); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		all = append(all, s)
	}
	return all
}

func (s flipped) verify(evidence *bundle.Evidence, root *trust.Root, digest verify.Digest) (*verify.Result, error) {
	signer := verify.Keyed(verify.Key{Name: "key", Public: s.in.key})
	if s.in.key == nil {
		m, err := identity.NewMatcher(identity.Spec{Issuer: s.in.issuer, Subject: s.in.subject})
		if err != nil {
			return nil, err
		}
		signer = verify.Keyless(m)
	}
	return verify.Verify(verify.Input{Evidence: evidence, Artifact: digest, Signer: signer, Root: root, PredicateType: s.in.predicateType})
}

// eachFlip calls f with copies of a text in which one bit is flipped, from two goroutines: each bit, or a share of them.
func eachFlip(t *testing.T, text []byte, f func(bit int, changed []byte)) {
	t.Helper()
	every := flipEvery(t)
	random := rand.New(rand.NewPCG(campaignSeed(t), uint64(len(text))))
	bits := make(chan int, 64)
	var workers sync.WaitGroup
	for range 2 {
		workers.Go(func() {
			for bit := range bits {
				changed := bytes.Clone(text)
				changed[bit/8] ^= 1 << (bit % 8)
				f(bit, changed)
			}
		})
	}
	for bit := range 8 * len(text) {
		if every == 1 || random.IntN(every) == 0 {
			bits <- bit
		}
	}
	close(bits)
	workers.Wait()
}

// Any single bit of good bundles flipped: refused, or the very same verdict and the bit lies in a value that is listed.
func TestLIB35_EveryBitOfBundles(t *testing.T) {
	var tried, read, accepted atomic.Int64
	for _, s := range flipSamples(t) {
		original := readBundle(t, s.in.bundle)
		eachFlip(t, s.in.bundle, func(bit int, changed []byte) {
			tried.Add(1)
			evidence, err := bundle.Parse(changed)
			if err != nil {
				return
			}
			read.Add(1)
			got, err := s.verify(evidence, s.in.read.our, s.in.digest)
			if err != nil {
				return
			}
			accepted.Add(1)
			if diff := cmp.Diff(s.want, got, cmpopts.EquateEmpty(), cmpopts.IgnoreFields(verify.Result{}, "Checks")); diff != "" {
				t.Errorf("%s: bit %d: another verdict:\n%s", s.name, bit, diff)
			}
			b := readBundle(t, changed)
			if path := difference(original.ProtoReflect(), b.ProtoReflect()); path != "text" && !listed(unsigned, path) {
				t.Errorf("%s: bit %d: accepted with another %s:\n%s", s.name, bit, path, changed)
			}
		})
	}
	t.Logf("%d bits flipped, %d copies can be read, %d are accepted", tried.Load(), read.Load(), accepted.Load())
}

// Any single bit of the artifact flipped, or of its digest: refused.
func TestLIB35_EveryBitOfArtifacts(t *testing.T) {
	for _, s := range flipSamples(t) {
		for bit := range 8 * len(s.in.artifact) {
			changed := bytes.Clone(s.in.artifact)
			changed[bit/8] ^= 1 << (bit % 8)
			if _, err := s.verify(s.evidence, s.in.read.our, verify.SHA256(sha256.Sum256(changed))); err == nil {
				t.Errorf("%s: accepted for an artifact with bit %d flipped", s.name, bit)
			}
		}
		for bit := range 256 {
			digest := [32]byte(s.in.digest.Value)
			digest[bit/8] ^= 1 << (bit % 8)
			if _, err := s.verify(s.evidence, s.in.read.our, verify.SHA256(digest)); err == nil {
				t.Errorf("%s: accepted for a digest with bit %d flipped", s.name, bit)
			}
		}
	}
}

// Any single bit of the trust root flipped: unreadable, or the evidence is refused, or the verdict is the same and the bit lies in a value that is listed.
func TestLIB35_EveryBitOfRoots(t *testing.T) {
	var tried, read, accepted atomic.Int64
	for _, s := range flipSamples(t) {
		original := readRootProto(t, s.in.sample.root)
		eachFlip(t, s.in.sample.root, func(bit int, changed []byte) {
			tried.Add(1)
			root, err := trust.Parse("root", changed)
			if err != nil {
				return
			}
			read.Add(1)
			got, err := s.verify(s.evidence, root, s.in.digest)
			if err != nil {
				return
			}
			accepted.Add(1)
			names := cmpopts.IgnoreFields(verify.Result{}, "Checks")
			urls := cmp.Options{cmpopts.IgnoreFields(verify.Time{}, "URI"), cmpopts.IgnoreFields(verify.LogEntry{}, "Log")}
			if diff := cmp.Diff(s.want, got, cmpopts.EquateEmpty(), names, urls); diff != "" {
				t.Errorf("%s: bit %d: another verdict:\n%s", s.name, bit, diff)
			}
			if path := difference(original, readRootProto(t, changed)); path != "text" && !listed(unsignedInRoot, path) {
				t.Errorf("%s: bit %d: accepted with another %s:\n%s", s.name, bit, path, changed)
			}
		})
	}
	t.Logf("%d bits flipped, %d roots can be read, %d accept the evidence", tried.Load(), read.Load(), accepted.Load())
}

func readRootProto(tb testing.TB, text []byte) protoreflect.Message {
	tb.Helper()
	root := new(trustpb.TrustedRoot)
	if err := protojson.Unmarshal(text, root); err != nil {
		tb.Fatal(err)
	}
	return root.ProtoReflect()
}

// Several Sigstores certify the same identity under the same issuer's name, and each of them has signed several artifacts. Of all combinations of bundle, artifact and
// trust root only those are admitted that belong together.
func TestLIB44_LIB01_OnlyTheDiagonal(t *testing.T) {
	const n = 6
	cryptotest.SetGlobalRandom(t, 2)
	type signed struct {
		flipped
		sigstore int
	}
	var all []signed
	for sigstore := range n {
		c := newCast(t)
		for number := range n {
			keylessUsual := both(usually, keyless, func(s *shape) { s.predicate = "" })
			d := newDraft(t, rand.New(rand.NewPCG(4, uint64(number))), c, keylessUsual) // the same artifacts in each
			in, err := d.finish()
			if err != nil {
				t.Fatal(err)
			}
			evidence, err := bundle.Parse(in.bundle)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, signed{flipped{in: in, evidence: evidence}, sigstore})
		}
	}
	admitted := 0
	for _, b := range all {
		for _, root := range all {
			if root.in.artifact == nil || !bytes.Equal(root.in.artifact, all[0].in.artifact) {
				continue // one of each Sigstore
			}
			for _, artifact := range all[:n] {
				_, err := b.verify(b.evidence, root.in.read.our, artifact.in.digest)
				belongs := b.sigstore == root.sigstore && bytes.Equal(b.in.artifact, artifact.in.artifact)
				if (err == nil) != belongs {
					t.Errorf("bundle of Sigstore %d for %q, root of %d, asked about %q: %v", b.sigstore, b.in.artifact, root.sigstore, artifact.in.artifact, err)
				}
				if err == nil {
					admitted++
				}
			}
		}
	}
	if admitted != n*n {
		t.Errorf("%d combinations are admitted, want %d of %d", admitted, n*n, n*n*n*n)
	}
}
