package siglog

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/core/tlog/entry"
)

// verifier is the signer of an entry: a certificate or a bare key.
type verifier struct {
	key  crypto.PublicKey
	cert *x509.Certificate // nil for a bare key
	pem  []byte            // canonical
}

// errSignature does not say more: there is nothing more to know.
var errSignature = errors.New("the signature does not verify")

// parseVerifier reads one PEM block, CERTIFICATE or PUBLIC KEY, with an allowed
// key: ECDSA on P-256, P-384 or P-521, Ed25519, RSA of 2048 to 4096 bits.
func parseVerifier(untrustedPEM []byte) (verifier, error) {
	block, rest := pem.Decode(untrustedPEM)
	if block == nil {
		return verifier{}, errors.New("it is not PEM")
	}
	if len(bytes.TrimSpace(rest)) > 0 || !bytes.HasPrefix(bytes.TrimSpace(untrustedPEM), []byte("-----BEGIN ")) {
		return verifier{}, errors.New("there is something beside the one PEM block")
	}
	var v verifier
	switch block.Type {
	case "CERTIFICATE":
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return verifier{}, errors.New("the certificate is malformed")
		}
		v = verifier{key: cert.PublicKey, cert: cert, pem: entry.CertificatePEM(cert.Raw)}
	case "PUBLIC KEY":
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return verifier{}, errors.New("the public key is malformed")
		}
		v = verifier{key: key}
		if v.pem, err = entry.PublicKeyPEM(key); err != nil {
			return verifier{}, errors.New("the public key is of an unknown kind")
		}
	default:
		return verifier{}, fmt.Errorf("the PEM block is %.64q; want CERTIFICATE or PUBLIC KEY", block.Type)
	}
	if err := keys.Check(v.key); err != nil {
		return verifier{}, err
	}
	return v, nil
}

// verifyDigest verifies a signature over a digest. Ed25519 signs a digest as
// Ed25519ph, whose hash is SHA-512.
func (v verifier) verifyDigest(hash crypto.Hash, digest, signature []byte) error {
	if len(signature) == 0 {
		return errors.New("the signature is missing")
	}
	var ok bool
	switch key := v.key.(type) {
	case *ecdsa.PublicKey:
		ok = ecdsa.VerifyASN1(key, digest, signature)
	case *rsa.PublicKey:
		ok = rsa.VerifyPKCS1v15(key, hash, digest, signature) == nil
	case ed25519.PublicKey:
		if hash != crypto.SHA512 {
			return errors.New("an Ed25519 signature over a digest is Ed25519ph, which needs sha512")
		}
		ok = ed25519.VerifyWithOptions(key, digest, signature, &ed25519.Options{Hash: crypto.SHA512}) == nil
	}
	if !ok {
		return errSignature
	}
	return nil
}

// verifyMessage verifies a signature over a message, hashed as the key's kind
// demands; Ed25519 is pure.
func (v verifier) verifyMessage(message, signature []byte) error {
	if key, ok := v.key.(ed25519.PublicKey); ok {
		if !ed25519.Verify(key, message, signature) {
			return errSignature
		}
		return nil
	}
	hash := keys.Hash(v.key)
	h := hash.New()
	h.Write(message)
	return v.verifyDigest(hash, h.Sum(nil), signature)
}

// fingerprint is what a key or certificate is searched by.
func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return "key:" + hex.EncodeToString(sum[:])
}
