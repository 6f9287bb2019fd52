package bundle_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
)

// named demands an error that says what is wrong, or none.
func named(t *testing.T, name string, err error, want string) {
	t.Helper()
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("%s: error is %v, want one that names %q", name, err, want)
	}
}

// TestA004_A060_LegacyReasons changes one thing in the annotations of a good layer, in
// ways of which a later check would see only some, and asks for the reason.
func TestA004_A060_LegacyReasons(t *testing.T) {
	e := legacyShapes(t)["keyless"]
	good := annotations(t, e)
	encode := base64.StdEncoding.EncodeToString
	number := func(name, value string) string {
		return regexp.MustCompile(`"`+name+`":[0-9]+`).ReplaceAllString(good[annBundle], `"`+name+`":`+value)
	}
	body := func(text string) string { return strings.Replace(good[annBundle], encode(e.Entries[0].Body), text, 1) }
	size := len(e.Payload.Text)
	for _, v := range good {
		size += len(v)
	}
	for _, tt := range []struct{ name, annotation, value, want string }{
		{"no signature", annSignature, "", "signature is missing or not base64"},
		{"signature that breaks off", annSignature, "QUJDQUJ=", "signature is missing or not base64"},
		{"signature with a line break", annSignature, "QUJD\nQUJD", "signature is missing or not base64"},
		{"signature with a carriage return", annSignature, "QUJD\rQUJD", "signature is missing or not base64"},
		{"no body", annBundle, body(""), "Payload.body is missing"},
		{"body that breaks off", annBundle, body("e30gQUJ="), "Payload.body is missing or not base64"},
		{"body with a line break", annBundle, body(`e30g\ne30g`), "Payload.body is missing or not base64"},
		{"no promise", annBundle, strings.Replace(good[annBundle], encode(e.Entries[0].SET), "", 1), "SignedEntryTimestamp is missing"},
		{"promise with unused bits", annBundle, unusedBits(good[annBundle], "SignedEntryTimestamp"), "/SignedEntryTimestamp\" is not canonical base64"},
		{"timestamp with unused bits", annTimestamp, unusedBits(good[annTimestamp], "SignedRFC3161Timestamp"), "/SignedRFC3161Timestamp\" is not canonical base64"},
		{"the first index", annBundle, number("logIndex", "0"), ""},
		{"an index before it", annBundle, number("logIndex", "-1"), "negative"},
		{"the first second", annBundle, number("integratedTime", "0"), ""},
		{"a second before it", annBundle, number("integratedTime", "-1"), "negative"},
		{"as large as may be", "x", strings.Repeat("x", bundle.MaxSize-size), ""},
		{"one byte more", "x", strings.Repeat("x", bundle.MaxSize-size+1), "the limit is"},
	} {
		a := maps.Clone(good)
		a[tt.annotation] = tt.value
		_, err := bundle.ParseLegacy(e.Payload.Text, a)
		named(t, tt.name, err, tt.want)
	}
}

// TestLIB34_LegacyTokens: an envelope may have as many tokens as the limit says.
func TestLIB34_LegacyTokens(t *testing.T) {
	e := coretest.New(t).SignDigest(t, digest, coretest.SignOptions{Key: coretest.NewKey(t), Content: coretest.LegacyAttestation, WithoutLog: true, WithoutTimestamp: true})
	good := string(e.Envelope.Text)
	count := 0
	for dec := json.NewDecoder(strings.NewReader(good)); dec.More() || count > 0; count++ {
		if _, err := dec.Token(); err != nil {
			break
		}
	}
	fill := func(n int) []byte {
		ones := strings.Repeat("1,", 99) + "1"
		return []byte(`{"x":[` + ones + `],"y":[` + ones + `],"z":[` + ones[:2*(n-count-209)-1] + `],` + good[1:])
	}
	_, err := bundle.ParseLegacyAttestation(fill(255), nil)
	named(t, "255 tokens", err, "")
	_, err = bundle.ParseLegacyAttestation(fill(256), nil)
	named(t, "256 tokens and the end", err, "JSON tokens")
	_, err = bundle.ParseLegacyAttestation([]byte(unusedBits(good, "sig")), nil)
	named(t, "signature with unused bits", err, "/sig\" is not canonical base64")
}

// TestLegacyAnnotationsChoose: of several log entries the first one that the format can hold is written.
func TestLegacyAnnotationsChoose(t *testing.T) {
	e := legacyShapes(t)["keyless"]
	without, second := e.Entries[0], e.Entries[0]
	without.SET, second.LogIndex = nil, e.Entries[0].LogIndex+1
	without.LogIndex += 2
	want := annotations(t, e)
	e.Entries = []bundle.Entry{without, e.Entries[0], second}
	if diff := cmp.Diff(want, annotations(t, e)); diff != "" {
		t.Errorf("another entry is written (-want +got):\n%s", diff)
	}
	e.Entries = e.Entries[:1]
	if a := annotations(t, e); a[annBundle] != "" {
		t.Errorf("an entry without a promise is written as %q", a[annBundle])
	}
}

