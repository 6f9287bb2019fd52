package identity

import (
	"crypto/x509/pkix"
	"strings"
	"testing"
)

// TestCA09_LIB22_Text tries hostile text in every place that holds text, both
// when it is written and when it is read.
func TestCA09_LIB22_Text(t *testing.T) {
	for _, tt := range []struct {
		name, infix string
		ok          bool
	}{
		{"nothing", "", true},
		{"a plus sign", "+tag", true},
		{"newline", "\n", false},
		{"carriage return", "\r", false},
		{"NUL", "\x00", false},
		{"tab", "\t", false},
		{"escape", "\x1b[31m", false},
		{"delete", "\x7f", false},
		{"C1 control", "\u0085", false},
		{"invalid UTF-8", "\xff", false},
		{"surrogate half", "\xed\xa0\x80", false},
		{"at the limit", strings.Repeat("a", maxName-len(alice.SAN.Value)), true},
		{"too long", strings.Repeat("a", maxName), false},
		{"64 KiB", strings.Repeat("a", 64<<10), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			san := "ali" + tt.infix + "ce@acme.example"
			for place, id := range map[string]Identity{
				"e-mail":    {SAN: SAN{Kind: Email, Value: san}, Issuer: issuerURL},
				"user name": {SAN: SAN{Kind: Username, Value: strings.Replace(san, "@", "!", 1)}, Issuer: issuerURL},
			} {
				exts, err := id.CertificateExtensions()
				if (err == nil) != tt.ok {
					t.Errorf("writing %s: error is %v, want accepted %v", place, err, tt.ok)
				}
				if err != nil {
					exts = append(sanOf(id.SAN.Kind, strings.ToValidUTF8(id.SAN.Value, "\x00")), extensions(t, alice)[1:]...)
				}
				if _, err := FromCertificate(raw(exts)); (err == nil) != tt.ok {
					t.Errorf("reading %s: error is %v, want accepted %v", place, err, tt.ok)
				}
			}
			text := "x" + tt.infix
			if len(text) > maxName && tt.ok {
				text = text[:maxName]
			}
			id := alice
			id.Issuer = text
			if _, err := id.CertificateExtensions(); (err == nil) != tt.ok {
				t.Errorf("writing issuer: error is %v, want accepted %v", err, tt.ok)
			}
			id = alice
			id.Extensions.SourceRepositoryRef = text
			if _, err := id.CertificateExtensions(); (err == nil) != tt.ok {
				t.Errorf("writing extension: error is %v, want accepted %v", err, tt.ok)
			}
			der := append([]byte{12}, asn1Length(len(text))...)
			der = append(der, text...)
			good := extensions(t, alice)
			for place, exts := range map[string][]pkix.Extension{
				"old issuer": replace(replace(good, oid(8), nil), oid(1), []byte(text)),
				"new issuer": replace(replace(good, oid(1), nil), oid(8), der),
				"extension":  replace(good, oid(14), der),
			} {
				if _, err := FromCertificate(raw(exts)); (err == nil) != tt.ok {
					t.Errorf("reading %s: error is %v, want accepted %v", place, err, tt.ok)
				}
			}
		})
	}
}

func asn1Length(n int) []byte {
	switch {
	case n < 128:
		return []byte{byte(n)}
	case n < 256:
		return []byte{0x81, byte(n)}
	case n < 1<<16:
		return []byte{0x82, byte(n >> 8), byte(n)}
	}
	return []byte{0x83, byte(n >> 16), byte(n >> 8), byte(n)}
}

// FuzzFromCertificate asserts that whatever is read can be written, and is then
// read as the same.
func FuzzFromCertificate(f *testing.F) {
	add := func(id Identity) {
		exts := extensions(f, id)
		f.Add(exts[0].Value, exts[1].Value, exts[2].Value, utf8String("push"))
	}
	add(alice)
	add(Identity{SAN: SAN{Kind: URI, Value: "https://acme.example/x"}, Issuer: issuerURL})
	add(Identity{SAN: SAN{Kind: Username, Value: "alice!acme.example"}, Issuer: issuerURL})
	f.Fuzz(func(t *testing.T, san, v1, v2, trigger []byte) {
		id, err := FromCertificate(raw([]pkix.Extension{
			{Id: oidSAN, Value: san}, {Id: oid(1), Value: v1}, {Id: oid(8), Value: v2}, {Id: oid(20), Value: trigger},
		}))
		if err != nil {
			return
		}
		exts, err := id.CertificateExtensions()
		if err != nil {
			// Only text that crypto/x509 would have refused can be read and not written.
			if id.SAN.Kind != Username && !isASCII(id.SAN.Value) {
				return
			}
			t.Fatalf("%+v was read, but cannot be written: %v", id, err)
		}
		again, err := FromCertificate(raw(exts))
		if err != nil || again != id {
			t.Fatalf("read %+v, then %+v (%v)", id, again, err)
		}
	})
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > 127 })
}
