package oracles

import (
	"bytes"
	"maps"
	"regexp"
	"slices"
	"testing"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// place is where a bundle may be changed, and why.
type place struct {
	path *regexp.Regexp
	why  string
}

// divergences are the places where ours accepts what sigstore-go refuses, and why that is right. Everything else is a failure.
var divergences = []place{
	{regexp.MustCompile(`^dsseEnvelope\.signatures(\[0\](\.keyid)?)?$`),
		"the DSSE specification: keyid is an unauthenticated hint with any content; sigstore-go wants it empty or an SSH fingerprint"},
}

// unauthenticated are the changes that may leave the verdict as it is, because neither verifier needs what was changed. That is the whole list.
var unauthenticated = []place{
	{regexp.MustCompile(`^mediaType: from donor`),
		"versions of the format differ in what they demand: this bundle has all that the other demands"},
	{regexp.MustCompile(`^verificationMaterial\.publicKey(\.hint)?: `),
		"the hint may help to find a key, here the verifier has it"},
	{regexp.MustCompile(`^verificationMaterial\.x509CertificateChain\.certificates(\[[1-9]\]|: )`),
		"only the leaf is evidence: authorities come from the trust root"},
	{regexp.MustCompile(`^verificationMaterial\.tlogEntries: donor's (behind|in front)$`),
		"an entry of a log that the trust root doesn't know is skipped, the good one counts"},
	{regexp.MustCompile(`^verificationMaterial\.tlogEntries\[0\]\.inclusionPromise: (dropped|null)$`),
		"there is a proof, and a timestamp says when, or a key needs no time"},
	{regexp.MustCompile(`^verificationMaterial\.tlogEntries\[0\]\.inclusionProof: (dropped|null)$`),
		"bundles of version 0.1 need only the promise"},
	{regexp.MustCompile(`^verificationMaterial\.timestampVerificationData\.rfc3161Timestamps: (donor's|first repeated)`),
		"timestamps of another signature or of an unknown authority are skipped, the good one counts"},
}

// needlessTime are the changes of timestamps that do not matter where a key needs no time or a log's promise gives it.
var needlessTime = []place{
	{regexp.MustCompile(`^verificationMaterial\.timestampVerificationData`),
		"a timestamp that does not verify is skipped"},
}

// tally counts the tampered copies of one bundle.
type tally struct {
	copies   int
	both     map[string]int    // accepted by both verifiers, by place
	example  map[string][]byte // one of these copies, for each place
	diverged int
}

// tamper judges every mutation of a good sample by both verifiers. Ours may accept only what sigstore-go accepts, too.
func tamper(t *testing.T, s sample, donors ...[]byte) tally {
	t.Helper()
	our, their := mustJudge(t, s)
	if err := our(s.bundle); err != nil {
		t.Fatalf("ours refuses the good bundle: %v", err)
	}
	if err := their(s.bundle); err != nil {
		t.Fatalf("sigstore-go refuses the good bundle: %v", err)
	}
	result := tally{both: make(map[string]int), example: make(map[string][]byte)}
	for _, m := range mutations(t, s.bundle, donors...) {
		if our(m.text) != nil {
			result.copies++
			continue
		}
		if sameMeaning(s.bundle, m.text) {
			continue
		}
		result.copies++
		err := their(m.text)
		if err == nil {
			path := m.path + ": " + m.what
			result.both[path]++
			result.example[path] = m.text
			continue
		}
		if listed(divergences, m.path) {
			result.diverged++
			continue
		}
		t.Errorf("CAMPAIGN_SEED=%d: %s, %s: ours accepts, sigstore-go refuses: %v\n%s\nwas\n%s", campaignSeed(t), m.path, m.what, err, m.text, s.bundle)
	}
	return result
}

// sameMeaning reports whether two bundles differ in nothing but JSON's own liberties: order, the alphabet of base64, an enumeration's number.
func sameMeaning(a, b []byte) bool {
	var x, y protobundle.Bundle
	return protojson.Unmarshal(a, &x) == nil && protojson.Unmarshal(b, &y) == nil && proto.Equal(&x, &y)
}

// listed reports whether a mutation changed one of the places.
func listed(places []place, path string) bool {
	return slices.ContainsFunc(places, func(p place) bool { return p.path.MatchString(path) })
}

// report prints what was counted, and fails if something was accepted that should matter.
func (r tally) report(t *testing.T, s sample) {
	t.Helper()
	allowed := unauthenticated
	if s.key != nil || bytes.Contains(s.bundle, []byte("signedEntryTimestamp")) {
		allowed = append(slices.Clone(allowed), needlessTime...)
	}
	n := 0
	for _, path := range slices.Sorted(maps.Keys(r.both)) {
		n += r.both[path]
		if !listed(allowed, path) {
			t.Errorf("CAMPAIGN_SEED=%d: accepted by both verifiers: %s (%d), such as\n%s\nwas\n%s", campaignSeed(t), path, r.both[path], r.example[path], s.bundle)
		}
	}
	t.Logf("%d tampered copies: ours refuses %d, both accept %d, ours alone %d (all known)", r.copies, r.copies-n-r.diverged, n, r.diverged)
	if r.copies < 300 {
		t.Errorf("only %d tampered copies: the test shows little", r.copies)
	}
}

// Real bundles, every field tampered with.
func TestLIB35_TamperedFixtures(t *testing.T) {
	samples := fixtures(t)
	var donors [][]byte
	for _, s := range samples {
		if !slices.ContainsFunc(donors, func(d []byte) bool { return bytes.Equal(d, s.bundle) }) {
			donors = append(donors, s.bundle)
		}
	}
	var good int
	for _, s := range samples {
		our, err := ours(s)
		if err != nil {
			t.Fatal(err)
		}
		if our(s.bundle) != nil {
			continue // TestLIB35_FixturesAgree says that sigstore-go refuses it, too
		}
		good++
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			tamper(t, s, donors...).report(t, s)
		})
	}
	if good == 0 {
		t.Error("no fixture is good")
	}
}
