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
	"slices"

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
	if r.hash, err = r.verifySignature(Key{Public: leaf.PublicKey}, false); err != nil {
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
		hash, err := r.verifySignature(*key, true)
		if err != nil {
			continue
		}
		r.hash, r.key, r.result.Key, r.expectedKey = hash, key.Public, key.Public, key
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
func parseLeaf(untrustedDER []byte) (*x509.Certificate, error) {
	cert, err := x509.ParseCertificate(untrustedDER)
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

// hashesFor are the hashes that a signature by the key may be over: the one that
// goes with it, and SHA-256, with which cosign signs whatever the ECDSA key
// is (the reference accepts both, too).
func hashesFor(key Key) ([]crypto.Hash, error) {
	hash, err := entry.HashFor(key.Public)
	if err != nil {
		return nil, err
	}
	_, ec := key.Public.(*ecdsa.PublicKey)
	switch {
	case key.Hash != 0:
		return []crypto.Hash{key.Hash}, nil
	case ec && hash != crypto.SHA256:
		return []crypto.Hash{hash, crypto.SHA256}, nil
	}
	return []crypto.Hash{hash}, nil
}

var errSignature = errors.New("the signature does not verify")

// verifySignature verifies the evidence's signature over what it is over, with
// a key that is strong enough, and returns the hash that it is over.
func (r *run) verifySignature(key Key, pss bool) (crypto.Hash, error) {
	hashes, err := hashesFor(key)
	if err != nil {
		return 0, err
	}
	sig := r.Evidence.Signature()
	if m := r.Evidence.Message; m != nil {
		hash, err := hashByName(m.DigestAlgorithm)
		if err != nil {
			return 0, err
		}
		if !slices.Contains(hashes, hash) {
			return 0, fmt.Errorf("a signature over a %s digest does not go with this key", hash)
		}
		if !verifyDigest(key.Public, hash, m.Digest, sig, pss) {
			return 0, errSignature
		}
		return hash, nil
	}
	if k, ok := key.Public.(ed25519.PublicKey); ok { // it signs the text itself
		if !ed25519.Verify(k, r.signedText(), sig) {
			return 0, errSignature
		}
		return hashes[0], nil
	}
	for _, hash := range hashes {
		if verifyDigest(key.Public, hash, r.digest(hash), sig, pss) {
			return hash, nil
		}
	}
	return 0, errSignature
}

// signedText is what the signature is over, where that is not the artifact.
func (r *run) signedText() []byte {
	if r.text != nil {
		return r.text
	}
	if env := r.Evidence.Envelope; env != nil {
		r.text = bundle.PAE(env.PayloadType, env.Payload)
	} else {
		r.text = r.Evidence.Payload.Text
	}
	return r.text
}

// digest is the digest of the text that is signed.
func (r *run) digest(hash crypto.Hash) []byte {
	h := hash.New()
	h.Write(r.signedText())
	return h.Sum(nil)
}

// verifyDigest verifies a signature over a digest; with Ed25519, that is
// Ed25519ph.
func verifyDigest(pub crypto.PublicKey, hash crypto.Hash, digest, sig []byte, pss bool) bool {
	switch key := pub.(type) {
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(key, digest, sig)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(key, hash, digest, sig) == nil || pss && rsa.VerifyPSS(key, hash, digest, sig, nil) == nil
	case ed25519.PublicKey:
		return ed25519.VerifyWithOptions(key, digest, sig, &ed25519.Options{Hash: hash}) == nil
	}
	return false
}
