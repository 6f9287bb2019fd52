package tsp

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"math/big"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// der is one DER value with a name by which a test changes it.
type der struct {
	name  string
	tag   byte
	bytes []byte // the content, where there are no parts
	parts []*der
}

func node(name string, tag byte, parts ...*der) *der { return &der{name: name, tag: tag, parts: parts} }

func leaf(name string, tag byte, content string) *der {
	return &der{name: name, tag: tag, bytes: []byte(content)}
}

func (d *der) encode() []byte {
	content := bytes.Clone(d.bytes)
	var parts [][]byte
	for _, p := range d.parts {
		parts = append(parts, p.encode())
	}
	if d.name == "attributes" {
		slices.SortFunc(parts, bytes.Compare)
	}
	content = append(content, slices.Concat(parts...)...)
	switch n := len(content); {
	case n < 0x80:
		return append([]byte{d.tag, byte(n)}, content...)
	case n < 0x100:
		return append([]byte{d.tag, 0x81, byte(n)}, content...)
	default:
		return append([]byte{d.tag, 0x82, byte(n >> 8), byte(n)}, content...)
	}
}

// find returns the value of a name and what it is a part of.
func (d *der) find(name string) (found, parent *der) {
	for _, p := range d.parts {
		if p.name == name {
			return p, d
		}
		if found, parent := p.find(name); found != nil {
			return found, parent
		}
	}
	return nil, nil
}

func algorithm(name, oid string) *der {
	return node(name, 0x30, leaf(name+" OID", 6, oid), leaf(name+" parameters", 5, ""))
}

// certIdentifier is an ESSCertID, or an ESSCertIDv2 with its algorithm.
func certIdentifier(name string, size int, hash ...*der) *der {
	issuer := node(name+" issuer", 0xa4, node(name+" issuer name", 0x30))
	serial := node(name+" issuerSerial", 0x30, node(name+" names", 0x30, issuer), leaf(name+" serial", 2, "\x07"))
	parts := append(hash, leaf(name+" hash", 4, strings.Repeat("h", size)), serial)
	return node(name+" value", 0x30, node(name+" list", 0x30, node(name+" ID", 0x30, parts...)), node(name+" policies", 0x30))
}

func attributeOf(name, oid string, value *der) *der {
	return node(name+" attribute", 0x30, leaf(name+" type", 6, oid), node(name+" values", 0x31, value))
}

// response is a token with everything in it that may be there. Its signature is garbage:
// that is not for [Parse] to find.
func response() *der {
	info := node("TSTInfo", 0x30,
		leaf("TSTInfo version", 2, "\x01"), leaf("policy", 6, "\x2a"),
		node("imprint", 0x30, algorithm("imprint algorithm", oidSHA256), leaf("hashed", 4, strings.Repeat("m", 32))),
		leaf("serial", 2, "\x07"), leaf("time", 0x18, "20261101120000Z"), node("accuracy", 0x30, leaf("seconds", 2, "\x01")),
		leaf("ordering", 1, "\xff"), leaf("nonce", 2, "\x09"), node("name", 0xa0, node("general name", 0xa4)),
		node("extensions", 0xa1, node("extension", 0x30, leaf("extension OID", 6, "\x2a"), leaf("extension value", 4, "x"))))
	signer := node("signer", 0x30,
		leaf("signer version", 2, "\x01"), node("sid", 0x30, node("sid issuer", 0x30), leaf("sid serial", 2, "\x07")),
		algorithm("signer digest", oidSHA256),
		node("attributes", 0xa0,
			attributeOf("contentType", oidContentType, leaf("contentType value", 6, oidTSTInfo)),
			attributeOf("messageDigest", oidDigest, leaf("messageDigest value", 4, strings.Repeat("d", 32))),
			attributeOf("signingTime", oidSigningTime, leaf("signingTime value", 0x17, "261101120000Z")),
			attributeOf("signingCertificate", oidSigningCert, certIdentifier("v1", 20)),
			attributeOf("signingCertificateV2", oidSigningCert2, certIdentifier("v2", 32, algorithm("v2 algorithm", oidSHA256)))),
		algorithm("signature algorithm", oidECDSASHA256), leaf("signature", 4, "garbage"))
	data := node("SignedData", 0x30,
		leaf("version", 2, "\x03"), node("digests", 0x31, algorithm("digest", oidSHA256)),
		node("encapsulated", 0x30, leaf("content type", 6, oidTSTInfo), node("content [0]", 0xa0, node("content", 4, info))),
		node("certificates", 0xa0, node("certificate", 0x30)), node("signers", 0x31, signer))
	return node("response", 0x30, node("status", 0x30, leaf("status code", 2, "\x00")),
		node("token", 0x30, leaf("token type", 6, oidSignedData), node("token [0]", 0xa0, data)))
}

