package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const issuerURL = "https://issuer.example"

var alice = Identity{SAN: SAN{Kind: Email, Value: "alice@acme.example"}, Issuer: issuerURL}

// certificate issues a real certificate with the given extensions.
func certificate(tb testing.TB, exts []pkix.Extension) *x509.Certificate {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<31, 0),
		ExtraExtensions: exts,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return cert
}

// raw is a certificate whose extensions never went through crypto/x509's own
// parser, for forms that it refuses before this package sees them.
func raw(exts []pkix.Extension) *x509.Certificate { return &x509.Certificate{Extensions: exts} }

func extensions(tb testing.TB, id Identity) []pkix.Extension {
	tb.Helper()
	exts, err := id.CertificateExtensions()
	if err != nil {
		tb.Fatal(err)
	}
	return exts
}

func utf8String(s string) []byte {
	der, err := asn1.MarshalWithParams(s, "utf8")
	if err != nil {
		panic(err)
	}
	return der
}

// replace returns the extensions with the one of the given arc changed, or
// removed if value is nil.
func replace(exts []pkix.Extension, id asn1.ObjectIdentifier, value []byte) []pkix.Extension {
	out := slices.Clone(exts)
	for i := range out {
		if out[i].Id.Equal(id) {
			if value == nil {
				return slices.Delete(out, i, i+1)
			}
			out[i].Value = value
			return out
		}
	}
	return append(out, pkix.Extension{Id: id, Value: value})
}

func TestRoundTripEveryKindAndExtension(t *testing.T) {
	all := Extensions{}
	for i, f := range all.fields() {
		*f = "value " + string(rune('a'+i))
	}
	ids := []Identity{
		alice,
		{SAN: SAN{Kind: URI, Value: "https://github.example/acme/app/.github/workflows/release.yml@refs/heads/main"}, Issuer: issuerURL, Extensions: all},
		{SAN: SAN{Kind: URI, Value: "spiffe://acme.example/builder"}, Issuer: issuerURL},
		{SAN: SAN{Kind: Username, Value: "alice!acme.example"}, Issuer: issuerURL},
		{SAN: SAN{Kind: Username, Value: "älice!acme.example"}, Issuer: "https://issuer.example/ü"},
	}
	for i := range all.fields() {
		id := alice
		*id.Extensions.fields()[i] = "only this one"
		ids = append(ids, id)
	}
	for _, want := range ids {
		exts := extensions(t, want)
		if !exts[0].Id.Equal(oidSAN) || !exts[0].Critical {
			t.Errorf("%v: the first extension is not a critical subject alternative name", want.SAN)
		}
		got, err := FromCertificate(certificate(t, exts))
		if err != nil {
			t.Errorf("%v: %v", want.SAN, err)
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%v changed on the way (-want +got):\n%s", want.SAN, diff)
		}
	}
}

// TestExtensionArcs holds the numbers of Fulcio's docs/oid-info.md, both the
// first and the last of them and those that policies use most.
func TestExtensionArcs(t *testing.T) {
	id := alice
	id.Extensions = Extensions{BuildSignerURI: "9", SourceRepositoryURI: "12", SourceRepositoryRef: "14", BuildTrigger: "20", TokenSubject: "24"}
	for _, ext := range extensions(t, id)[3:] {
		if got, want := string(ext.Value[2:]), ext.Id.String(); !strings.HasSuffix(want, "57264.1."+got) {
			t.Errorf("value %s stands in extension %s", got, want)
		}
	}
	exts := extensions(t, alice)
	if string(exts[1].Value) != issuerURL || exts[1].Id.String() != "1.3.6.1.4.1.57264.1.1" {
		t.Errorf("the deprecated issuer is %v %q, want the raw bytes", exts[1].Id, exts[1].Value)
	}
	if exts[2].Id.String() != "1.3.6.1.4.1.57264.1.8" || exts[2].Value[0] != asn1.TagUTF8String {
		t.Errorf("the issuer is %v %x, want a UTF8String", exts[2].Id, exts[2].Value)
	}
}

