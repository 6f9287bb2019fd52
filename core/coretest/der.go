package coretest

import (
	"bytes"
	"crypto"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"slices"
	"testing"
)

// SigningCertificateV2 returns the value of the attribute that names cert by its SHA-256, issuer and serial number (RFC 5816).
func SigningCertificateV2(tb testing.TB, cert *x509.Certificate) []byte {
	tb.Helper()
	hash := sha256.Sum256(cert.Raw)
	return signingCertificate(tb, hash[:], cert)
}

// SigningCertificate returns the value of the older attribute, which names cert by its SHA-1, issuer and serial number (RFC 2634).
func SigningCertificate(tb testing.TB, cert *x509.Certificate) []byte {
	tb.Helper()
	hash := sha1.Sum(cert.Raw)
	return signingCertificate(tb, hash[:], cert)
}

func signingCertificate(tb testing.TB, hash []byte, cert *x509.Certificate) []byte {
	tb.Helper()
	type issuerSerial struct {
		Names  []asn1.RawValue
		Serial *big.Int
	}
	type certID struct {
		Hash   []byte
		Issuer issuerSerial
	}
	name := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 4, IsCompound: true, Bytes: cert.RawIssuer}
	return marshal(tb, struct{ Certs []certID }{[]certID{{hash, issuerSerial{[]asn1.RawValue{name}, cert.SerialNumber}}}})
}

// encodeAttributes returns the content of the SET OF Attribute.
func encodeAttributes(tb testing.TB, attributes []Attribute, keepOrder bool) []byte {
	tb.Helper()
	var encoded [][]byte
	for _, a := range attributes {
		encoded = append(encoded, marshal(tb, struct {
			Type   asn1.ObjectIdentifier
			Values asn1.RawValue
		}{a.Type, asn1.RawValue{Tag: asn1.TagSet, IsCompound: true, Bytes: a.Value}}))
	}
	if !keepOrder {
		slices.SortFunc(encoded, bytes.Compare)
	}
	return slices.Concat(encoded...)
}

func algorithm(oid asn1.ObjectIdentifier, null bool) pkix.AlgorithmIdentifier {
	if null {
		return pkix.AlgorithmIdentifier{Algorithm: oid, Parameters: asn1.NullRawValue}
	}
	return pkix.AlgorithmIdentifier{Algorithm: oid}
}

func digest(hash crypto.Hash, data []byte) []byte {
	h := hash.New()
	h.Write(data)
	return h.Sum(nil)
}

func orSHA256(hash crypto.Hash) crypto.Hash {
	if hash == 0 {
		return crypto.SHA256
	}
	return hash
}

func marshal(tb testing.TB, v any) []byte {
	tb.Helper()
	der, err := asn1.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	return der
}