// TestLIB29_A076_Structure changes each value of a good token in five ways. What is said
// of each stands in testdata/structure.txt; "accepted" are what is optional, and what only
// [Token.Verify] looks into.
func TestLIB29_A076_Structure(t *testing.T) {
	edits := []struct {
		name string
		edit func(d, parent *der)
	}{
		{"missing", func(d, parent *der) {
			parent.parts = slices.DeleteFunc(parent.parts, func(p *der) bool { return p == d })
		}},
		{"of another type", func(d, _ *der) { d.tag = 0x0a }},
		{"cut", func(d, _ *der) { d.bytes, d.parts = []byte{d.tag, 0x20}, nil }},
		{"empty", func(d, _ *der) { d.bytes, d.parts = nil, nil }},
		{"with more", func(d, _ *der) { d.parts = append(d.parts, leaf("more", 5, "")) }},
	}
	var got []string
	var walk func(d *der)
	walk = func(d *der) {
		for _, p := range d.parts {
			for _, e := range edits {
				r := response()
				e.edit(r.find(p.name))
				said := "accepted"
				if _, err := Parse(r.encode()); err != nil {
					said = strings.TrimPrefix(err.Error(), "parsing timestamp: ")
				}
				got = append(got, p.name+" "+e.name+": "+said)
			}
			walk(p)
		}
	}
	walk(response())
	golden, err := os.ReadFile("testdata/structure.txt")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(strings.TrimSuffix(string(golden), "\n"), "\n"), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestLIB29_Edges holds each limit, and what may stand in several forms.
func TestLIB29_Edges(t *testing.T) {
	set := func(name, content string) func(*der) {
		return func(r *der) { d, _ := r.find(name); d.bytes, d.parts = []byte(content), nil }
	}
	add := func(name string, parts ...*der) func(*der) {
		return func(r *der) { d, _ := r.find(name); d.parts = append(d.parts, parts...) }
	}
	fill := func(size int) func(*der) { // up to a size of the whole
		return func(r *der) {
			set("certificate", strings.Repeat("c", 1000))(r)
			set("certificate", strings.Repeat("c", 1000+size-len(r.encode())))(r)
		}
	}
	sha512 := algorithm("digest 2", oidSHA512)
	for _, tt := range []struct {
		name string
		edit func(*der)
		want string
	}{
		{"as it is", func(*der) {}, ""},
		{"a serial of 64 bytes", set("serial", strings.Repeat("\x01", maxInteger-2)), ""},
		{"a serial of 65 bytes", set("serial", strings.Repeat("\x01", maxInteger-1)), "serialNumber"},
		{"a policy of 64 bytes", set("policy", strings.Repeat("\x01", maxOID-2)), ""},
		{"a policy of 65 bytes", set("policy", strings.Repeat("\x01", maxOID-1)), "policy"},
		{"a response at its limit", fill(MaxResponse), ""},
		{"a response above it", fill(MaxResponse + 1), "the limit is"},
		{"eight certificates", add("certificates", slices.Repeat([]*der{node("c", 0x30)}, 7)...), ""},
		{"nine certificates", add("certificates", slices.Repeat([]*der{node("c", 0x30)}, 8)...), "more than 8 certificates"},
		{"the signer's digest in front", add("digests", sha512), ""},
		{"the signer's digest behind", func(r *der) { d, _ := r.find("digests"); d.parts = append([]*der{sha512}, d.parts...) }, ""},
		{"the signer's digest missing", func(r *der) { d, _ := r.find("digests"); d.parts = []*der{sha512} }, "digestAlgorithms lacks"},
		{"two signers", func(r *der) { d, _ := r.find("signers"); d.parts = append(d.parts, d.parts...) }, "exactly one signer"},
		{"the latest signingTime", func(r *der) { d, _ := r.find("signingTime value"); d.tag, d.bytes = 0x18, []byte("20261101120000Z") }, ""},
		{"a malformed one", func(r *der) { d, _ := r.find("signingTime value"); d.tag, d.bytes = 0x18, []byte("2026") }, "signingTime"},
		{"an attribute twice", func(r *der) { d, _ := r.find("attributes"); d.parts = append(d.parts, d.parts[0]) }, "duplicate attribute"},
		{"attributes backwards", func(r *der) {
			d, _ := r.find("attributes")
			slices.SortFunc(d.parts, func(a, b *der) int { return bytes.Compare(b.encode(), a.encode()) })
			d.name = "unsorted"
		}, "not in DER order"},
		{"an extension that may be ignored", add("extensions", node("e", 0x30, leaf("o", 6, "\x2a"), leaf("c", 1, "\x00"), leaf("v", 4, ""))), ""},
		{"an extension that may not", add("extensions", node("e", 0x30, leaf("o", 6, "\x2a"), leaf("c", 1, "\xff"), leaf("v", 4, ""))), "unknown critical extension"},
		{"neither, nor", add("extensions", node("e", 0x30, leaf("o", 6, "\x2a"), leaf("c", 1, "\x01"), leaf("v", 4, ""))), "malformed extension"},
		{"RSA with the signer's digest", set("signature algorithm OID", oidRSASHA256), ""},
		{"RSA with another", set("signature algorithm OID", oidRSASHA512), "with digest algorithm SHA-256"},
		{"an accuracy cut off", func(r *der) {
			d, _ := r.find("TSTInfo")
			content := node("", 0, d.parts[:5]...).encode()[2:]
			d.bytes, d.parts = append(content, 0x30, 0x20), nil
		}, "malformed accuracy"},
		{"one byte more", func(r *der) { add("response", leaf("more", 5, ""))(node("", 0, r)) }, "trailing bytes behind the token"},
	} {
		r := response()
		tt.edit(r)
		_, err := Parse(r.encode())
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: error is %v, want one that names %q", tt.name, err, tt.want)
		}
	}
}

