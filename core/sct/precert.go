package sct

import (
	"bytes"
	"encoding/asn1"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// maxExtensions bounds the extensions of a certificate whose precertificate form is rebuilt. Fulcio's certificates have up to 30; the search for duplicates
// is quadratic.
const (
	maxExtensions   = 128
	usualExtensions = 32
)

// OIDPoison is the critical extension that makes a certificate a precertificate, unusable for anything but the log (RFC 6962
// section 3.1). Its value is an ASN.1 NULL.
var OIDPoison = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 3}

// The two identifiers as DER content bytes, to compare without decoding.
var (
	derOIDList   = []byte{0x2b, 0x06, 0x01, 0x04, 0x01, 0xd6, 0x79, 0x02, 0x04, 0x02}
	derOIDPoison = []byte{0x2b, 0x06, 0x01, 0x04, 0x01, 0xd6, 0x79, 0x02, 0x04, 0x03}
)

// tagExtensions is TBSCertificate's "extensions [3] EXPLICIT".
var tagExtensions = cbasn1.Tag(3).ContextSpecific().Constructed()

// PrecertTBS returns what a log signs for the precertificate or certificate whose raw DER TBSCertificate is given
// ([crypto/x509.Certificate.RawTBSCertificate]): the same TBSCertificate without the poison and without the SCT list
// (RFC 6962 section 3.2). All other bytes are copied as they are, only the three enclosing lengths change; a TBSCertificate that
// has neither extension comes back byte for byte. It does not share memory with the input.
//
// An extension that occurs twice is an error: which one counts would depend on the reader. So are trailing bytes and
// lengths that are not DER.
func PrecertTBS(rawTBS []byte) ([]byte, error) {
	in := cryptobyte.String(rawTBS)
	var tbs cryptobyte.String
	if !in.ReadASN1(&tbs, cbasn1.SEQUENCE) || !in.Empty() {
		return nil, errors.New("rebuilding precertificate: TBSCertificate is not one DER SEQUENCE")
	}
	// Everything before the extensions is copied unread: its meaning is x509's business, its bytes are the log's.
	rest := tbs
	for !rest.Empty() && !rest.PeekASN1Tag(tagExtensions) {
		var field cryptobyte.String
		var tag cbasn1.Tag
		if !rest.ReadAnyASN1Element(&field, &tag) {
			return nil, errors.New("rebuilding precertificate: malformed field in TBSCertificate")
		}
	}
	if rest.Empty() {
		return bytes.Clone(rawTBS), nil
	}
	before := tbs[:len(tbs)-len(rest)]
	var explicit, extensions cryptobyte.String
	if !rest.ReadASN1(&explicit, tagExtensions) || !rest.Empty() ||
		!explicit.ReadASN1(&extensions, cbasn1.SEQUENCE) || !explicit.Empty() {
		return nil, errors.New("rebuilding precertificate: malformed extensions field")
	}
	kept, removed, err := keepExtensions(extensions)
	if err != nil {
		return nil, fmt.Errorf("rebuilding precertificate: %w", err)
	}
	if !removed {
		return bytes.Clone(rawTBS), nil
	}
	b := cryptobyte.NewBuilder(make([]byte, 0, len(rawTBS)))
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(before)
		if len(kept) == 0 {
			return // "Extensions ::= SEQUENCE SIZE (1..MAX)": an empty one is left out (RFC 5280 section 4.1).
		}
		b.AddASN1(tagExtensions, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(kept) })
		})
	})
	out, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("rebuilding precertificate: %w", err)
	}
	return out, nil
}

// keepExtensions returns the encoded extensions without the poison and the SCT list, and whether there was one of these.
func keepExtensions(extensions cryptobyte.String) (kept []byte, removed bool, err error) {
	kept = make([]byte, 0, len(extensions))
	seen := make([][]byte, 0, usualExtensions)
	for !extensions.Empty() {
		if len(seen) == maxExtensions {
			return nil, false, fmt.Errorf("more than %d extensions", maxExtensions)
		}
		var element, extension, oid cryptobyte.String
		if !extensions.ReadASN1Element(&element, cbasn1.SEQUENCE) {
			return nil, false, fmt.Errorf("malformed extension %d", len(seen))
		}
		content := element
		if !content.ReadASN1(&extension, cbasn1.SEQUENCE) || !extension.ReadASN1(&oid, cbasn1.OBJECT_IDENTIFIER) {
			return nil, false, fmt.Errorf("malformed extension %d", len(seen))
		}
		for _, other := range seen {
			if bytes.Equal(other, oid) {
				return nil, false, fmt.Errorf("duplicate extension with the DER identifier %x", []byte(oid))
			}
		}
		seen = append(seen, oid)
		if bytes.Equal(oid, derOIDPoison) || bytes.Equal(oid, derOIDList) {
			removed = true
			continue
		}
		kept = append(kept, element...)
	}
	return kept, removed, nil
}
