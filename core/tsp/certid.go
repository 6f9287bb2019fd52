package tsp

import (
	"bytes"
	"crypto"
	_ "crypto/sha1" // only for signingCertificate, version 1
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// certID identifies the signer's certificate within what is signed.
type certID struct {
	hash   crypto.Hash
	digest []byte
	issuer []byte   // DER Name, nil when there is no issuerSerial
	serial *big.Int // nil when there is no issuerSerial
}

// matches reports whether cert is the certificate that is identified.
func (id certID) matches(cert *x509.Certificate) bool {
	h := id.hash.New()
	h.Write(cert.Raw)
	if !bytes.Equal(h.Sum(nil), id.digest) {
		return false
	}
	return id.serial == nil || id.serial.Cmp(cert.SerialNumber) == 0 && bytes.Equal(id.issuer, cert.RawIssuer)
}

// readSigningCertificate reads the attribute's value of RFC 2634 section 5.4. Its SHA-1 only repeats which certificate was meant: the
// caller trusts one leaf anyway, so that a collision gains nothing.
//
//	SigningCertificate ::= SEQUENCE { certs SEQUENCE OF ESSCertID, policies SEQUENCE OPTIONAL }
//	ESSCertID ::= SEQUENCE { certHash OCTET STRING, issuerSerial IssuerSerial OPTIONAL }
func readSigningCertificate(values cryptobyte.String) (certID, error) {
	first, err := firstCertID(values)
	if err != nil {
		return certID{}, err
	}
	return readCertID(first, crypto.SHA1)
}

// readSigningCertificateV2 reads the attribute's value of RFC 5035 section 3.
//
//	ESSCertIDv2 ::= SEQUENCE { hashAlgorithm AlgorithmIdentifier DEFAULT sha256, certHash OCTET STRING, issuerSerial IssuerSerial OPTIONAL }
func readSigningCertificateV2(values cryptobyte.String) (certID, error) {
	first, err := firstCertID(values)
	if err != nil {
		return certID{}, err
	}
	hash := crypto.SHA256
	if first.PeekASN1Tag(cbasn1.SEQUENCE) {
		if hash, err = readHash(&first); err != nil {
			return certID{}, err
		}
	}
	return readCertID(first, hash)
}

// firstCertID returns the content of the first identifier in the attribute's only value: it is the signer's (RFC 5035 section 3). Those behind
// it would restrict the chain, which here is not chosen but given.
func firstCertID(values cryptobyte.String) (cryptobyte.String, error) {
	var value, ids, policies, first cryptobyte.String
	var hasPolicies bool
	if !values.ReadASN1(&value, cbasn1.SEQUENCE) || !values.Empty() ||
		!value.ReadASN1(&ids, cbasn1.SEQUENCE) || !value.ReadOptionalASN1(&policies, &hasPolicies, cbasn1.SEQUENCE) || !value.Empty() ||
		!ids.ReadASN1(&first, cbasn1.SEQUENCE) {
		return nil, errors.New("malformed")
	}
	return first, nil
}

// readCertID reads what both versions have in common: certHash and issuerSerial.
//
//	IssuerSerial ::= SEQUENCE { issuer GeneralNames, serialNumber INTEGER }
func readCertID(in cryptobyte.String, hash crypto.Hash) (certID, error) {
	var digest cryptobyte.String
	if !in.ReadASN1(&digest, cbasn1.OCTET_STRING) {
		return certID{}, errors.New("malformed certHash")
	}
	if len(digest) != hash.Size() {
		return certID{}, fmt.Errorf("certHash has %d bytes, %v has %d", len(digest), hash, hash.Size())
	}
	id := certID{hash: hash, digest: digest}
	if in.Empty() {
		return id, nil
	}
	// The issuer is one directoryName ([4] EXPLICIT Name) of GeneralNames.
	var issuerSerial, names, name, issuer cryptobyte.String
	id.serial = new(big.Int)
	if !in.ReadASN1(&issuerSerial, cbasn1.SEQUENCE) || !in.Empty() ||
		!issuerSerial.ReadASN1(&names, cbasn1.SEQUENCE) || !issuerSerial.ReadASN1Integer(id.serial) || !issuerSerial.Empty() ||
		!names.ReadASN1(&name, cbasn1.Tag(4).ContextSpecific().Constructed()) || !names.Empty() ||
		!name.ReadASN1Element(&issuer, cbasn1.SEQUENCE) || !name.Empty() {
		return certID{}, errors.New("malformed issuerSerial")
	}
	id.issuer = issuer
	return id, nil
}