// TestA164_LIB18_KindsNeverEqualByText encodes one text as each kind and expects that no
// two kinds can carry it.
func TestA164_LIB18_KindsNeverEqualByText(t *testing.T) {
	texts := []string{
		"alice@acme.example", "alice!acme.example", "https://acme.example/alice", "mailto:alice@acme.example",
		"a@b!c", "a!b@c", "a!b@c!d", "x@y@z", "https://a@b!c", "urn:a@b", "a:b@c", "spiffe://acme.example/x!y",
		"@", "!", "!x", "x!", "x@", "@x", ":", "x:", "a:b!c",
	}
	accepted := map[Kind]int{}
	for _, text := range texts {
		var kinds []Kind
		for _, kind := range []Kind{Email, URI, Username} {
			id := Identity{SAN: SAN{Kind: kind, Value: text}, Issuer: issuerURL}
			if _, err := id.CertificateExtensions(); err == nil {
				kinds = append(kinds, kind)
				accepted[kind]++
			}
			got, err := FromCertificate(raw(append(sanOf(kind, text), extensions(t, alice)[1:]...)))
			if wrote := slices.Contains(kinds, kind); (err == nil) != wrote {
				t.Errorf("%q as %s: written %v, but reading gives %v", text, kind, wrote, err)
			}
			if err == nil && got.SAN != id.SAN {
				t.Errorf("%q as %s is read as %v", text, kind, got.SAN)
			}
		}
		if len(kinds) > 1 {
			t.Errorf("%q can be %v: a policy that gives the text could not tell them apart", text, kinds)
		}
	}
	for _, kind := range []Kind{Email, URI, Username} {
		if accepted[kind] == 0 {
			t.Errorf("no text was accepted as %s", kind)
		}
	}
	if (SAN{Kind: Email, Value: "x"}) == (SAN{Kind: URI, Value: "x"}) {
		t.Error("two names of different kinds are equal")
	}
	if _, err := (Identity{SAN: SAN{Kind: "dns", Value: "acme.example"}, Issuer: issuerURL}).CertificateExtensions(); err == nil {
		t.Error("an unknown kind is written")
	}
}

// sanOf encodes any text as any kind, without the checks of this package.
func sanOf(kind Kind, text string) []pkix.Extension {
	name := asn1.RawValue{Class: asn1.ClassContextSpecific, Bytes: []byte(text)}
	switch kind {
	case Email:
		name.Tag = 1
	case URI:
		name.Tag = 6
	case Username:
		der, err := asn1.MarshalWithParams(otherName{ID: oidOther, Value: text}, "tag:0")
		if err != nil {
			panic(err)
		}
		name = asn1.RawValue{FullBytes: der}
	}
	return []pkix.Extension{sanExtension(name)}
}

func sanExtension(names ...asn1.RawValue) pkix.Extension {
	value, err := asn1.Marshal(names)
	if err != nil {
		panic(err)
	}
	return pkix.Extension{Id: oidSAN, Critical: true, Value: value}
}

func TestLIB19_NotExactlyOneName(t *testing.T) {
	email := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 1, Bytes: []byte(alice.SAN.Value)}
	mallory := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 1, Bytes: []byte("mallory@evil.example")}
	dns := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 2, Bytes: []byte("acme.example")}
	foreign, err := asn1.MarshalWithParams(otherName{ID: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 20, 2, 3}, Value: "alice!acme.example"}, "tag:0")
	if err != nil {
		t.Fatal(err)
	}
	rest := extensions(t, alice)[1:]
	good := sanExtension(email)
	for _, tt := range []struct {
		name string
		sans []pkix.Extension
		ok   bool
	}{
		{"one", []pkix.Extension{good}, true},
		{"none", nil, false},
		{"empty list", []pkix.Extension{sanExtension()}, false},
		{"two, the first matching", []pkix.Extension{sanExtension(email, mallory)}, false},
		{"two, the second matching", []pkix.Extension{sanExtension(mallory, email)}, false},
		{"the same twice", []pkix.Extension{sanExtension(email, email)}, false},
		{"e-mail and DNS", []pkix.Extension{sanExtension(email, dns)}, false},
		{"DNS alone", []pkix.Extension{sanExtension(dns)}, false},
		{"another otherName", []pkix.Extension{sanExtension(asn1.RawValue{FullBytes: foreign})}, false},
		{"universal class", []pkix.Extension{sanExtension(asn1.RawValue{Tag: asn1.TagIA5String, Bytes: []byte(alice.SAN.Value)})}, false},
		{"extension twice", []pkix.Extension{good, good}, false},
		{"trailing byte", []pkix.Extension{{Id: oidSAN, Value: append(slices.Clone(good.Value), 0)}}, false},
		{"not a sequence", []pkix.Extension{{Id: oidSAN, Value: []byte{4, 0}}}, false},
		{"truncated", []pkix.Extension{{Id: oidSAN, Value: good.Value[:len(good.Value)-1]}}, false},
	} {
		if _, err := FromCertificate(raw(append(tt.sans, rest...))); (err == nil) != tt.ok {
			t.Errorf("%s: error is %v, want accepted %v", tt.name, err, tt.ok)
		}
	}
}