// TestLegacyWritersRefuse: nothing is written that could not be read.
func TestLegacyWritersRefuse(t *testing.T) {
	e := legacyShapes(t)["keyless"]
	e.Payload.Signature = nil
	_, err := bundle.LegacyAnnotations(e)
	named(t, "simple signing without a signature", err, "simple signing: its signature is empty")
	_, err = bundle.LegacyAttestationAnnotations(e)
	named(t, "an attestation without an envelope", err, "holds no envelope")
	env := bundle.Envelope{PayloadType: "text/plain", Payload: []byte("{}"), Signature: []byte{1}}
	_, err = bundle.LegacyAttestationAnnotations(&bundle.Evidence{Envelope: &env})
	named(t, "an attestation", err, "")
	env.Payload = []byte("x")
	_, err = bundle.LegacyAttestationAnnotations(&bundle.Evidence{Envelope: &env})
	named(t, "an attestation of no statement", err, "statement: malformed JSON")
	env.Payload, env.Signature = []byte("{}"), nil
	_, err = bundle.LegacyAttestationAnnotations(&bundle.Evidence{Envelope: &env})
	named(t, "an attestation without a signature", err, "legacy attestation: its signature is empty")
	env.KeyID = "\xff"
	_, err = bundle.EnvelopeJSON(&env)
	named(t, "a key ID that is no text", err, "encoding envelope")
	_, err = bundle.SimpleSigningPayload("\xff", "sha256:00")
	named(t, "a name that is no text", err, "encoding")
}

// TestA059_Reasons changes one thing in a good bundle, where a later check would refuse it too, or stands at a limit.
func TestA059_Reasons(t *testing.T) {
	good := marshal(t, shapes(t)["DSSE, Rekor v1"])
	for _, tt := range []struct {
		name   string
		change func(object)
		want   string
	}{
		{"chain in v0.3 under its older name", func(o object) {
			chain(1)(o)
			o["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.3"
		}, "x509CertificateChain"},
		{"kind without version", set(inEntry, "kindVersion", map[string]any{"kind": "dsse"}), "kindVersion"},
		{"version without kind", set(inEntry, "kindVersion", map[string]any{"version": "0.0.1"}), "kindVersion"},
		{"a tree of one leaf", func(o object) { set(inProof, "logIndex", "0")(o); set(inProof, "treeSize", "1")(o) }, ""},
		{"certificate at the limit", set(inMaterial, "certificate", map[string]any{"rawBytes": make([]byte, bundle.MaxCertificateSize)}), ""},
		{"the same index of two logs", func(o object) {
			other := maps.Clone(o.at(inEntry...))
			other["logId"] = map[string]any{"keyId": make([]byte, 32)}
			o.at(inMaterial...)["tlogEntries"] = []any{o.at(inEntry...), other}
		}, ""},
		{"message signature over an unknown digest", func(o object) {
			delete(o, "dsseEnvelope")
			o["messageSignature"] = map[string]any{"messageDigest": map[string]any{"algorithm": "MD5"}, "signature": "AAAA"}
		}, `algorithm "MD5" is missing or not supported`},
	} {
		o := decode(t, good)
		tt.change(o)
		_, err := bundle.Parse(o.json(t))
		named(t, tt.name, err, tt.want)
	}
	_, err := bundle.Parse(make([]byte, bundle.MaxSize+1))
	named(t, "above the limit", err, "the limit is")
}

// TestParseEntry: a log entry alone is read as a bundle's is.
func TestParseEntry(t *testing.T) {
	e := shapes(t)["DSSE, Rekor v2"]
	good := decode(t, marshal(t, e)).at(inEntry...)
	got, err := bundle.ParseEntry(good.json(t))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(e.Entries[0], got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for name, tt := range map[string]struct{ key, want string }{
		"no proof": {"inclusionProof", "log entry: inclusionProof is missing"}, "no body": {"canonicalizedBody", "log entry: canonicalizedBody is missing"},
	} {
		o := maps.Clone(good)
		delete(o, tt.key)
		got, err := bundle.ParseEntry(o.json(t))
		named(t, name, err, tt.want)
		if diff := cmp.Diff(bundle.Entry{}, got); diff != "" {
			t.Errorf("%s: an error comes with an entry", name)
		}
	}
	_, err = bundle.ParseEntry([]byte("{"))
	named(t, "cut", err, "log entry: malformed JSON")
}

// TestMarshalReasons: what is not written, and why.
func TestMarshalReasons(t *testing.T) {
	good := shapes(t)["DSSE, Rekor v1"]
	for name, tt := range map[string]struct {
		change func(e *bundle.Evidence)
		want   string
	}{
		"33 timestamps":      {func(e *bundle.Evidence) { e.Timestamps = slices.Repeat(e.Timestamps, 33) }, "bundle: has 33 timestamps"},
		"simple signing":     {func(e *bundle.Evidence) { e.Envelope, e.Payload = nil, &bundle.Payload{Signature: []byte{1}} }, "simple-signing payload cannot be written"},
		"what is no text":    {func(e *bundle.Evidence) { e.Envelope = &bundle.Envelope{PayloadType: "\xff", Signature: []byte{1}} }, "bundle: encoding"},
		"what is not read":   {func(e *bundle.Evidence) { e.Envelope = &bundle.Envelope{Signature: []byte{1}} }, "writing as v0.3"},
		"nothing in its way": {func(*bundle.Evidence) {}, ""},
	} {
		e := *good
		tt.change(&e)
		_, err := bundle.Marshal(&e)
		named(t, name, err, tt.want)
	}
	if text := marshal(t, shapes(t)["key, nothing else"]); bytes.Contains(text, []byte("timestampVerificationData")) {
		t.Errorf("no timestamps are written: %s", text)
	}
}
