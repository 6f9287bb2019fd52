package verify_test

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/verify"
)

// TestLIB01_A011_AnotherImage asks about an image that the same signer did not
// sign, and about one of whose signature only the hint was changed.
func TestLIB01_A011_AnotherImage(t *testing.T) {
	w := newWorld(t)
	for name, options := range forms(w) {
		e := w.sign(t, options)
		requireAccepted(t, name, w.input(t, e))
		in := w.input(t, e)
		in.Artifact = verify.SHA256(otherDigest)
		requireCode(t, name, in, verify.CodeWrongArtifact)
		in.Artifact = verify.Digest{Algorithm: "sha512", Value: make([]byte, 64)}
		requireCode(t, name+" as SHA-512", in, verify.CodeWrongArtifact)
	}
	e := w.sign(t, coretest.SignOptions{Content: coretest.MessageSignature})
	e.Message.Digest = otherDigest[:]
	requireCode(t, "hint of another image", w.input(t, e), verify.CodeWrongArtifact)
	in := w.input(t, e)
	in.Artifact = verify.SHA256(otherDigest)
	requireCode(t, "hint of the image that is asked for", in, verify.CodeSignature)
	for name, m := range map[string]bundle.Message{
		"no hint": {DigestAlgorithm: "sha256"}, "short hint": {DigestAlgorithm: "sha256", Digest: digest[:31]},
		"hint of another algorithm": {DigestAlgorithm: "sha512", Digest: digest[:]}, "no algorithm": {Digest: digest[:]},
	} {
		c := w.sign(t, coretest.SignOptions{Content: coretest.MessageSignature})
		m.Signature = c.Message.Signature
		c.Message = &m
		requireCode(t, name, w.input(t, c), verify.CodeWrongArtifact)
	}
}

// resign makes a world's evidence over any payload.
func resign(tb testing.TB, w *world, payloadType, payload string) *bundle.Evidence {
	tb.Helper()
	key := coretest.NewKey(tb)
	e := &bundle.Evidence{
		Form: bundle.FormBundle, MediaType: bundle.MediaTypeV03,
		Envelope:     &bundle.Envelope{PayloadType: payloadType, Payload: []byte(payload)},
		Certificates: [][]byte{w.Certificate(tb, alice, key.Public())},
	}
	e.Envelope.Signature = coretest.Signature(tb, key, bundle.PAE(payloadType, []byte(payload)))
	e.Entries = []bundle.Entry{w.V1.Add(tb, coretest.EntryBody(tb, e, digest, key.Public(), false), w.Clock.Now())}
	return e
}

const inToto = "application/vnd.in-toto+json"

