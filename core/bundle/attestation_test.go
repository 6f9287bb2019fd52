package bundle_test

import (
	"encoding/base64"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
)

func TestLegacyAttestationRoundTrip(t *testing.T) {
	s := coretest.New(t)
	key := coretest.NewKey(t)
	for name, o := range map[string]coretest.SignOptions{
		"keyless":           {Identity: coretest.Email("alice@acme.example"), PredicateType: "https://spdx.dev/Document"},
		"key":               {Key: key},
		"key, nothing else": {Key: key, WithoutLog: true, WithoutTimestamp: true},
	} {
		o.Content = coretest.LegacyAttestation
		want := s.SignDigest(t, digest, o)
		for i := range want.Entries {
			want.Entries[i].Proof = nil // the annotations hold none, by design of the format
		}
		a, err := bundle.LegacyAttestationAnnotations(want)
		if err != nil {
			t.Fatal(err)
		}
		if sig, ok := a[annSignature]; !ok || sig != "" {
			t.Errorf("%s: cosign looks for an empty annotation %s", name, annSignature)
		}
		if o.PredicateType != "" && a["predicateType"] != o.PredicateType {
			t.Errorf("%s: predicateType is %q", name, a["predicateType"])
		}
		got, err := bundle.ParseLegacyAttestation(want.Envelope.Text, a)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s changed (-want +got):\n%s", name, diff)
		}
	}
}

// TestLIB04_LIB06_LegacyAttestation changes one thing in a good envelope or its
// annotations.
func TestLIB04_LIB06_LIB34_LegacyAttestation(t *testing.T) {
	s := coretest.New(t)
	e := s.SignDigest(t, digest, coretest.SignOptions{Identity: coretest.Email("alice@acme.example"), Content: coretest.LegacyAttestation})
	good := string(e.Envelope.Text)
	a, err := bundle.LegacyAttestationAnnotations(e)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bundle.ParseLegacyAttestation([]byte(good), a); err != nil {
		t.Fatalf("the good twin is refused: %v", err)
	}
	payload := base64.StdEncoding.EncodeToString(e.Envelope.Payload)
	sig := base64.StdEncoding.EncodeToString(e.Envelope.Signature)
	one := `{"keyid":"","sig":"` + sig + `"}`
	swap := func(old, new string) string {
		text := strings.Replace(good, old, new, 1)
		if text == good {
			t.Fatalf("%q is not in the envelope", old)
		}
		return text
	}
	for _, tt := range []struct{ name, text, want string }{
		{"unknown field", swap("{", `{"x":1,`), ""},
		{"white space around", " " + good + "\n", ""},
		{"no key ID", swap(`"keyid":"",`, ""), ""},
		{"no signatures", swap("["+one+"]", "[]"), "0 signatures"},
		{"signatures null", swap("["+one+"]", "null"), "0 signatures"},
		{"two signatures", swap(one, one+","+one), "2 signatures"},
		{"empty signature", swap(sig, ""), "signature is empty"},
		{"no payload type", swap(`"application/vnd.in-toto+json"`, `""`), "payloadType"},
		{"payload in the URL alphabet", swap(payload, "-"+payload[1:]), "/payload is not canonical base64"},
		{"payload with a line break", swap(payload, payload[:8]+`\n`+payload[8:]), "base64"},
		{"duplicate payload", swap("{", `{"payload":"",`), "duplicate"},
		{"payload in capitals", swap(`"payload"`, `"Payload"`), ""}, // an unknown field, and no payload
		{"byte order mark", "\xef\xbb\xbf" + good, "malformed"},
		{"trailing data", good + "{}", "trailing"},
		{"many tokens", swap("{", `{"x":[`+strings.Repeat("[1,1],", 100)+`1],`), "JSON tokens"},
		{"many elements", swap("{", `{"x":[`+strings.Repeat("1,", 1000)+`1],`), "elements"},
		{"nothing", "", "malformed"},
		{"null", "null", "0 signatures"},
		{"too large", good + strings.Repeat(" ", bundle.MaxSize), "the limit is"},
	} {
		got, err := bundle.ParseLegacyAttestation([]byte(tt.text), a)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), `"`, ""), strings.ReplaceAll(tt.want, `"`, ""))) {
			t.Errorf("%s: error is %v, want one that names %q", tt.name, err, tt.want)
		}
		if err == nil && string(got.Envelope.Text) != tt.text {
			t.Errorf("%s: the text was not kept", tt.name)
		}
	}
	for name, tt := range map[string]struct{ annotation, value, want string }{
		"a signature of its own":            {annSignature, sig, "stands in its envelope"},
		"a key in place of the certificate": {annCertificate, "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "PEM certificate"},
		"garbage in the bundle":             {annBundle, "{", "malformed"},
		"unknown field in the bundle":       {annBundle, swapIn(a[annBundle], "{", `{"x":1,`), "malformed"},
		"SET with unused bits":              {annBundle, unusedBits(a[annBundle], "SignedEntryTimestamp"), "base64"},
		"garbage in the timestamp":          {annTimestamp, "[]", "malformed"},
	} {
		changed := maps.Clone(a)
		changed[tt.annotation] = tt.value
		if _, err := bundle.ParseLegacyAttestation([]byte(good), changed); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error is %v, want one that names %q", name, err, tt.want)
		}
	}
}

func swapIn(text, old, new string) string { return strings.Replace(text, old, new, 1) }

// unusedBits exchanges a member's base64 for two bytes with unused bits set.
func unusedBits(text, name string) string {
	before, after, _ := strings.Cut(text, `"`+name+`":"`)
	_, after, _ = strings.Cut(after, `"`)
	return before + `"` + name + `":"AAB="` + after
}
