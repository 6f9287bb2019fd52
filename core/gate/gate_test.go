package gate_test

import (
	"crypto"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/identity"
	"github.com/touchmark/touchmark/core/tlog/entry"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/verify"
)

func keyed(tb testing.TB, name string, key crypto.Signer, rest string) string {
	tb.Helper()
	text, err := entry.PublicKeyPEM(key.Public())
	if err != nil {
		tb.Fatal(err)
	}
	return fmt.Sprintf("  - name: %s\n    key:\n      data: |\n        %s\n%s", name, strings.ReplaceAll(strings.TrimSpace(string(text)), "\n", "\n        "), rest)
}

// TestA045_SignedAndUnsigned is the plain story, with evidence in both forms.
func TestA045_A003_SignedAndUnsigned(t *testing.T) {
	for name, content := range map[string]coretest.Content{"bundle": coretest.DSSE, ".sig": coretest.SimpleSigning} {
		w := newWorld(t, release)
		require(t, name+": unsigned", w.admit(t, w.image), gate.OutcomeRefused, gate.CodeUnsigned)
		w.attach(t, w.image, w.sign(t, w.image, coretest.SignOptions{Identity: mallory, Content: content}))
		w.clock.Advance(time.Minute)
		v := w.admit(t, w.image)
		require(t, name+": wrong signer", v, gate.OutcomeRefused, gate.CodeNotAcceptable)
		if len(v.Signatures) != 1 || v.Signatures[0].Attempts[0].Code != verify.CodeIdentity || !strings.Contains(v.Reason, "mallory@evil.example") {
			t.Errorf("%s: the verdict does not say who signed: %s, %+v", name, v.Reason, v.Signatures)
		}
		w.attach(t, w.image, w.sign(t, w.image, coretest.SignOptions{Identity: alice, Content: content}))
		w.clock.Advance(time.Minute)
		v = w.admit(t, w.image)
		require(t, name+": signed", v, gate.OutcomeAdmitted, gate.CodeAdmitted)
		if len(v.Signatures) != 2 || !v.Policies[0].Satisfied || v.Policies[0].Authority != "team" || len(v.Roots) != 1 || len(v.Lookups) == 0 {
			t.Errorf("%s: verdict is %+v", name, v)
		}
		if _, err := json.Marshal(v); err != nil {
			t.Error(err)
		}
		// Another image of the repository is not signed by that.
		other := w.push(t, "v2", coretest.Image(t, 2))
		require(t, name+": another image", w.admit(t, other), gate.OutcomeRefused, gate.CodeUnsigned)
		// Nor by its evidence laid beside it.
		w.attach(t, other, w.sign(t, w.image, coretest.SignOptions{Identity: alice, Content: content}))
		w.clock.Advance(time.Minute)
		v = w.admit(t, other)
		require(t, name+": another image's signature", v, gate.OutcomeRefused, gate.CodeNotAcceptable)
		if v.Signatures[0].Attempts[0].Code != verify.CodeWrongArtifact {
			t.Errorf("%s: code is %s", name, v.Signatures[0].Attempts[0].Code)
		}
	}
}

// TestA071_TamperedSignatures: bad signatures refuse, and hide no good one.
func TestA049_A071_TamperedSignatures(t *testing.T) {
	w := newWorld(t, release)
	for i := range 5 {
		e := w.sign(t, w.image, coretest.SignOptions{Identity: alice})
		e.Envelope.Signature[10+i] ^= 1
		w.attach(t, w.image, e)
	}
	v := w.admit(t, w.image)
	require(t, "tampered", v, gate.OutcomeRefused, gate.CodeNotAcceptable)
	if len(v.Signatures) != 5 || v.Signatures[0].Attempts[0].Code != verify.CodeSignature {
		t.Errorf("signatures are %+v", v.Signatures)
	}
	w.signAs(t, w.image, alice)
	w.clock.Advance(time.Minute)
	require(t, "with a good one", w.admit(t, w.image), gate.OutcomeAdmitted, gate.CodeAdmitted)
}

