package sct

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// MaxSCTs bounds the timestamps of one certificate: Sigstore embeds one, browsers' certificates two to four; each costs the
// verifier a signature check.
const MaxSCTs = 16

// OIDList is the certificate extension that holds the embedded timestamps (RFC 6962 section 3.3).
var OIDList = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}

// Marshal returns the TLS encoding of the timestamp (SignedCertificateTimestamp of RFC 6962 section 3.2). Extensions or a
// signature over 65535 bytes, and an empty signature, are errors.
func (s SCT) Marshal() ([]byte, error) {
	signature, err := s.DigitallySigned()
	if err != nil {
		return nil, err
	}
	b := cryptobyte.NewBuilder(make([]byte, 0, 1+32+8+2+len(s.Extensions)+len(signature)))
	b.AddUint8(versionV1)
	b.AddBytes(s.LogID[:])
	b.AddUint64(s.Timestamp)
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(s.Extensions) })
	b.AddBytes(signature)
	out, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encoding SCT: %w", err)
	}
	return out, nil
}

// DigitallySigned returns the signature in its TLS wrapping (RFC 5246 section 4.7: hash, algorithm, length, bytes): the
// field "signature" of a log's answer to add-pre-chain.
func (s SCT) DigitallySigned() ([]byte, error) {
	if len(s.Signature) == 0 {
		return nil, errors.New("encoding SCT: it has no signature")
	}
	b := cryptobyte.NewBuilder(make([]byte, 0, 4+len(s.Signature)))
	b.AddUint8(hashSHA256)
	b.AddUint8(signatureECDSA)
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(s.Signature) })
	out, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encoding SCT signature: %w", err)
	}
	return out, nil
}

// Parse reads one TLS-encoded timestamp, the inverse of [SCT.Marshal]. The result does not share memory with the input.
func Parse(untrusted []byte) (SCT, error) {
	in := cryptobyte.String(untrusted)
	var s SCT
	var version, hash, algorithm uint8
	var extensions, signature cryptobyte.String
	if !in.ReadUint8(&version) {
		return SCT{}, errors.New("parsing SCT: empty")
	}
	// The layout behind the version byte is version 1's own: nothing more can be said about another version.
	if version != versionV1 {
		return SCT{}, fmt.Errorf("parsing SCT: version byte %d, want 0 (v1)", version)
	}
	if !in.CopyBytes(s.LogID[:]) || !in.ReadUint64(&s.Timestamp) || !in.ReadUint16LengthPrefixed(&extensions) ||
		!in.ReadUint8(&hash) || !in.ReadUint8(&algorithm) || !in.ReadUint16LengthPrefixed(&signature) {
		return SCT{}, errors.New("parsing SCT: truncated")
	}
	if !in.Empty() {
		return SCT{}, fmt.Errorf("parsing SCT: %d trailing bytes", len(in))
	}
	if hash != hashSHA256 || algorithm != signatureECDSA {
		return SCT{}, fmt.Errorf("parsing SCT: hash %d with signature algorithm %d, want SHA-256 (4) with ECDSA (3)", hash, algorithm)
	}
	if len(signature) == 0 {
		return SCT{}, errors.New("parsing SCT: empty signature")
	}
	if len(extensions) > 0 {
		s.Extensions = append([]byte(nil), extensions...)
	}
	s.Signature = append([]byte(nil), signature...)
	return s, nil
}

// MarshalList returns the value of the certificate extension [OIDList]: a DER OCTET STRING that holds the TLS
// SignedCertificateTimestampList. No timestamp and more than [MaxSCTs] are errors.
func MarshalList(scts []SCT) ([]byte, error) {
	if len(scts) == 0 || len(scts) > MaxSCTs {
		return nil, fmt.Errorf("encoding SCT list: %d timestamps, want 1 to %d", len(scts), MaxSCTs)
	}
	var list cryptobyte.Builder
	for i, s := range scts {
		encoded, err := s.Marshal()
		if err != nil {
			return nil, fmt.Errorf("encoding SCT list: [%d]: %w", i, err)
		}
		list.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(encoded) })
	}
	inner, err := list.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encoding SCT list: %w", err)
	}
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.OCTET_STRING, func(b *cryptobyte.Builder) {
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(inner) })
	})
	out, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encoding SCT list: %w", err)
	}
	return out, nil
}

// ParseList reads the value of the certificate extension [OIDList], the inverse of [MarshalList]. One malformed timestamp makes the
// whole list an error.
func ParseList(untrustedExtension []byte) ([]SCT, error) {
	ext := cryptobyte.String(untrustedExtension)
	var octets, list cryptobyte.String
	if !ext.ReadASN1(&octets, cbasn1.OCTET_STRING) || !ext.Empty() {
		return nil, errors.New("parsing SCT list: extension value is not one DER OCTET STRING")
	}
	if !octets.ReadUint16LengthPrefixed(&list) || !octets.Empty() {
		return nil, errors.New("parsing SCT list: length prefix does not fit")
	}
	if list.Empty() {
		return nil, errors.New("parsing SCT list: empty")
	}
	var scts []SCT
	for !list.Empty() {
		if len(scts) == MaxSCTs {
			return nil, fmt.Errorf("parsing SCT list: more than %d timestamps", MaxSCTs)
		}
		var one cryptobyte.String
		if !list.ReadUint16LengthPrefixed(&one) {
			return nil, fmt.Errorf("parsing SCT list: [%d]: truncated", len(scts))
		}
		s, err := Parse(one)
		if err != nil {
			return nil, fmt.Errorf("parsing SCT list: [%d]: %w", len(scts), err)
		}
		scts = append(scts, s)
	}
	return scts, nil
}

// FromCertificate returns the timestamps embedded in untrustedCert: nil and no error when it has none, an error when they are malformed
// or when the extension occurs twice.
func FromCertificate(untrustedCert *x509.Certificate) ([]SCT, error) {
	var value []byte
	found := false // not value != nil: an extension with an empty value is malformed, not absent.
	for _, ext := range untrustedCert.Extensions {
		if !ext.Id.Equal(OIDList) {
			continue
		}
		if found {
			return nil, errors.New("reading SCTs of certificate: duplicate SCT list extension")
		}
		value, found = ext.Value, true
	}
	if !found {
		return nil, nil
	}
	scts, err := ParseList(value)
	if err != nil {
		return nil, fmt.Errorf("reading SCTs of certificate: %w", err)
	}
	return scts, nil
}