// TestA053_LIB23_Extensions changes one extension of a certificate that is
// accepted.
func TestA053_LIB23_Extensions(t *testing.T) {
	id := alice
	id.Extensions.BuildTrigger = "push"
	good := extensions(t, id)
	v1, v2, trigger := oid(1), oid(8), oid(20)
	for _, tt := range []struct {
		name string
		exts []pkix.Extension
		ok   bool
	}{
		{"unchanged", good, true},
		{"only the old issuer", replace(good, v2, nil), true},
		{"only the new issuer", replace(good, v1, nil), true},
		{"an unknown Fulcio extension", append(slices.Clone(good), pkix.Extension{Id: oid(25), Value: []byte{1}}), true},
		{"GitHub's deprecated ones", append(slices.Clone(good), pkix.Extension{Id: oid(2), Value: []byte("push")}), true},
		{"CI claims, but no issuer", replace(replace(good, v1, nil), v2, nil), false},
		{"issuers disagree", replace(good, v1, []byte("https://other.example")), false},
		{"issuers disagree by a slash", replace(good, v1, []byte(issuerURL+"/")), false},
		{"old issuer empty", replace(good, v1, []byte{}), false},
		{"old issuer alone and empty", replace(replace(good, v2, nil), v1, []byte{}), false},
		{"new issuer empty", replace(good, v2, utf8String("")), false},
		{"new issuer not DER", replace(good, v2, []byte(issuerURL)), false},
		{"new issuer, no bytes", replace(good, v2, []byte{}), false},
		{"new issuer as IA5String", replace(good, v2, append([]byte{asn1.TagIA5String}, utf8String(issuerURL)[1:]...)), false},
		{"new issuer as PrintableString", replace(good, v2, append([]byte{asn1.TagPrintableString}, utf8String("issuer")[1:]...)), false},
		{"new issuer as OCTET STRING", replace(good, v2, append([]byte{asn1.TagOctetString}, utf8String(issuerURL)[1:]...)), false},
		{"new issuer constructed", replace(good, v2, append([]byte{0x2c, byte(len(issuerURL) + 2)}, utf8String(issuerURL)...)), false},
		{"new issuer context-specific", replace(good, v2, append([]byte{0x8c}, utf8String(issuerURL)[1:]...)), false},
		{"new issuer with trailing byte", replace(good, v2, append(utf8String(issuerURL), 0)), false},
		{"new issuer twice", append(slices.Clone(good), good[2]), false},
		{"old issuer twice", append(slices.Clone(good), good[1]), false},
		{"trigger twice", append(slices.Clone(good), pkix.Extension{Id: trigger, Value: utf8String("push")}), false},
		{"an unknown one twice", append(slices.Clone(good), pkix.Extension{Id: oid(25)}, pkix.Extension{Id: oid(25)}), false},
		{"trigger is not text", replace(good, trigger, []byte{2, 1, 1}), false},
		{"trigger with trailing byte", replace(good, trigger, append(utf8String("push"), 0)), false},
		{"trigger empty", replace(good, trigger, utf8String("")), false},
		{"trigger truncated", replace(good, trigger, utf8String("push")[:4]), false},
		{"trigger with long form of length", replace(good, trigger, append([]byte{12, 0x81, 4}, "push"...)), false},
	} {
		got, err := FromCertificate(raw(tt.exts))
		if (err == nil) != tt.ok {
			t.Errorf("%s: error is %v, want accepted %v", tt.name, err, tt.ok)
		}
		if err == nil && got.Issuer != issuerURL {
			t.Errorf("%s: issuer is %q", tt.name, got.Issuer)
		}
	}
}

// TestNoIssuer: a certificate of one's own authority has no issuer, and only a matcher
// that says so matches it.
func TestA053_NoIssuer(t *testing.T) {
	good := extensions(t, alice)
	got, err := FromCertificate(raw(good[:1]))
	if err != nil || got != (Identity{SAN: alice.SAN}) {
		t.Fatalf("%+v, %v", got, err)
	}
	for name, exts := range map[string][]pkix.Extension{
		"an unknown Fulcio extension":   {good[0], {Id: oid(25), Value: []byte{1}}},
		"GitHub's deprecated extension": {good[0], {Id: oid(2), Value: []byte("push")}},
		"an empty issuer":               {good[0], {Id: oid(8), Value: utf8String("")}},
	} {
		if id, err := FromCertificate(raw(exts)); err == nil {
			t.Errorf("%s: read as %+v", name, id)
		}
	}
	own := matcher(t, Spec{NoIssuer: true, Subject: alice.SAN.Value})
	if !own.Matches(got) || own.Matches(alice) || own.Matches(Identity{SAN: SAN{Email, "b@acme.example"}}) {
		t.Error("the matcher for no issuer")
	}
	for _, s := range []Spec{{IssuerRegExp: ".*", SubjectRegExp: ".*"}, {IssuerRegExp: "", Issuer: issuerURL, SubjectRegExp: ".*"}, {IssuerRegExp: "()", SubjectRegExp: ".*"}} {
		if matcher(t, s).Matches(got) {
			t.Errorf("%+v matches a certificate without an issuer", s)
		}
	}
	if new(Matcher).Matches(got) {
		t.Error("the zero value matches a certificate without an issuer")
	}
	for _, s := range []Spec{{NoIssuer: true, Issuer: issuerURL, Subject: "x"}, {NoIssuer: true, IssuerRegExp: ".*", Subject: "x"}, {NoIssuer: true}, {Subject: "x"}} {
		if _, err := NewMatcher(s); err == nil {
			t.Errorf("%+v is accepted", s)
		}
	}
	if own.String() != "alice@acme.example without an issuer" || got.String() != "alice@acme.example (without an issuer)" {
		t.Errorf("%s; %s", own, got)
	}
}