// TestGATE01_Attestation: an attestation is no signature.
func TestGATE01_Attestation(t *testing.T) {
	w := newWorld(t, release)
	w.attach(t, w.image, w.sign(t, w.image, coretest.SignOptions{Identity: alice, PredicateType: "https://slsa.dev/provenance/v1"}))
	v := w.admit(t, w.image)
	require(t, "provenance", v, gate.OutcomeRefused, gate.CodeAttestationOnly)
	if v.Signatures[0].Attempts[0].Code != verify.CodePredicate || !strings.Contains(v.Reason, "slsa.dev/provenance") {
		t.Errorf("reason is %q", v.Reason)
	}
	w.signAs(t, w.image, alice)
	w.clock.Advance(time.Minute)
	require(t, "and a signature", w.admit(t, w.image), gate.OutcomeAdmitted, gate.CodeAdmitted)
}

// TestPX26_NoPolicy: what no policy is about is refused, whoever signed.
func TestPX26_NoPolicy(t *testing.T) {
	w := newWorld(t, release)
	w.signAs(t, w.image, alice)
	for repo, want := range map[string]gate.Code{
		repository: gate.CodeAdmitted, "registry.example/acmeapp": gate.CodeNoPolicy, "registry.example/other/app": gate.CodeNoPolicy,
		"docker.io/acme/app": gate.CodeNoPolicy, "evil.registry.example/acme/app": gate.CodeNoPolicy,
	} {
		req := w.request(t, w.image)
		req.Repository = repo
		v := w.gate.Admit(t.Context(), req)
		outcome := gate.OutcomeRefused
		if want == gate.CodeAdmitted {
			outcome = gate.OutcomeAdmitted
		}
		require(t, repo, v, outcome, want)
	}
}

// TestStatic settles without a registry, also for a parent.
func TestStatic(t *testing.T) {
	pass := policyDocument("static", "enforce", "  - {name: s, static: {action: pass}}\n")
	fail := policyDocument("static", "enforce", "  - {name: s, static: {action: fail, message: not here}}\n")
	for _, tt := range []struct {
		name, policy string
		outcome      gate.Outcome
		code         gate.Code
	}{
		{"pass", pass, gate.OutcomeAdmitted, gate.CodeAdmitted},
		{"fail", fail, gate.OutcomeRefused, gate.CodeDenied},
		{"fail and a signature", release + fail, gate.OutcomeRefused, gate.CodeDenied},
	} {
		w := newWorld(t, tt.policy)
		w.signAs(t, w.image, alice)
		w.wire.count()
		v := w.admit(t, w.image)
		require(t, tt.name, v, tt.outcome, tt.code)
		if n := w.wire.count(); n != 0 {
			t.Errorf("%s: %d requests, want none", tt.name, n)
		}
		if tt.code == gate.CodeDenied && !strings.Contains(v.Reason, "not here") {
			t.Errorf("%s: reason is %q", tt.name, v.Reason)
		}
		// Neither is anything asked about parents, which may not even exist.
		w.clock.Advance(time.Hour)
		missing := w.image.Context().Digest("sha256:" + strings.Repeat("0", 64))
		require(t, tt.name+" with a parent", w.admit(t, w.image, missing), tt.outcome, tt.code)
		if n := w.wire.count(); n != 0 {
			t.Errorf("%s: %d requests about a parent, want none", tt.name, n)
		}
	}
	// Beside a static authority that refuses, another may still admit.
	w := newWorld(t, policyDocument("either", "enforce", "  - {name: s, static: {action: fail}}\n"+keyless("team", "alice@acme.example")))
	require(t, "fail or a signature, unsigned", w.admit(t, w.image), gate.OutcomeRefused, gate.CodeUnsigned)
	w.signAs(t, w.image, alice)
	w.clock.Advance(time.Minute)
	require(t, "fail or a signature, signed", w.admit(t, w.image), gate.OutcomeAdmitted, gate.CodeAdmitted)
	// Passing one policy does not pass another.
	w = newWorld(t, release+pass)
	require(t, "pass, and a signature that is missing", w.admit(t, w.image), gate.OutcomeRefused, gate.CodeUnsigned)
}