// TestA041_A043_A051_LIB07_LIB08_LIB09_Statements signs statements that are
// wrong in one thing; signature, log and certificate are right.
func TestA041_A043_A051_A069_LIB07_LIB08_LIB09_GATE01_Statements(t *testing.T) {
	w := newWorld(t)
	good := string(coretest.Statement(digest, "", ""))
	hexDigest := hex.EncodeToString(digest[:])
	subjects := func(n int) string {
		return `"subject":[` + strings.Repeat(`{"digest":{"sha256":"00"}},`, n-1) + `{"digest":{"sha256":"` + hexDigest + `"}}]`
	}
	digests := func(n int) string {
		var b strings.Builder
		for i := range n - 1 {
			fmt.Fprintf(&b, `"x%d":"00",`, i)
		}
		return `"subject":[{"digest":{` + b.String() + `"sha256":"` + hexDigest + `"}}]`
	}
	subject := subjects(1)
	swap := func(old, new string) string {
		text := strings.Replace(good, old, new, 1)
		if text == good {
			t.Fatalf("%q is not in the statement", old)
		}
		return text
	}
	for _, tt := range []struct {
		name, payloadType, payload string
		want                       verify.Code
	}{
		{"good", inToto, good, ""},
		{"statement of version 0.1", inToto, swap("Statement/v1", "Statement/v0.1"), ""},
		{"statement of version 2", inToto, swap("Statement/v1", "Statement/v2"), verify.CodeMalformed},
		{"no type", inToto, swap(`"_type":"https://in-toto.io/Statement/v1",`, ""), verify.CodeMalformed},
		{"unknown field", inToto, swap("{", `{"x":1,`), ""},
		{"white space around", inToto, " " + good + "\n", ""},
		{"second subject", inToto, swap(subject, subjects(2)), ""},
		{"1,024 subjects", inToto, swap(subject, subjects(1024)), ""},
		{"1,025 subjects", inToto, swap(subject, subjects(1025)), verify.CodeMalformed},
		{"32 digests", inToto, swap(subject, digests(32)), ""},
		{"33 digests", inToto, swap(subject, digests(33)), verify.CodeMalformed},
		{"subjects []", inToto, swap(subject, `"subject":[]`), verify.CodeMalformed},
		{"subjects missing", inToto, swap(subject+",", ""), verify.CodeMalformed},
		{"subjects null", inToto, swap(subject, `"subject":null`), verify.CodeMalformed},
		{"subject null", inToto, swap(subject, `"subject":[null]`), verify.CodeMalformed},
		{"subject without digest", inToto, swap(subject, `"subject":[{"name":"x"}]`), verify.CodeMalformed},
		{"digest {}", inToto, swap(subject, `"subject":[{"digest":{}}]`), verify.CodeMalformed},
		{"one subject with digest {}", inToto, swap(`"subject":[`, `"subject":[{"digest":{}},`), verify.CodeMalformed},
		{"digest a string", inToto, swap(subject, `"subject":[{"digest":"`+hexDigest+`"}]`), verify.CodeMalformed},
		{"SHA-1 only", inToto, swap(`"sha256":"`+hexDigest, `"sha1":"`+hexDigest[:40]), verify.CodeWrongArtifact},
		{"SHA-256 under another name", inToto, swap("sha256", "SHA256"), verify.CodeWrongArtifact},
		{"SHA-256 under SHA-1's name", inToto, swap("sha256", "sha1"), verify.CodeWrongArtifact},
		{"digest in capitals", inToto, swap(hexDigest, strings.ToUpper(hexDigest)), verify.CodeWrongArtifact},
		{"digest with its algorithm", inToto, swap(`"`+hexDigest, `"sha256:`+hexDigest), verify.CodeWrongArtifact},
		{"digest cut off", inToto, swap(hexDigest, hexDigest[:62]), verify.CodeWrongArtifact},
		{"digest empty", inToto, swap(hexDigest, ""), verify.CodeWrongArtifact},
		{"digest of another image", inToto, string(coretest.Statement(otherDigest, "", "")), verify.CodeWrongArtifact},
		{"only the name names the image", inToto, swap(`"digest":{"sha256":"`+hexDigest, `"name":"`+hexDigest+`","digest":{"sha256":"00`), verify.CodeWrongArtifact},
		{"duplicate subject", inToto, swap("{", `{"subject":[{"digest":{"sha256":"00"}}],`), verify.CodeMalformed},
		{"duplicate digest", inToto, swap(`"sha256"`, `"sha256":"00","sha256"`), verify.CodeMalformed},
		{"duplicate predicate type", inToto, swap("{", `{"predicateType":"x",`), verify.CodeMalformed},
		{"duplicate key in the predicate", inToto, swap(`"predicate":{}`, `"predicate":{"a":1,"a":2}`), verify.CodeMalformed},
		{"subjects in capitals", inToto, swap(`"subject"`, `"Subject"`), verify.CodeMalformed},
		{"trailing data", inToto, good + "{}", verify.CodeMalformed},
		{"trailing text", inToto, good + "x", verify.CodeMalformed},
		{"byte order mark", inToto, "\xef\xbb\xbf" + good, verify.CodeMalformed},
		{"invalid UTF-8", inToto, swap(`"predicate":{}`, "\"predicate\":\"\xff\""), verify.CodeMalformed},
		{"not JSON", inToto, "not JSON", verify.CodeMalformed},
		{"empty", inToto, "", verify.CodeMalformed},
		{"null", inToto, "null", verify.CodeMalformed},
		{"array", inToto, "[" + good + "]", verify.CodeMalformed},
		{"string", inToto, `"` + hexDigest + `"`, verify.CodeMalformed},
		{"depth of 100,000", inToto, swap(`"predicate":{}`, `"predicate":`+strings.Repeat("[", 100_000)+strings.Repeat("]", 100_000)), verify.CodeMalformed},
		{"payload type of JSON", "application/json", good, verify.CodeUnsupported},
		{"payload type with another version", inToto + ";v=2", good, verify.CodeUnsupported},
		{"payload type in capitals", strings.ToUpper(inToto), good, verify.CodeUnsupported},
		{"simple signing in an envelope", bundle.MediaTypeSimpleSigning, good, verify.CodeUnsupported},
		{"provenance", inToto, swap("https://sigstore.dev/cosign/sign/v1", "https://slsa.dev/provenance/v1"), verify.CodePredicate},
		{"predicate type with a slash", inToto, swap("cosign/sign/v1", "cosign/sign/v1/"), verify.CodePredicate},
		{"predicate type in capitals", inToto, swap("cosign/sign/v1", "Cosign/Sign/V1"), verify.CodePredicate},
		{"predicate type with a space", inToto, swap("cosign/sign/v1", "cosign/sign/v1 "), verify.CodePredicate},
		{"no predicate type", inToto, swap("https://sigstore.dev/cosign/sign/v1", ""), verify.CodePredicate},
	} {
		e := resign(t, w, tt.payloadType, tt.payload)
		start := time.Now()
		requireCode(t, tt.name, w.input(t, e), tt.want)
		if d := time.Since(start); d > time.Second {
			t.Errorf("%s takes %v", tt.name, d)
		}
	}
}

