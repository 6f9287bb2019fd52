package bundle_test

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/tlog/entry"
)

// Annotations as cosign writes them.
const (
	annSignature   = "dev.cosignproject.cosign/signature"
	annCertificate = "dev.sigstore.cosign/certificate"
	annChain       = "dev.sigstore.cosign/chain"
	annBundle      = "dev.sigstore.cosign/bundle"
	annTimestamp   = "dev.sigstore.cosign/rfc3161timestamp"
)

// legacyShapes is evidence of every form that goes into a .sig layer.
func legacyShapes(tb testing.TB) map[string]*bundle.Evidence {
	tb.Helper()
	s := coretest.New(tb)
	options := coretest.SignOptions{Identity: coretest.Email("alice@acme.example"), Content: coretest.SimpleSigning, Reference: "registry.example/app"}
	key := coretest.SignOptions{Key: coretest.NewKey(tb), Content: coretest.SimpleSigning, Reference: "registry.example/app"}
	bare := key
	bare.WithoutLog, bare.WithoutTimestamp = true, true
	return map[string]*bundle.Evidence{
		"keyless": s.SignDigest(tb, digest, options), "key": s.SignDigest(tb, digest, key), "key, nothing else": s.SignDigest(tb, digest, bare),
	}
}

func annotations(tb testing.TB, e *bundle.Evidence) map[string]string {
	tb.Helper()
	a, err := bundle.LegacyAnnotations(e)
	if err != nil {
		tb.Fatal(err)
	}
	return a
}

func TestLegacyRoundTrip(t *testing.T) {
	for name, want := range legacyShapes(t) {
		// The layer's annotations hold no inclusion proof, by design of the format.
		for i := range want.Entries {
			want.Entries[i].Proof = nil
		}
		got, err := bundle.ParseLegacy(want.Payload.Text, annotations(t, want))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s changed (-want +got):\n%s", name, diff)
		}
	}
}

// TestLegacyAnnotationNames holds the format that cosign 2 and podman read.
func TestLegacyAnnotationNames(t *testing.T) {
	e := legacyShapes(t)["keyless"]
	a := annotations(t, e)
	for _, name := range []string{annSignature, annCertificate, annChain, annBundle, annTimestamp} {
		if _, ok := a[name]; !ok {
			t.Errorf("annotation %s is missing", name)
		}
	}
	var b struct {
		SignedEntryTimestamp []byte
		Payload              struct {
			Body           string `json:"body"`
			IntegratedTime int64  `json:"integratedTime"`
			LogIndex       int64  `json:"logIndex"`
			LogID          string `json:"logID"`
		}
	}
	if err := json.Unmarshal([]byte(a[annBundle]), &b); err != nil {
		t.Fatal(err)
	}
	if b.Payload.IntegratedTime != e.Entries[0].IntegratedTime || b.Payload.LogIndex != e.Entries[0].LogIndex || len(b.Payload.LogID) != 64 {
		t.Errorf("bundle annotation is %s", a[annBundle])
	}
	if block, rest := pem.Decode([]byte(a[annCertificate])); block == nil || block.Type != "CERTIFICATE" || len(rest) != 0 {
		t.Errorf("certificate annotation is %q", a[annCertificate])
	}
	// A chain that came with the evidence goes into its own annotation.
	e.Certificates = append(e.Certificates, e.Certificates[0])
	if a := annotations(t, e); a[annChain] != a[annCertificate] {
		t.Errorf("chain annotation is %q", a[annChain])
	}
	if _, err := bundle.LegacyAnnotations(shapes(t)["DSSE, Rekor v1"]); err == nil {
		t.Error("an envelope is written as a simple signature")
	}
	if _, err := bundle.Marshal(e); err == nil {
		t.Error("a simple signature is written as a bundle")
	}
}

// TestA044_CertificateAnnotation: what stands in place of a certificate never
// turns keyless evidence into keyed evidence (GHSA-fx35-mq7g-6g98).
func TestA044_CertificateAnnotation(t *testing.T) {
	e := legacyShapes(t)["keyless"]
	good := annotations(t, e)
	key, err := entry.PublicKeyPEM(coretest.NewKey(t).Public())
	if err != nil {
		t.Fatal(err)
	}
	cert := good[annCertificate]
	withHeader := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Headers: map[string]string{"x": "y"}, Bytes: e.Certificates[0]}))
	for _, tt := range []struct {
		name, text string
		ok         bool
	}{
		{"certificate", cert, true},
		{"text before the block", "subject: alice\n" + cert, true}, // as openssl writes it; only the block is read
		{"public key", string(key), false},
		{"public key under the other label", strings.ReplaceAll(string(key), "PUBLIC KEY", "CERTIFICATE"), true}, // no certificate: core/verify refuses it
		{"certificate and public key", cert + string(key), false},
		{"public key and certificate", string(key) + cert, false},
		{"two certificates", cert + cert, false},
		{"text after the block", cert + "x", false},
		{"header in the block", withHeader, false},
		{"trusted certificate of openssl", strings.ReplaceAll(cert, "CERTIFICATE", "TRUSTED CERTIFICATE"), false},
		{"certificate request", strings.ReplaceAll(cert, "CERTIFICATE", "CERTIFICATE REQUEST"), false},
		{"DER", string(e.Certificates[0]), false},
		{"base64 without PEM", base64.StdEncoding.EncodeToString(e.Certificates[0]), false},
		{"space", " ", false},
		{"empty block", "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n", false},
		{"a mebibyte of begins (A087)", strings.Repeat("-----BEGIN", 90_000), false},
	} {
		a := maps.Clone(good)
		a[annCertificate] = tt.text
		got, err := bundle.ParseLegacy(e.Payload.Text, a)
		if (err == nil) != tt.ok {
			t.Errorf("%s: error is %v, want accepted %v", tt.name, err, tt.ok)
		}
		if err == nil && len(got.Certificates) != 1 {
			t.Errorf("%s: evidence became keyed", tt.name)
		}
	}
}

