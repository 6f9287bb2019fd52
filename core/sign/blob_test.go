package sign_test

import (
	"crypto/sha256"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/core/sign"
	"github.com/touchmark/touchmark/core/verify"
)

const provenance = "https://slsa.dev/provenance/v1"

// check verifies a bundle about content and wants this code, empty for a good one.
func (w world) check(tb testing.TB, bundleJSON []byte, content, predicateType string, by verify.Expected, want verify.Code) {
	tb.Helper()
	evidence, err := bundle.Parse(bundleJSON)
	if err != nil {
		tb.Fatal(err)
	}
	in := verify.Input{Evidence: evidence, Artifact: verify.SHA256(sha256.Sum256([]byte(content))), PredicateType: predicateType, Root: w.root, Signer: by}
	_, err = verify.Verify(in)
	var code verify.Code
	if e, ok := err.(*verify.Error); ok {
		code = e.Code
	} else if err != nil {
		tb.Fatal(err)
	}
	if code != want {
		tb.Errorf("code %q, want %q: %v", code, want, err)
	}
}

func TestBlob(t *testing.T) {
	w := newWorld(t)
	key := generate(t, keys.P256)
	for name, config := range map[string]sign.Config{"token": w.asAlice(), "key": {Signing: w.signing, Root: w.root, Key: key}} {
		by, other := keyless(t, alice, w.url), verify.CodeIdentity
		if config.Key != nil {
			by, other = verify.Keyed(verify.Key{Public: key.Public()}), verify.CodeKey
		}
		signed, err := sign.Blob(t.Context(), config, []byte("content"))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		w.check(t, signed, "content", "", by, "")
		w.check(t, signed, "other content", "", by, verify.CodeWrongArtifact)
		stranger := keyless(t, "bob@acme.example", w.url)
		if config.Key != nil {
			stranger = verify.Keyed(verify.Key{Public: coretest.NewKey(t).Public()})
		}
		w.check(t, signed, "content", "", stranger, other)
	}
	p384 := sign.Config{Signing: w.signing, Root: w.root, Key: generate(t, keys.P384)}
	if _, err := sign.Blob(t.Context(), p384, []byte("content")); err != nil {
		t.Errorf("P-384: %v", err) // verified under the root before it was handed out
	}
	ed25519 := sign.Config{Signing: w.signing, Root: w.root, Key: generate(t, keys.Ed25519)}
	if _, err := sign.Blob(t.Context(), ed25519, []byte("content")); err == nil || !strings.Contains(err.Error(), "Ed25519") {
		t.Errorf("Ed25519: error %v", err)
	}
	if _, err := sign.Blob(t.Context(), sign.Config{Signing: w.signing}, []byte("content")); err == nil || !strings.Contains(err.Error(), "neither a token nor a key") {
		t.Errorf("nobody: error %v", err)
	}
	foreign := w.asAlice()
	foreign.Root = newWorld(t).root
	if _, err := sign.Blob(t.Context(), foreign, []byte("content")); err == nil || !strings.Contains(err.Error(), "before handing it out") {
		t.Errorf("another trust root: error %v", err)
	}
}

func TestStatement(t *testing.T) {
	w := newWorld(t)
	statement := coretest.Statement(sha256.Sum256([]byte("content")), provenance, "")
	for name, config := range map[string]sign.Config{"token": w.asAlice(), "Ed25519": {Signing: w.signing, Root: w.root, Key: generate(t, keys.Ed25519)}} {
		signed, err := sign.Statement(t.Context(), config, statement)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		by := keyless(t, alice, w.url)
		if config.Key != nil {
			by = verify.Keyed(verify.Key{Public: config.Key.Public()})
		}
		w.check(t, signed, "content", provenance, by, "")
		w.check(t, signed, "content", "", by, verify.CodePredicate)
		w.check(t, signed, "other content", provenance, by, verify.CodeWrongArtifact)
	}
	for text, want := range map[string]string{
		"hello":                       "invalid character",
		`{"subject":[],"subject":[]}`: "duplicate",
		`{"predicateType":"x"}`:       "no subject",
		`{"subject":[{"digest":{}}]}`: "predicateType",
		`{"predicateType":"x","subject":[{"digest":{"sha1":"00"}}]}`: "no subject",
	} {
		if _, err := sign.Statement(t.Context(), w.asAlice(), []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", text, err, want)
		}
	}
}