// TestA041_PredicateTypes asks for attestations of a type.
func TestA041_PredicateTypes(t *testing.T) {
	w := newWorld(t)
	const spdx, vuln = "https://spdx.dev/Document", "https://cosign.sigstore.dev/attestation/vuln/v1"
	attestation := w.sign(t, coretest.SignOptions{PredicateType: vuln, Predicate: `{"scanner":"x"}`})
	signature := w.sign(t, coretest.SignOptions{})
	message := w.sign(t, coretest.SignOptions{Content: coretest.MessageSignature})
	simple := w.sign(t, coretest.SignOptions{Content: coretest.SimpleSigning})
	for _, tt := range []struct {
		name, want string
		e          *bundle.Evidence
		code       verify.Code
	}{
		{"the right type", vuln, attestation, ""},
		{"another type", spdx, attestation, verify.CodePredicate},
		{"a signature wanted", "", attestation, verify.CodePredicate},
		{"a signature's own type", verify.PredicateImageSignature, signature, ""},
		{"an attestation wanted, a signature found", spdx, signature, verify.CodePredicate},
		{"an attestation wanted, a message signature found", spdx, message, verify.CodePredicate},
		{"an attestation wanted, simple signing found", spdx, simple, verify.CodePredicate},
		{"with a slash", vuln + "/", attestation, verify.CodePredicate},
		{"in capitals", strings.ToUpper(vuln), attestation, verify.CodePredicate},
		{"a prefix", vuln[:len(vuln)-1], attestation, verify.CodePredicate},
	} {
		in := w.input(t, tt.e)
		in.PredicateType = tt.want
		requireCode(t, tt.name, in, tt.code)
	}
}

