package bundle_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
)

const (
	v01 = "application/vnd.dev.sigstore.bundle+json;version=0.1"
	v02 = "application/vnd.dev.sigstore.bundle+json;version=0.2"
)

var digest = [32]byte{1, 2, 3}

// shapes is evidence of every form that goes into a bundle, by name.
func shapes(tb testing.TB) map[string]*bundle.Evidence {
	tb.Helper()
	s := coretest.New(tb)
	alice := coretest.Email("alice@acme.example")
	return map[string]*bundle.Evidence{
		"DSSE, Rekor v1":              s.SignDigest(tb, digest, coretest.SignOptions{Identity: alice}),
		"DSSE, Rekor v2":              s.SignDigest(tb, digest, coretest.SignOptions{Identity: alice, Log: s.V2}),
		"message signature, Rekor v1": s.SignDigest(tb, digest, coretest.SignOptions{Identity: alice, Content: coretest.MessageSignature}),
		"key, Rekor v2":               s.SignDigest(tb, digest, coretest.SignOptions{Key: coretest.NewKey(tb), Log: s.V2}),
		"key, nothing else":           s.SignDigest(tb, digest, coretest.SignOptions{Key: coretest.NewKey(tb), WithoutLog: true, WithoutTimestamp: true}),
	}
}

func marshal(tb testing.TB, e *bundle.Evidence) []byte {
	tb.Helper()
	raw, err := bundle.Marshal(e)
	if err != nil {
		tb.Fatal(err)
	}
	return raw
}

func TestRoundTrip(t *testing.T) {
	for name, want := range shapes(t) {
		raw := marshal(t, want)
		got, err := bundle.Parse(raw)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s changed (-want +got):\n%s", name, diff)
		}
		if again := marshal(t, got); !bytes.Equal(raw, again) {
			t.Errorf("%s: is written in two ways:\n%s\n%s", name, raw, again)
		}
	}
}

// object is a bundle as JSON that a test may change.
type object map[string]any

func decode(tb testing.TB, raw []byte) object {
	tb.Helper()
	var o object
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := dec.Decode(&o); err != nil {
		tb.Fatal(err)
	}
	return o
}

// at walks to a nested object.
func (o object) at(path ...any) object {
	var v any = map[string]any(o)
	for _, p := range path {
		switch p := p.(type) {
		case string:
			v = v.(map[string]any)[p]
		case int:
			v = v.([]any)[p]
		}
	}
	return v.(map[string]any)
}

func (o object) json(tb testing.TB) []byte {
	tb.Helper()
	raw, err := json.Marshal(o)
	if err != nil {
		tb.Fatal(err)
	}
	return raw
}

var (
	inMaterial  = []any{"verificationMaterial"}
	inEntry     = []any{"verificationMaterial", "tlogEntries", 0}
	inProof     = []any{"verificationMaterial", "tlogEntries", 0, "inclusionProof"}
	inTimestamp = []any{"verificationMaterial", "timestampVerificationData"}
	inEnvelope  = []any{"dsseEnvelope"}
)

func set(path []any, key string, value any) func(object) {
	return func(o object) { o.at(path...)[key] = value }
}

func drop(path []any, key string) func(object) {
	return func(o object) { delete(o.at(path...), key) }
}

func repeat(v any, n int) []any { return slices.Repeat([]any{v}, n) }