// TestLIB40_Observe: observing admits, and says what enforcing would have done.
func TestLIB40_Observe(t *testing.T) {
	observe := strings.Replace(release, "spec:\n", "spec:\n  mode: warn\n", 1)
	w := newWorld(t, observe)
	v := w.admit(t, w.image)
	require(t, "unsigned", v, gate.OutcomeAdmitted, gate.CodeObserved)
	if v.Policies[0].Satisfied || !strings.Contains(v.Reason, "observes") || !strings.Contains(v.Reason, "not signed") {
		t.Errorf("reason is %q", v.Reason)
	}
	w = newWorld(t, observe+policyDocument("strict", "enforce", keyless("team", "alice@acme.example")))
	require(t, "unsigned, another policy enforces", w.admit(t, w.image), gate.OutcomeRefused, gate.CodeUnsigned)
	w = newWorld(t, release+policyDocument("loose", "observe", "  - {name: s, static: {action: fail}}\n"))
	require(t, "unsigned, a denial that observes", w.admit(t, w.image), gate.OutcomeRefused, gate.CodeUnsigned)
	w.signAs(t, w.image, alice)
	w.clock.Advance(time.Minute)
	require(t, "signed, a denial that observes", w.admit(t, w.image), gate.OutcomeAdmitted, gate.CodeObserved)
}

// TestPoliciesAndAuthorities: all policies are required, any authority satisfies its policy.
func TestPoliciesAndAuthorities(t *testing.T) {
	key := coretest.NewKey(t)
	both := release + policyDocument("second", "enforce", keyless("qa", "bob@acme.example"))
	either := policyDocument("either", "enforce", keyless("team", "alice@acme.example")+keyless("qa", "bob@acme.example")+keyed(t, "offline", key, ""))
	bob := coretest.Email("bob@acme.example")
	for _, tt := range []struct {
		name, policy string
		signers      []identity.Identity
		outcome      gate.Outcome
	}{
		{"both, alice alone", both, []identity.Identity{alice}, gate.OutcomeRefused},
		{"both, bob alone", both, []identity.Identity{bob}, gate.OutcomeRefused},
		{"both, alice twice", both, []identity.Identity{alice, alice}, gate.OutcomeRefused},
		{"both, alice and mallory", both, []identity.Identity{alice, mallory}, gate.OutcomeRefused},
		{"both, alice and bob", both, []identity.Identity{alice, bob}, gate.OutcomeAdmitted},
		{"both, bob and alice", both, []identity.Identity{bob, alice}, gate.OutcomeAdmitted},
		{"either, alice", either, []identity.Identity{alice}, gate.OutcomeAdmitted},
		{"either, bob", either, []identity.Identity{bob}, gate.OutcomeAdmitted},
		{"either, mallory", either, []identity.Identity{mallory}, gate.OutcomeRefused},
	} {
		w := newWorld(t, tt.policy)
		for _, s := range tt.signers {
			w.signAs(t, w.image, s)
		}
		code := gate.CodeAdmitted
		if tt.outcome == gate.OutcomeRefused {
			code = gate.CodeNotAcceptable
		}
		require(t, tt.name, w.admit(t, w.image), tt.outcome, code)
	}
	w := newWorld(t, either)
	w.attach(t, w.image, w.sign(t, w.image, coretest.SignOptions{Key: key, WithoutLog: true, WithoutTimestamp: true}))
	v := w.admit(t, w.image)
	require(t, "either, the key", v, gate.OutcomeAdmitted, gate.CodeAdmitted)
	if v.Policies[0].Authority != "offline" {
		t.Errorf("authority is %q", v.Policies[0].Authority)
	}
	// A key whose authority wants the log.
	w = newWorld(t, policyDocument("logged", "enforce", keyed(t, "offline", key, "    ctlog: {trustRootRef: test}\n")))
	w.attach(t, w.image, w.sign(t, w.image, coretest.SignOptions{Key: key, WithoutLog: true, WithoutTimestamp: true}))
	require(t, "key without the log it needs", w.admit(t, w.image), gate.OutcomeRefused, gate.CodeNotAcceptable)
	w.attach(t, w.image, w.sign(t, w.image, coretest.SignOptions{Key: key}))
	w.clock.Advance(time.Minute)
	require(t, "key with it", w.admit(t, w.image), gate.OutcomeAdmitted, gate.CodeAdmitted)
}