// TestLIB02_SimpleSigning signs payloads that are wrong in one thing.
func TestLIB02_A060_SimpleSigning(t *testing.T) {
	w := newWorld(t)
	d := fmt.Sprintf("sha256:%x", digest)
	good, err := bundle.SimpleSigningPayload("registry.example/app", d)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, old, new string
		want           verify.Code
	}{
		{"unchanged", "", "", ""},
		{"another digest", d, "sha256:" + strings.Repeat("00", 32), verify.CodeWrongArtifact},
		{"only the name names the image", `"docker-manifest-digest":"` + d, `"docker-manifest-digest":"registry.example/app@` + d, verify.CodeWrongArtifact},
		{"digest in capitals", d, "sha256:" + strings.ToUpper(d[7:]), verify.CodeWrongArtifact},
		{"digest without algorithm", d, d[7:], verify.CodeWrongArtifact},
		{"SHA-512 with this value", "sha256:", "sha512:", verify.CodeWrongArtifact},
		{"no digest", d, "", verify.CodeMalformed},
		{"duplicate digest", `"docker-manifest-digest"`, `"docker-manifest-digest":"` + d + `","docker-manifest-digest"`, verify.CodeMalformed},
		{"another type", "cosign container image signature", "atomic container signature", verify.CodeMalformed},
		{"not JSON", "{", "", verify.CodeMalformed},
		{"unknown critical field", `"critical":{`, `"critical":{"x":1,`, verify.CodeMalformed},
	} {
		key := coretest.NewKey(t)
		e := &bundle.Evidence{
			Form: bundle.FormLegacy, MediaType: bundle.MediaTypeSimpleSigning,
			Payload:      &bundle.Payload{Text: []byte(strings.Replace(string(good), tt.old, tt.new, 1))},
			Certificates: [][]byte{w.Certificate(t, alice, key.Public())},
		}
		e.Payload.Signature = coretest.Signature(t, key, e.Payload.Text)
		e.Entries = []bundle.Entry{w.V1.Add(t, coretest.EntryBody(t, e, digest, key.Public(), false), w.Clock.Now())}
		requireCode(t, tt.name, w.input(t, e), tt.want)
	}
}

// TestLIB04_LIB05_Envelope changes what an envelope's signature is over, and the
// hint that comes with it.
func TestLIB04_LIB05_Envelope(t *testing.T) {
	w := newWorld(t)
	good := w.sign(t, coretest.SignOptions{})
	statement := string(good.Envelope.Payload)
	for _, tt := range []struct {
		name   string
		change func(*bundle.Envelope)
		want   verify.Code
	}{
		{"unchanged", func(*bundle.Envelope) {}, ""},
		{"a key ID", func(e *bundle.Envelope) { e.KeyID = "anything" }, ""}, // a hint that selects nothing
		{"white space in the payload", func(e *bundle.Envelope) { e.Payload = []byte(statement + " ") }, verify.CodeSignature},
		{"payload of another order", func(e *bundle.Envelope) {
			e.Payload = []byte(strings.Replace(statement, `,"predicate":{}}`, "}", 1))
		}, verify.CodeSignature},
		{"another payload", func(e *bundle.Envelope) { e.Payload = coretest.Statement(digest, "", `{"x":1}`) }, verify.CodeSignature},
		{"signature over the payload alone", func(e *bundle.Envelope) { e.Signature = coretest.Signature(t, coretest.NewKey(t), e.Payload) }, verify.CodeSignature},
		{"truncated signature", func(e *bundle.Envelope) { e.Signature = e.Signature[:len(e.Signature)-1] }, verify.CodeSignature},
		{"signature and a byte", func(e *bundle.Envelope) { e.Signature = append(e.Signature, 0) }, verify.CodeSignature},
		{"no signature", func(e *bundle.Envelope) { e.Signature = nil }, verify.CodeSignature},
	} {
		e := clone(good)
		tt.change(e.Envelope)
		requireCode(t, tt.name, w.input(t, e), tt.want)
	}
	// The key ID of a trusted key, the signature of another.
	trusted := coretest.NewKey(t)
	e := w.sign(t, coretest.SignOptions{Key: coretest.NewKey(t)})
	own := w.sign(t, coretest.SignOptions{Key: trusted})
	e.KeyHint, e.Envelope.KeyID = own.KeyHint, own.KeyHint
	in := w.input(t, e)
	in.Signer = verify.Keyed(verify.Key{Name: "release", Public: trusted.Public()})
	requireCode(t, "hint of a trusted key", in, verify.CodeKey)
	in.Evidence = own
	requireAccepted(t, "the trusted key itself", in)
	own.KeyHint, own.Envelope.KeyID = "something else", "something else"
	requireAccepted(t, "the trusted key under another hint", in)
	in.Evidence = &bundle.Evidence{Form: bundle.FormBundle}
	requireCode(t, "no content", in, verify.CodeMalformed)
}