// TestA059_LIB06_LIB33_Form changes one thing in a good bundle.
func TestA059_A080_LIB06_LIB33_Form(t *testing.T) {
	good := marshal(t, shapes(t)["DSSE, Rekor v1"])
	if _, err := bundle.Parse(good); err != nil {
		t.Fatalf("the good twin is refused: %v", err)
	}
	sig := decode(t, good).at("dsseEnvelope", "signatures", 0)["sig"]
	for _, tt := range []struct {
		name   string
		change func(object)
		want   string // in the error; empty if it is still accepted
	}{
		{"unchanged", func(object) {}, ""},
		{"the older name of v0.3", set(nil, "mediaType", "application/vnd.dev.sigstore.bundle+json;version=0.3"), ""},
		{"v0.2", set(nil, "mediaType", v02), ""},
		{"v0.1", set(nil, "mediaType", v01), ""},
		{"v0.4", set(nil, "mediaType", "application/vnd.dev.sigstore.bundle.v0.4+json"), "mediaType"},
		{"version with a suffix", set(nil, "mediaType", bundle.MediaTypeV03+".1"), "mediaType"},
		{"upper case", set(nil, "mediaType", strings.ToUpper(bundle.MediaTypeV03)), "mediaType"},
		{"no version", drop(nil, "mediaType"), "mediaType"},
		{"version null", set(nil, "mediaType", nil), "mediaType"},
		{"version a number", set(nil, "mediaType", 3), "malformed"},
		{"unknown field", set(nil, "extra", 1), "malformed"},
		{"unknown field that is null", set(nil, "extra", nil), "malformed"},
		{"unknown field below", set(inMaterial, "extra", map[string]any{}), "malformed"},
		{"unknown content", func(o object) { o["otherSignature"] = o["dsseEnvelope"]; delete(o, "dsseEnvelope") }, "malformed"},
		{"two contents", set(nil, "messageSignature", map[string]any{"signature": sig}), "malformed"},
		{"no content", drop(nil, "dsseEnvelope"), "dsseEnvelope"},
		{"no material", drop(nil, "verificationMaterial"), "verificationMaterial"},
		{"no signer", drop(inMaterial, "certificate"), "neither"},
		{"certificate and key", set(inMaterial, "publicKey", map[string]any{"hint": "x"}), "malformed"},
		{"certificate empty", set(inMaterial, "certificate", map[string]any{}), "certificate"},
		{"certificate null", set(inMaterial, "certificate", nil), "neither"},
		{"certificate too large", set(inMaterial, "certificate", map[string]any{"rawBytes": make([]byte, bundle.MaxCertificateSize+1)}), "certificate"},
		{"chain in v0.3", func(o object) {
			m := o.at(inMaterial...)
			m["x509CertificateChain"] = map[string]any{"certificates": []any{m["certificate"]}}
			delete(m, "certificate")
		}, "x509CertificateChain"},
		{"chain in v0.2", chain(1), ""},
		{"chain of 8 in v0.2", chain(bundle.MaxCertificates), ""},
		{"chain of 9 in v0.2", chain(bundle.MaxCertificates + 1), "certificates"},
		{"chain of 50 in v0.2", chain(50), "certificates"},
		{"empty chain in v0.2", chain(0), "x509CertificateChain"},

		{"no signature", set(inEnvelope, "signatures", []any{}), "signatures"},
		{"signatures missing", drop(inEnvelope, "signatures"), "signatures"},
		{"two signatures", set(inEnvelope, "signatures", repeat(map[string]any{"sig": sig}, 2)), "signatures"},
		{"100 signatures", set(inEnvelope, "signatures", repeat(map[string]any{"sig": sig}, 100)), "signatures"},
		{"empty signature", set(inEnvelope, "signatures", []any{map[string]any{"sig": ""}}), "empty"},
		{"signature null", set(inEnvelope, "signatures", []any{nil}), "malformed"},
		{"no payload type", drop(inEnvelope, "payloadType"), "payloadType"},

		{"log entry null", set(inMaterial, "tlogEntries", []any{nil}), "malformed"},
		{"log entry empty", set(inMaterial, "tlogEntries", []any{map[string]any{}}), "logId"},
		{"no log ID", drop(inEntry, "logId"), "logId"},
		{"log ID null", set(inEntry, "logId", nil), "logId"},
		{"short log ID", set(inEntry, "logId", map[string]any{"keyId": make([]byte, 31)}), "logId"},
		{"long log ID", set(inEntry, "logId", map[string]any{"keyId": make([]byte, 33)}), "logId"},
		{"negative index", set(inEntry, "logIndex", "-1"), "negative"},
		{"index above 2^63", set(inEntry, "logIndex", "9223372036854775808"), "malformed"},
		{"index a fraction", set(inEntry, "logIndex", 1.5), "malformed"},
		{"negative time", set(inEntry, "integratedTime", "-1"), "negative"},
		{"no kind", drop(inEntry, "kindVersion"), "kindVersion"},
		{"no body", drop(inEntry, "canonicalizedBody"), "canonicalizedBody"},
		{"body empty", set(inEntry, "canonicalizedBody", ""), "canonicalizedBody"},
		{"promise empty", set(inEntry, "inclusionPromise", map[string]any{}), "inclusionPromise"},
		{"no promise", drop(inEntry, "inclusionPromise"), ""},
		{"no proof", drop(inEntry, "inclusionProof"), "inclusionProof"},
		{"proof empty", set(inEntry, "inclusionProof", map[string]any{}), "inclusionProof"},
		{"no checkpoint", drop(inProof, "checkpoint"), "checkpoint"},
		{"checkpoint empty", set(inProof, "checkpoint", map[string]any{"envelope": ""}), "checkpoint"},
		{"negative proof index", set(inProof, "logIndex", "-1"), "negative"},
		{"tree of no leaves", set(inProof, "treeSize", "0"), "treeSize"},
		{"negative tree", set(inProof, "treeSize", "-5"), "treeSize"},
		{"proof with a null hash", set(inProof, "hashes", []any{nil}), "malformed"},

		{"timestamp empty", set(inTimestamp, "rfc3161Timestamps", []any{map[string]any{}}), "signedTimestamp"},
		{"timestamp null", set(inTimestamp, "rfc3161Timestamps", []any{nil}), "malformed"},
		{"no timestamps", drop(inMaterial, "timestampVerificationData"), ""},
		{"no log entries", drop(inMaterial, "tlogEntries"), ""},
		{"the same log entry twice", func(o object) {
			m := o.at(inMaterial...)
			m["tlogEntries"] = repeat(m["tlogEntries"].([]any)[0], 2)
		}, "twice"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := decode(t, good)
			tt.change(o)
			_, err := bundle.Parse(o.json(t))
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error is %v, want one that names %q", err, tt.want)
			}
		})
	}
}

