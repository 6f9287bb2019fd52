package verify

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	_ "crypto/sha256" // for crypto.Hash.New
	_ "crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/tlog/entry"
)

// checkSignature establishes the key and verifies the signature with it.
func (r *run) checkSignature() error {
	keyed := len(r.Signer.keys) > 0
	hasCertificate := len(r.Evidence.Certificates) > 0
	switch {
	case keyed && hasCertificate:
		return r.refuse(CodeWrongSignerKind, checkKey, "it was made with a certificate, wanted is a signature by a known key")
	case !keyed && !hasCertificate:
		return r.refuse(CodeWrongSignerKind, checkCertificate, "it was made with a bare key, wanted is a certificate")
	case keyed:
		return r.checkKeySignature()
	}
	leaf, err := parseLeaf(r.Evidence.Certificates[0])
	if err != nil {
		return r.refuse(CodeCertificate, checkCertificate, "%w", err)
	}
	r.pass(checkCertificate, fmt.Sprintf("serial %x", leaf.SerialNumber), "")
	if err := verifySignature(leaf.PublicKey, r.Evidence); err != nil {
		return r.refuse(CodeSignature, checkSignature, "%w", err)
	}
	r.leaf, r.key, r.result.Key = leaf, leaf.PublicKey, leaf.PublicKey
	r.pass(checkSignature, "by the certificate's key", "")
	return nil
}

// checkKeySignature tries each expected key: a hint in the evidence selects
// nothing.
func (r *run) checkKeySignature() error {
	for i := range r.Signer.keys {
		key := &r.Signer.keys[i]
		if verifySignature(key.Public, r.Evidence) != nil {
			continue
		}
		r.key, r.result.Key, r.expectedKey = key.Public, key.Public, key
		r.result.Signer = Signer{Key: key.Name}
		r.pass(checkSignature, "by key "+key.Name, "")
		return nil
	}
	return r.refuse(CodeKey, checkSignature, "it was not made by any of the %d expected keys", len(r.Signer.keys))
}

// oidSAN is the subject alternative name's identifier. crypto/x509 reports the
// extension as unhandled if it holds nothing but an otherName.
var oidSAN = asn1.ObjectIdentifier{2, 5, 29, 17}

// parseLeaf reads a certificate and holds it against the profile of a Fulcio
// leaf (fulcio/docs/certificate-specification.md).
func parseLeaf(der []byte) (*x509.Certificate, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	// core/identity reads the name whatever its kind, so it is handled.
	unhandled := cert.UnhandledCriticalExtensions
	cert.UnhandledCriticalExtensions = nil
	for _, oid := range unhandled {
		if !oid.Equal(oidSAN) {
			cert.UnhandledCriticalExtensions = append(cert.UnhandledCriticalExtensions, oid)
		}
	}
	switch {
	case len(cert.UnhandledCriticalExtensions) > 0:
		return nil, fmt.Errorf("certificate: unknown critical extension %v", cert.UnhandledCriticalExtensions[0])
	case cert.IsCA:
		return nil, errors.New("certificate: it is a certificate authority's, not a signer's")
	case cert.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return nil, errors.New("certificate: its key usage does not allow signatures")
	case cert.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0:
		return nil, errors.New("certificate: its key usage allows signing certificates")
	case len(cert.ExtKeyUsage) != 1 || cert.ExtKeyUsage[0] != x509.ExtKeyUsageCodeSigning || len(cert.UnknownExtKeyUsage) != 0:
		return nil, errors.New("certificate: its extended key usage is not code signing alone")
	}
	if err := checkStrength(cert.PublicKey); err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	return cert, nil
}

// checkStrength refuses keys that Sigstore's algorithm registry does not have.
func checkStrength(pub crypto.PublicKey) error {
	_, err := entry.HashFor(pub)
	return err
}

// verifySignature verifies the evidence's signature over what it is over, with
// a key that is strong enough.
func verifySignature(pub crypto.PublicKey, e *bundle.Evidence) error {
	if err := checkStrength(pub); err != nil {
		return err
	}
	switch {
	case e.Envelope != nil:
		return verifyMessage(pub, 0, bundle.PAE(e.Envelope.PayloadType, e.Envelope.Payload), e.Envelope.Signature)
	case e.Payload != nil:
		// cosign hashes simple-signing payloads with SHA-256 whatever the key.
		return verifyMessage(pub, crypto.SHA256, e.Payload.Text, e.Payload.Signature)
	}
	hash, err := hashByName(e.Message.DigestAlgorithm)
	if err != nil {
		return err
	}
	if want, err := entry.HashFor(pub); err != nil || want != hash {
		return fmt.Errorf("a signature over a %s digest does not go with this key", hash)
	}
	return verifyDigest(pub, hash, e.Message.Digest, e.Message.Signature)
}

// verifyMessage verifies a signature over a message, hashed with the given
// hash or, if that is 0, the one that goes with the key. Ed25519 signs the
// message itself.
func verifyMessage(pub crypto.PublicKey, hash crypto.Hash, message, sig []byte) error {
	if key, ok := pub.(ed25519.PublicKey); ok {
		if !ed25519.Verify(key, message, sig) {
			return errSignature
		}
		return nil
	}
	if hash == 0 {
		hash, _ = entry.HashFor(pub)
	}
	h := hash.New()
	h.Write(message)
	return verifyDigest(pub, hash, h.Sum(nil), sig)
}

var errSignature = errors.New("the signature does not verify")

// verifyDigest verifies a signature over a digest; with Ed25519, that is
// Ed25519ph.
func verifyDigest(pub crypto.PublicKey, hash crypto.Hash, digest, sig []byte) error {
	ok := false
	switch key := pub.(type) {
	case *ecdsa.PublicKey:
		ok = ecdsa.VerifyASN1(key, digest, sig)
	case *rsa.PublicKey:
		ok = rsa.VerifyPKCS1v15(key, hash, digest, sig) == nil
	case ed25519.PublicKey:
		ok = ed25519.VerifyWithOptions(key, digest, sig, &ed25519.Options{Hash: hash}) == nil
	}
	if !ok {
		return errSignature
	}
	return nil
}