// TestA004_A060_LegacyAnnotations changes one annotation of a good layer.
func TestA004_A060_LegacyAnnotations(t *testing.T) {
	e := legacyShapes(t)["keyless"]
	good := annotations(t, e)
	swap := func(name, old, new string) func(map[string]string) {
		return func(a map[string]string) {
			if a[name] = strings.Replace(a[name], old, new, 1); a[name] == good[name] {
				t.Fatalf("%s: %q is not in it", name, old)
			}
		}
	}
	put := func(name, value string) func(map[string]string) {
		return func(a map[string]string) { a[name] = value }
	}
	body := base64.StdEncoding.EncodeToString
	for _, tt := range []struct {
		name   string
		change func(map[string]string)
		ok     bool
	}{
		{"unchanged", func(map[string]string) {}, true},
		{"an annotation of somebody else", put("org.example/x", "y"), true},
		{"any chain", put(annChain, "garbage"), true}, // never read: authorities come from the trust root
		{"no chain", func(a map[string]string) { delete(a, annChain) }, true},
		{"no log entry", put(annBundle, ""), true},
		{"no timestamp", put(annTimestamp, ""), true},
		{"no signature", put(annSignature, ""), false},
		{"signature is not base64", put(annSignature, "*"), false},
		{"signature with stray bits", put(annSignature, "QUJ="), false},
		{"signature in the URL alphabet", put(annSignature, "-_-_"), false},
		{"bundle is garbage", put(annBundle, "garbage"), false},
		{"bundle null", put(annBundle, "null"), false},
		{"bundle empty", put(annBundle, "{}"), false},
		{"bundle an array", put(annBundle, "[]"), false},
		{"bundle with byte order mark", put(annBundle, "\xef\xbb\xbf"+good[annBundle]), false},
		{"bundle with trailing data", put(annBundle, good[annBundle]+"{}"), false},
		{"bundle with a line break at the end", put(annBundle, good[annBundle]+"\n"), true},
		{"unknown field", swap(annBundle, "{", `{"x":1,`), false},
		{"unknown field in the payload", swap(annBundle, `"Payload":{`, `"Payload":{"x":1,`), false},
		{"duplicate field", swap(annBundle, "{", `{"Payload":{},`), false},
		{"duplicate field in the payload", swap(annBundle, `"Payload":{`, `"Payload":{"logIndex":1,`), false},
		{"other case", swap(annBundle, "SignedEntryTimestamp", "signedEntryTimestamp"), false},
		{"promise null", swap(annBundle, `"SignedEntryTimestamp":"`, `"SignedEntryTimestamp":null,"x":"`), false},
		{"negative index", swap(annBundle, `"logIndex":`, `"logIndex":-`), false},
		{"negative time", swap(annBundle, `"integratedTime":`, `"integratedTime":-`), false},
		{"time as text", swap(annBundle, `"integratedTime":`, `"integratedTime":"1","x":`), false},
		{"time a fraction", swap(annBundle, `"integratedTime":`, `"integratedTime":1.5,"x":`), false},
		{"short log ID", swap(annBundle, `"logID":"`, `"logID":"","x":"`), false},
		{"log ID too long", swap(annBundle, `"logID":"`, `"logID":"00`), false},
		{"log ID not hexadecimal", swap(annBundle, `"logID":"`, `"logID":"z`), false},
		{"no body", swap(annBundle, `"body":"`, `"body":"","x":"`), false},
		{"body not base64", swap(annBundle, `"body":"`, `"body":"*`), false},
		{"body not JSON", put(annBundle, strings.Replace(good[annBundle], body(e.Entries[0].Body), body([]byte("x")), 1)), false},
		{"body with duplicate field", put(annBundle, strings.Replace(good[annBundle], body(e.Entries[0].Body), body([]byte(`{"kind":"a","kind":"b"}`)), 1)), false},
		{"depth of 100,000", put(annBundle, strings.Repeat("[", 100_000)), false},
		{"body with a depth of 100,000", put(annBundle, strings.Replace(good[annBundle], body(e.Entries[0].Body), body([]byte(strings.Repeat("[", 100_000))), 1)), false},
		{"timestamp garbage", put(annTimestamp, "garbage"), false},
		{"timestamp null", put(annTimestamp, "null"), false},
		{"timestamp empty", put(annTimestamp, `{"SignedRFC3161Timestamp":""}`), false},
		{"timestamp with unknown field", swap(annTimestamp, "{", `{"x":1,`), false},
		{"timestamp twice", swap(annTimestamp, "{", `{"SignedRFC3161Timestamp":"AA==",`), false},
		{"above the size limit", put("x", strings.Repeat("x", bundle.MaxSize)), false},
	} {
		a := maps.Clone(good)
		tt.change(a)
		if _, err := bundle.ParseLegacy(e.Payload.Text, a); (err == nil) != tt.ok {
			t.Errorf("%s: error is %v, want accepted %v", tt.name, err, tt.ok)
		}
	}
	if _, err := bundle.ParseLegacy(nil, nil); err == nil {
		t.Error("nothing at all is accepted")
	}
}