// chain makes a v0.2 bundle with a chain of n certificates.
func chain(n int) func(object) {
	return func(o object) {
		o["mediaType"] = v02
		m := o.at(inMaterial...)
		m["x509CertificateChain"] = map[string]any{"certificates": repeat(m["certificate"], n)}
		delete(m, "certificate")
	}
}

// TestLIB12_LIB13_ProofsByVersion: what each bundle version demands of a log
// entry. A proof without a checkpoint is refused in all of them (A017).
func TestLIB12_LIB13_ProofsByVersion(t *testing.T) {
	good := marshal(t, shapes(t)["DSSE, Rekor v1"])
	for _, tt := range []struct {
		version                    string
		promise, proof, checkpoint bool
		ok                         bool
	}{
		{v01, true, true, true, true}, {v01, true, true, false, false}, {v01, true, false, false, true},
		{v01, false, true, true, false}, {v01, false, false, false, false},
		{v02, true, true, true, true}, {v02, true, true, false, false}, {v02, true, false, false, false},
		{v02, false, true, true, true}, {v02, false, true, false, false}, {v02, false, false, false, false},
		{bundle.MediaTypeV03, true, true, true, true}, {bundle.MediaTypeV03, true, false, false, false},
		{bundle.MediaTypeV03, false, true, true, true}, {bundle.MediaTypeV03, false, true, false, false},
	} {
		o := decode(t, good)
		o["mediaType"] = tt.version
		if !tt.checkpoint {
			drop(inProof, "checkpoint")(o)
		}
		if !tt.promise {
			drop(inEntry, "inclusionPromise")(o)
		}
		if !tt.proof {
			drop(inEntry, "inclusionProof")(o)
		}
		if _, err := bundle.Parse(o.json(t)); (err == nil) != tt.ok {
			t.Errorf("%+v: error is %v", tt, err)
		}
	}
}

