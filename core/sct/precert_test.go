package sct

import (
	"bytes"
	"crypto/elliptic"
	"crypto/x509/pkix"
	"encoding/asn1"
	"slices"
	"testing"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

func TestPrecertTBS(t *testing.T) {
	c := issue(t, nil)
	list := listExtension(t, c.sct)
	first := pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 8}, Value: []byte("\x0c\x01a")}
	plain := certify(t, c.issuer, c.log)
	withFirst := certify(t, c.issuer, c.log, first)
	for name, tc := range map[string]struct {
		extra []pkix.Extension
		want  []byte
	}{
		"neither is the identity": {nil, plain.RawTBSCertificate},
		"poison":                  {[]pkix.Extension{poison()}, plain.RawTBSCertificate},
		"SCT list":                {[]pkix.Extension{list}, plain.RawTBSCertificate},
		"both":                    {[]pkix.Extension{poison(), list}, plain.RawTBSCertificate},
		"last":                    {[]pkix.Extension{first, list}, withFirst.RawTBSCertificate},
		"before another":          {[]pkix.Extension{poison(), first}, withFirst.RawTBSCertificate},
	} {
		t.Run(name, func(t *testing.T) {
			cert := certify(t, c.issuer, c.log, tc.extra...)
			in := bytes.Clone(cert.RawTBSCertificate)
			got, err := PrecertTBS(in)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, tc.want) {
				t.Errorf("got  %x\nwant %x", got, tc.want)
			}
			if !bytes.Equal(in, cert.RawTBSCertificate) {
				t.Error("the input was changed")
			}
		})
	}
}

// tbsOf makes a TBSCertificate-shaped SEQUENCE: a serial number and the given extensions.
func tbsOf(t *testing.T, extensions ...[]byte) []byte {
	t.Helper()
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(1)
		b.AddASN1(tagExtensions, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(slices.Concat(extensions...)) })
		})
	})
	return b.BytesOrPanic()
}

func extension(t *testing.T, oid asn1.ObjectIdentifier) []byte {
	t.Helper()
	der, err := asn1.Marshal(pkix.Extension{Id: oid, Value: []byte{1}})
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestPrecertTBSRefuses(t *testing.T) {
	list, other := extension(t, OIDList), extension(t, asn1.ObjectIdentifier{1, 2, 3})
	many := make([][]byte, maxExtensions+1)
	for i := range many {
		many[i] = extension(t, asn1.ObjectIdentifier{1, 2, 4, i})
	}
	good := tbsOf(t, list, other)
	// The same outer SEQUENCE with its length in a form that DER forbids.
	long := append([]byte{0x30, 0x82, 0, byte(len(good) - 2)}, good[2:]...)
	for name, tc := range map[string]struct {
		in   []byte
		want bool
	}{
		"good":                   {good, true},
		"only the SCT list":      {tbsOf(t, list), true},
		"most extensions":        {tbsOf(t, many[:maxExtensions]...), true},
		"duplicate SCT list":     {tbsOf(t, list, list), false},
		"duplicate poison":       {tbsOf(t, extension(t, OIDPoison), extension(t, OIDPoison)), false},
		"duplicate other":        {tbsOf(t, other, list, other), false},
		"too many extensions":    {tbsOf(t, many...), false},
		"extension not SEQUENCE": {tbsOf(t, []byte{0x04, 0}), false},
		"extension without OID":  {tbsOf(t, []byte{0x30, 0}), false},
		"empty":                  {nil, false},
		"trailing byte":          {append(bytes.Clone(good), 0), false},
		"truncated":              {good[:len(good)-1], false},
		"length not minimal":     {long, false},
		"field after extensions": {func() []byte {
			var b cryptobyte.Builder
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddBytes(good[2:])
				b.AddASN1Int64(1)
			})
			return b.BytesOrPanic()
		}(), false},
		"malformed field":       {[]byte{0x30, 2, 0x02, 5}, false},
		"no extensions":         {[]byte{0x30, 3, 2, 1, 1}, true},
		"nothing in extensions": {[]byte{0x30, 5, 2, 1, 1, 0xa3, 0}, false},
		"a SET of extensions":   {[]byte{0x30, 7, 2, 1, 1, 0xa3, 2, 0x31, 0}, false},
		"a SEQUENCE":            {[]byte{0x30, 7, 2, 1, 1, 0xa3, 2, 0x30, 0}, true},
		"two SEQUENCEs":         {[]byte{0x30, 9, 2, 1, 1, 0xa3, 4, 0x30, 0, 0x30, 0}, false},
		"extensions beyond end": {[]byte{0x30, 7, 2, 1, 1, 0xa3, 3, 0x30, 0}, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := PrecertTBS(tc.in)
			if (err == nil) != tc.want {
				t.Errorf("PrecertTBS: %v, want accepted %v", err, tc.want)
			}
			if tc.want && !bytes.Contains(tc.in, derOIDList) && !bytes.Equal(got, tc.in) {
				t.Errorf("PrecertTBS: %x of %x, in which nothing is to be removed", got, tc.in)
			}
		})
	}
}

// RFC 5280: "Extensions ::= SEQUENCE SIZE (1..MAX)".
func TestPrecertTBSLeavesNoEmptyExtensions(t *testing.T) {
	got, err := PrecertTBS(tbsOf(t, extension(t, OIDPoison)))
	if want := []byte{0x30, 3, 2, 1, 1}; err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %x, %v; want %x", got, err, want)
	}
}

// Whatever is accepted: doing it twice changes nothing more, and what shrank had one of the two extensions.
func FuzzPrecertTBS(f *testing.F) {
	key := newKey(f, elliptic.P256())
	f.Add(certify(f, key, key).RawTBSCertificate)
	f.Add(certify(f, key, key, poison()).RawTBSCertificate)
	f.Fuzz(func(t *testing.T, in []byte) {
		once, err := PrecertTBS(in)
		if err != nil {
			return
		}
		twice, err := PrecertTBS(once)
		if err != nil || !bytes.Equal(once, twice) {
			t.Errorf("PrecertTBS(%x) = %x, then %x, %v", in, once, twice, err)
		}
		if !bytes.Contains(in, derOIDPoison) && !bytes.Contains(in, derOIDList) && !bytes.Equal(in, once) {
			t.Errorf("PrecertTBS(%x) = %x, although neither extension is there", in, once)
		}
	})
}

func TestIdentifiersAgree(t *testing.T) {
	for _, tc := range []struct {
		oid asn1.ObjectIdentifier
		der []byte
	}{{OIDList, derOIDList}, {OIDPoison, derOIDPoison}} {
		want, err := asn1.Marshal(tc.oid)
		if err != nil || !bytes.Equal(want[2:], tc.der) {
			t.Errorf("%v: DER is %x, %v; have %x", tc.oid, want[2:], err, tc.der)
		}
	}
}