// TestLIB02_SimpleSigning changes one thing in a good payload.
func TestLIB02_SimpleSigning(t *testing.T) {
	const d = "sha256:" + "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
	good, err := bundle.SimpleSigningPayload("registry.example/app", d)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"critical":{"identity":{"docker-reference":"registry.example/app"},"image":{"docker-manifest-digest":"` + d + `"},"type":"cosign container image signature"},"optional":null}`; string(good) != want {
		t.Errorf("payload is %s, want %s", good, want)
	}
	for _, tt := range []struct {
		name, old, new string
		ok             bool
	}{
		{"unchanged", "x", "x", true},
		{"optional values", `"optional":null`, `"optional":{"creator":"x","timestamp":1}`, true},
		{"without optional values", `,"optional":null`, ``, true},
		{"without a name", `"docker-reference":"registry.example/app"`, `"docker-reference":""`, true},
		{"without digest", `"docker-manifest-digest":"` + d + `"`, ``, false},
		{"digest null", `"` + d + `"`, `null`, false},
		{"digest a number", `"` + d + `"`, `1`, false},
		{"digest under another name", `docker-manifest-digest`, `Docker-Manifest-Digest`, false},
		{"atomic signature", `cosign container image signature`, `atomic container signature`, false},
		{"without type", `,"type":"cosign container image signature"`, ``, false},
		{"unknown critical field", `"critical":{`, `"critical":{"x":1,`, false},
		{"unknown field", `{"critical"`, `{"x":1,"critical"`, false},
		{"duplicate digest", `"image":{`, `"image":{"docker-manifest-digest":"sha256:00",`, false},
		{"duplicate critical part", `{"critical"`, `{"critical":{},"critical"`, false},
		{"critical part in capitals", `{"critical"`, `{"Critical":{},"critical"`, false},
		{"trailing data", `"optional":null}`, `"optional":null}{}`, false},
	} {
		text := strings.Replace(string(good), tt.old, tt.new, 1)
		if tt.old != tt.new && text == string(good) {
			t.Fatalf("%s: the payload was not changed", tt.name)
		}
		got, err := bundle.ParseSimpleSigning([]byte(text))
		if (err == nil) != tt.ok {
			t.Errorf("%s: error is %v, want accepted %v", tt.name, err, tt.ok)
		}
		if err == nil && got.Digest != d {
			t.Errorf("%s: digest is %q", tt.name, got.Digest)
		}
	}
	for _, text := range []string{"", "null", "[]", "x", "{}", `"` + d + `"`, "\xef\xbb\xbf" + string(good), strings.Repeat("[", 100_000)} {
		if _, err := bundle.ParseSimpleSigning([]byte(text)); err == nil {
			t.Errorf("%.20q is accepted", text)
		}
	}
}

// FuzzParseLegacy asserts that a layer that was read can be written, and is
// then read as the same.
func FuzzParseLegacy(f *testing.F) {
	for _, e := range legacyShapes(f) {
		a := annotations(f, e)
		f.Add(e.Payload.Text, a[annSignature], a[annCertificate], a[annBundle], a[annTimestamp])
	}
	f.Fuzz(func(t *testing.T, payload []byte, signature, certificate, rekor, timestamp string) {
		first, err := bundle.ParseLegacy(payload, map[string]string{
			annSignature: signature, annCertificate: certificate, annBundle: rekor, annTimestamp: timestamp,
		})
		if err != nil {
			return
		}
		a, err := bundle.LegacyAnnotations(first)
		if err != nil {
			t.Fatalf("read, but cannot be written: %v", err)
		}
		second, err := bundle.ParseLegacy(payload, a)
		if err != nil {
			t.Fatalf("written, but cannot be read: %v\n%v", err, a)
		}
		if diff := cmp.Diff(first, second, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("changed (-first +second):\n%s", diff)
		}
	})
}