// TestA039_LIB44_EveryField is one case for every field of an authority: a
// signature that violates this field alone.
func TestA039_LIB44_EveryField(t *testing.T) {
	w, other := newWorld(t, release), newWorld(t, release)
	two := w.Root() // w's trust root with a second authority and log, of other's Sigstore
	ca := other.root.CertificateAuthorities[0]
	ca.URI = "https://second-ca.example"
	two.CertificateAuthorities = append(two.CertificateAuthorities, ca)
	log := other.root.Logs[0]
	log.BaseURL = "https://second-log.example"
	two.Logs = append(two.Logs, log)
	const firstCA, firstLog = "https://ca.touchmark.example", "https://rekor.touchmark.example"
	mixed := *w.Sigstore
	sign := func(change func(*coretest.Sigstore), o coretest.SignOptions) name.Digest {
		t.Helper()
		image := w.push(t, "latest", coretest.Image(t, int64(100+imageCount())))
		mixed = *w.Sigstore
		change(&mixed)
		(&world{Sigstore: &mixed, host: w.host, wire: w.wire}).attach(t, image, (&world{Sigstore: &mixed}).sign(t, image, o))
		return image
	}
	unchanged := func(*coretest.Sigstore) {}
	identities := "identities: [{issuer: " + coretest.Issuer + ", subject: alice@acme.example}]"
	for _, tt := range []struct {
		name, authority string
		good            func(*coretest.Sigstore)
		bad             func(*coretest.Sigstore)
		badAs           coretest.SignOptions
	}{
		{"issuer", "keyless: {trustRootRef: test, identities: [{issuer: " + coretest.Issuer + ", subjectRegExp: .*}]}", unchanged, unchanged,
			coretest.SignOptions{Identity: identity.Identity{SAN: alice.SAN, Issuer: "https://other.example"}}},
		{"issuerRegExp", "keyless: {trustRootRef: test, identities: [{issuerRegExp: 'https://issuer\\..*', subjectRegExp: .*}]}", unchanged, unchanged,
			coretest.SignOptions{Identity: identity.Identity{SAN: alice.SAN, Issuer: "https://other.example"}}},
		{"subject", "keyless: {trustRootRef: test, identities: [{issuerRegExp: .*, subject: alice@acme.example}]}", unchanged, unchanged, coretest.SignOptions{Identity: mallory}},
		{"subjectRegExp", "keyless: {trustRootRef: test, identities: [{issuerRegExp: .*, subjectRegExp: '.*@acme\\.example'}]}", unchanged, unchanged, coretest.SignOptions{Identity: mallory}},
		{"keyless.trustRootRef", "keyless: {trustRootRef: test, " + identities + "}", unchanged, func(s *coretest.Sigstore) { *s = *other.Sigstore }, coretest.SignOptions{Identity: alice}},
		{"keyless.url", "keyless: {url: " + firstCA + ", trustRootRef: two, " + identities + "}", unchanged, func(s *coretest.Sigstore) { s.CA = other.CA }, coretest.SignOptions{Identity: alice}},
		{"keyless.url, the other one", "keyless: {url: " + ca.URI + "/, trustRootRef: two, " + identities + "}", func(s *coretest.Sigstore) { s.CA = other.CA }, unchanged, coretest.SignOptions{Identity: alice}},
		{"ctlog.url", "ctlog: {url: " + firstLog + ", trustRootRef: two}\n    keyless: {trustRootRef: two, " + identities + "}", unchanged, func(s *coretest.Sigstore) { s.V1 = other.V1 }, coretest.SignOptions{Identity: alice}},
		{"ctlog.url, the other one", "ctlog: {url: " + log.BaseURL + ", trustRootRef: two}\n    keyless: {trustRootRef: two, " + identities + "}", func(s *coretest.Sigstore) { s.V1 = other.V1 }, unchanged, coretest.SignOptions{Identity: alice}},
		{"insecureIgnoreSCT not set", "keyless: {trustRootRef: test, " + identities + "}", unchanged, func(s *coretest.Sigstore) { s.CTLog = other.CTLog }, coretest.SignOptions{Identity: alice}},
		{"a signature instead of an attestation", "keyless: {trustRootRef: test, " + identities + "}", unchanged, unchanged, coretest.SignOptions{Identity: alice, PredicateType: "https://slsa.dev/provenance/v1"}},
	} {
		named := *two
		named.Name = "two"
		g, err := gate.New(gate.Config{
			Policy: parse(t, policyDocument("p", "enforce", "  - name: a\n    "+tt.authority+"\n")), Roots: []*trust.Root{w.root, &named}, Now: w.clock.Now,
		})
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		good, bad := sign(tt.good, coretest.SignOptions{Identity: alice}), sign(tt.bad, tt.badAs)
		require(t, tt.name+": good", g.Admit(t.Context(), w.request(t, good)), gate.OutcomeAdmitted, gate.CodeAdmitted)
		code := gate.CodeNotAcceptable
		if tt.badAs.PredicateType != "" {
			code = gate.CodeAttestationOnly
		}
		require(t, tt.name+": bad", g.Admit(t.Context(), w.request(t, bad)), gate.OutcomeRefused, code)
	}
	// insecureIgnoreSCT, where it is set, ignores just that.
	w.gate = w.newGate(t, policyDocument("p", "enforce", "  - name: a\n    keyless: {insecureIgnoreSCT: true, trustRootRef: test, "+identities+"}\n"))
	noSCT := func(s *coretest.Sigstore) { s.CTLog = other.CTLog }
	require(t, "insecureIgnoreSCT", w.admit(t, sign(noSCT, coretest.SignOptions{Identity: alice})), gate.OutcomeAdmitted, gate.CodeAdmitted)
	require(t, "insecureIgnoreSCT, wrong signer", w.admit(t, sign(noSCT, coretest.SignOptions{Identity: mallory})), gate.OutcomeRefused, gate.CodeNotAcceptable)
}