// TestLIB29_CertificateIdentifier changes one thing of an identifier at a time.
func TestLIB29_CertificateIdentifier(t *testing.T) {
	cert := &x509.Certificate{Raw: []byte("certificate"), RawIssuer: []byte("issuer"), SerialNumber: big.NewInt(7)}
	sum := sha256.Sum256(cert.Raw)
	good := certID{hash: crypto.SHA256, digest: sum[:], issuer: cert.RawIssuer, serial: big.NewInt(7)}
	for name, tt := range map[string]struct {
		change func(*certID)
		want   bool
	}{
		"as it is": {func(*certID) {}, true}, "no issuer and serial": {func(id *certID) { id.issuer, id.serial = nil, nil }, true},
		"another digest": {func(id *certID) { id.digest = make([]byte, 32) }, false}, "another hash": {func(id *certID) { id.hash = crypto.SHA512 }, false},
		"another digest alone": {func(id *certID) { id.issuer, id.serial, id.digest = nil, nil, make([]byte, 32) }, false},
		"another issuer":       {func(id *certID) { id.issuer = []byte("other") }, false}, "another serial": {func(id *certID) { id.serial = big.NewInt(8) }, false},
	} {
		id := good
		tt.change(&id)
		if id.matches(cert) != tt.want {
			t.Errorf("%s: matches %v", name, !tt.want)
		}
	}
}

func TestStatus(t *testing.T) {
	status := func(code string, parts ...*der) *der {
		return node("status", 0x30, append([]*der{leaf("code", 2, code)}, parts...)...)
	}
	text := node("texts", 0x30, leaf("text", 0x0c, "no"), leaf("text", 0x0c, "more"))
	bits := func(content string) *der { return leaf("failure", 3, content) }
	for name, tt := range map[string]struct {
		status *der
		want   string
	}{
		"granted": {status("\x00"), ""}, "granted, with text and reason": {status("\x00", text, bits("\x07\x80")), ""},
		"text behind the reason": {status("\x00", bits("\x07\x80"), text), "malformed status"}, "text of another type": {status("\x00", leaf("text", 0x0c, "no")), "malformed status"},
		"text cut": {status("\x00", leaf("texts", 0x30, ""), &der{tag: 3, bytes: nil}, leaf("more", 5, "")), "malformed status"},
		"beyond":   {status("\x06"), "not a known PKIStatus"}, "last": {status("\x05"), "revocationNotification"},
		"no reason": {status("\x02"), "rejection"}, "text": {status("\x02", text), `rejection: "no"`}, "empty text": {status("\x02", node("texts", 0x30)), "rejection"},
		"bad algorithm": {status("\x02", bits("\x07\x80")), "rejection (badAlg)"}, "both": {status("\x02", text, bits("\x07\x80")), `rejection (badAlg): "no"`},
		"bad request": {status("\x02", bits("\x05\x20")), "rejection (badRequest)"}, "bad format": {status("\x02", bits("\x02\x04")), "rejection (badDataFormat)"},
		"no time": {status("\x02", bits("\x01\x00\x02")), "rejection (timeNotAvailable)"}, "policy": {status("\x02", bits("\x00\x00\x01")), "rejection (unacceptedPolicy)"},
		"extension": {status("\x02", bits("\x07\x00\x00\x80")), "rejection (unacceptedExtension)"}, "system": {status("\x02", bits("\x06\x00\x00\x00\x40")), "rejection (systemFailure)"},
		"two": {status("\x02", bits("\x05\xa0")), "rejection (badAlg)"}, "unknown": {status("\x02", bits("\x06\x40")), "rejection"},
		"no bit": {status("\x02", bits("\x00\x00\x00")), "rejection"}, "no bits": {status("\x02", bits("\x00")), "rejection"}, "no content": {status("\x02", bits("")), "rejection"},
		"beyond the last bit": {status("\x02", bits("\x07\x00\x00\x00\x00\x80")), "rejection"},
	} {
		_, err := Parse(node("response", 0x30, append([]*der{tt.status}, response().parts[1:]...)...).encode())
		got := ""
		if err != nil {
			got = strings.TrimPrefix(err.Error(), "parsing timestamp: ")
		}
		if tt.want == "" && got != "" || got != "" && strings.TrimPrefix(got, "authority answered ") != tt.want && !strings.HasSuffix(got, tt.want) || tt.want != "" && got == "" {
			t.Errorf("%s: error is %q, want %q", name, got, tt.want)
		}
	}
}