// TestMarshalRefuses: nothing is written that could not be read.
func TestMarshalRefuses(t *testing.T) {
	all := shapes(t)
	for name, change := range map[string]func(*bundle.Evidence){
		"no signature":        func(e *bundle.Evidence) { e.Envelope.Signature = nil },
		"no content":          func(e *bundle.Evidence) { e.Envelope = nil },
		"no payload type":     func(e *bundle.Evidence) { e.Envelope.PayloadType = "" },
		"empty certificate":   func(e *bundle.Evidence) { e.Certificates = [][]byte{{}} },
		"entry without proof": func(e *bundle.Evidence) { e.Entries[0].Proof = nil },
		"proof without checkpoint": func(e *bundle.Evidence) {
			p := *e.Entries[0].Proof
			p.Checkpoint = ""
			e.Entries[0].Proof = &p
		},
		"entry without kind": func(e *bundle.Evidence) { e.Entries[0].Kind = "" },
		"entry without body": func(e *bundle.Evidence) { e.Entries[0].Body = nil },
		"empty promise":      func(e *bundle.Evidence) { e.Entries[0].SET = []byte{} },
		"empty timestamp":    func(e *bundle.Evidence) { e.Timestamps = [][]byte{{}} },
		"33 timestamps":      func(e *bundle.Evidence) { e.Timestamps = slices.Repeat(e.Timestamps, 33) },
		"unknown digest": func(e *bundle.Evidence) {
			e.Envelope, e.Message = nil, &bundle.Message{DigestAlgorithm: "md5", Signature: []byte{1}}
		},
		"invalid UTF-8":        func(e *bundle.Evidence) { e.Envelope.PayloadType = "\xff" },
		"more than a mebibyte": func(e *bundle.Evidence) { e.Envelope.Payload = make([]byte, bundle.MaxSize) },
	} {
		base := *all["DSSE, Rekor v1"]
		env := *base.Envelope
		base.Envelope, base.Entries = &env, slices.Clone(base.Entries)
		if _, err := bundle.Marshal(&base); err != nil {
			t.Fatalf("the good twin is refused: %v", err)
		}
		change(&base)
		if raw, err := bundle.Marshal(&base); err == nil {
			_, err := bundle.Parse(raw)
			t.Errorf("%s: is written; reading gives %v", name, err)
		}
	}
}

// FuzzParse asserts that what was read can be written as v0.3 and is then read
// as the same, unless it is of an older version that holds what v0.3 cannot.
func FuzzParse(f *testing.F) {
	for _, e := range shapes(f) {
		raw := marshal(f, e)
		f.Add(raw)
		f.Add(bytes.Replace(raw, []byte(bundle.MediaTypeV03), []byte(v01), 1))
		f.Add(bytes.Replace(raw, []byte(bundle.MediaTypeV03), []byte(v02), 1))
	}
	f.Add([]byte(`{"mediaType":"` + v01 + `","verificationMaterial":{"publicKey":{}},"messageSignature":{"messageDigest":{"algorithm":"SHA2_256"},"signature":"` +
		base64.StdEncoding.EncodeToString([]byte("x")) + `"}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		first, err := bundle.Parse(text)
		if err != nil {
			return
		}
		if first.Form != bundle.FormBundle || len(first.Signature()) == 0 || (first.Envelope == nil) == (first.Message == nil) || first.Payload != nil {
			t.Fatalf("incomplete evidence: %+v", first)
		}
		raw, err := bundle.Marshal(first)
		if err != nil {
			old := first.MediaType == v01 || first.MediaType == v02
			if old || len(text) > bundle.MaxSize/2 {
				return
			}
			t.Fatalf("read, but cannot be written: %v", err)
		}
		second, err := bundle.Parse(raw)
		if err != nil {
			t.Fatalf("written, but cannot be read: %v\n%s", err, raw)
		}
		first.MediaType = bundle.MediaTypeV03
		if len(first.Certificates) > 1 {
			first.Certificates = first.Certificates[:1]
		}
		if diff := cmp.Diff(first, second, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("changed (-first +second):\n%s", diff)
		}
	})
}
