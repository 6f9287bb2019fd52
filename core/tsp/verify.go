package tsp

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
)

// minRSABits is the shortest RSA key accepted for signing tokens.
const minRSABits = 2048

// oidExtKeyUsage is the certificate extension extKeyUsage.
var oidExtKeyUsage = asn1.ObjectIdentifier{2, 5, 29, 37}

// Verify checks that the authority signed this token for message at [Token.Time]. The steps are those of RFC 3161 section 2.2 and
// RFC 5652 section 5.6; the time is not compared with anything but the certificates' validity (bounds included).
func (t *Token) Verify(message []byte, authority Authority) error {
	if authority.Leaf == nil || authority.Root == nil {
		return errors.New("verifying timestamp: authority has no leaf or no root certificate")
	}
	// "the messageImprint ... matches the hash of the datum"
	if !t.Covers(message) {
		return errors.New("verifying timestamp: it is for another message")
	}
	// "the certificate identifier ... matches that of the TSA's certificate"
	if err := t.checkSigner(authority); err != nil {
		return fmt.Errorf("verifying timestamp: %w", err)
	}
	// "the corresponding certificate MUST contain only one instance of the extended key usage field extension"
	if err := checkLeaf(authority.Leaf); err != nil {
		return fmt.Errorf("verifying timestamp: certificate of the authority: %w", err)
	}
	if err := t.checkChain(authority); err != nil {
		return fmt.Errorf("verifying timestamp: certificate of the authority: %w", err)
	}
	// "the message digest attribute ... equals the digest of the content"
	h := t.signer.digest.New()
	h.Write(t.content)
	if !bytes.Equal(h.Sum(nil), t.signer.messageHash) {
		return errors.New("verifying timestamp: messageDigest is not the digest of the content")
	}
	// "the signature ... over the complete DER encoding of the signedAttrs"
	if err := authority.Leaf.CheckSignature(t.signer.algorithm, t.signer.signed, t.signer.signature); err != nil {
		return fmt.Errorf("verifying timestamp: signature: %w", err)
	}
	return nil
}

// Covers reports whether the token says that it is for message. Only [Token.Verify] says whether that is true.
func (t *Token) Covers(message []byte) bool {
	h := t.Hash.New()
	h.Write(message)
	return bytes.Equal(h.Sum(nil), t.HashedMessage)
}

// checkSigner compares everything with which the token names its signer with the trusted leaf.
func (t *Token) checkSigner(authority Authority) error {
	leaf := authority.Leaf
	if !bytes.Equal(t.signer.issuer, leaf.RawIssuer) || t.signer.serial.Cmp(leaf.SerialNumber) != 0 {
		return errors.New("issuer and serial number name another signer than the trusted authority")
	}
	for _, id := range t.signer.signingCert {
		if !id.matches(leaf) {
			return errors.New("signingCertificate names another certificate than the trusted authority's")
		}
	}
	// The bag of certificates is not signed. A token that brings one must bring the trusted leaf, and nothing that isn't trusted.
	hasLeaf := len(t.certificates) == 0
	for i, raw := range t.certificates {
		switch {
		case bytes.Equal(raw, leaf.Raw):
			hasLeaf = true
		case bytes.Equal(raw, authority.Root.Raw):
		case !holds(authority.Intermediates, raw):
			return fmt.Errorf("embedded certificate %d is not one of the trusted authority", i)
		}
	}
	if !hasLeaf {
		return errors.New("embedded certificates lack the trusted authority's")
	}
	return nil
}

func holds(certificates []*x509.Certificate, raw []byte) bool {
	for _, c := range certificates {
		if bytes.Equal(c.Raw, raw) {
			return true
		}
	}
	return false
}

// checkLeaf checks that cert may sign timestamps: an end entity's certificate for this purpose alone, marked critical, with a
// key of a supported kind and length.
func checkLeaf(cert *x509.Certificate) error {
	if cert.IsCA {
		return errors.New("it is a certificate authority's")
	}
	if len(cert.UnknownExtKeyUsage) != 0 || len(cert.ExtKeyUsage) != 1 || cert.ExtKeyUsage[0] != x509.ExtKeyUsageTimeStamping {
		return errors.New("extended key usage is not timeStamping alone")
	}
	for _, ext := range cert.Extensions {
		if ext.Id.Equal(oidExtKeyUsage) && !ext.Critical {
			return errors.New("extended key usage is not critical")
		}
	}
	switch key := cert.PublicKey.(type) {
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() && key.Curve != elliptic.P384() && key.Curve != elliptic.P521() {
			return fmt.Errorf("ECDSA curve %s is not supported", key.Curve.Params().Name)
		}
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < minRSABits {
			return fmt.Errorf("RSA key has %d bits, want at least %d", bits, minRSABits)
		}
	case ed25519.PublicKey:
	default:
		return fmt.Errorf("key type %T is not supported", key)
	}
	return nil
}

// checkChain checks the way from leaf to root at the time of the token: an expired chain still vouches for what was signed while it was valid.
func (t *Token) checkChain(authority Authority) error {
	leaf := authority.Leaf
	if err := authority.checkChain(t.Time); err != nil {
		return err
	}
	// The optional signingTime is the signer's own clock; one that its certificate does not cover is refused by Sigstore's verifier, too.
	if s := t.signer.signingTime; s != nil && (s.Before(leaf.NotBefore) || s.After(leaf.NotAfter)) {
		return errors.New("signingTime lies outside of its validity")
	}
	return nil
}