var images int

// imageCount makes the images of a test differ.
func imageCount() int { images++; return images }

// TestCTRD06_Parents: a child is admitted by its index's signature, if the index
// does list it.
func TestCTRD06_PX07_Parents(t *testing.T) {
	w := newWorld(t, release)
	index := coretest.Index(t, 10)
	parent := w.push(t, "multi", index)
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	child := parent.Context().Digest(manifest.Manifests[0].Digest.String())
	sibling := manifest.Manifests[1].Digest
	unrelated := w.push(t, "other", mutate.IndexMediaType(mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: coretest.Image(t, 99)}), types.OCIImageIndex))
	require(t, "child, nothing signed", w.admit(t, child, parent), gate.OutcomeRefused, gate.CodeUnsigned)
	w.signAs(t, parent, alice)
	w.signAs(t, unrelated, alice)
	w.clock.Advance(time.Minute)
	require(t, "the index itself", w.admit(t, parent), gate.OutcomeAdmitted, gate.CodeAdmitted)
	require(t, "child without parents", w.admit(t, child), gate.OutcomeRefused, gate.CodeUnsigned)
	v := w.admit(t, child, parent)
	require(t, "child of a signed index", v, gate.OutcomeAdmitted, gate.CodeAdmitted)
	if v.Digest != child.DigestStr() || v.Signatures[0].Subject != parent.DigestStr() {
		t.Errorf("verdict is about %s, by a signature of %s", v.Digest, v.Signatures[0].Subject)
	}
	require(t, "child beside an index that does not list it", w.admit(t, child, unrelated), gate.OutcomeRefused, gate.CodeUnsigned)
	require(t, "child of one of two", w.admit(t, child, unrelated, parent), gate.OutcomeAdmitted, gate.CodeAdmitted)
	require(t, "an image that claims the index", w.admit(t, w.image, parent), gate.OutcomeRefused, gate.CodeUnsigned)
	require(t, "a child that claims its sibling", w.admit(t, child, parent.Context().Digest(sibling.String())), gate.OutcomeRefused, gate.CodeUnsigned)
	require(t, "an image that claims itself", w.admit(t, w.image, w.image), gate.OutcomeRefused, gate.CodeUnsigned)
	missing := parent.Context().Digest("sha256:" + strings.Repeat("0", 64))
	require(t, "a parent that is not there", w.admit(t, child, missing), gate.OutcomeUndecided, gate.CodeLookupFailed)
	// The reverse: a signed child says nothing of its index or its siblings.
	second := coretest.Index(t, 20)
	secondParent := w.push(t, "multi2", second)
	manifest, err = second.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	signed := parent.Context().Digest(manifest.Manifests[0].Digest.String())
	w.signAs(t, signed, alice)
	require(t, "signed child", w.admit(t, signed, secondParent), gate.OutcomeAdmitted, gate.CodeAdmitted)
	require(t, "index of a signed child", w.admit(t, secondParent), gate.OutcomeRefused, gate.CodeUnsigned)
	require(t, "sibling of a signed child", w.admit(t, parent.Context().Digest(manifest.Manifests[1].Digest.String()), secondParent), gate.OutcomeRefused, gate.CodeUnsigned)
}
