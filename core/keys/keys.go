// Package keys opens signing keys: it makes, writes and reads those in files, and decides which are strong enough.
//
// [Open] and [OpenPublic] open what a reference names: a file, or a key in a cloud's service or on a PKCS#11 token, through core/keys/worker.
//
// A private key file is PEM that nobody but its owner can read (mode 0600): PKCS#8 from [WritePrivate], cosign's encrypted format from [WriteEncrypted].
// [Load] also reads what other tools write:
// SEC 1 ("EC PRIVATE KEY"), PKCS#1 ("RSA PRIVATE KEY") and, with a passphrase in [File], the keys of cosign ("ENCRYPTED SIGSTORE PRIVATE
// KEY" and its older name "ENCRYPTED COSIGN PRIVATE KEY"). [LoadPublic] reads public keys, PKIX ("PUBLIC KEY").
//
// Allowed are ECDSA on P-256, P-384 and P-521, Ed25519, and RSA of 2048 to 4096 bits; see [Check]. Everything else is refused when it is read, so
// that no signature is ever made, or expected, from a key that verifiers refuse.
package keys

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"

	"github.com/touchmark/touchmark/core/tlog/entry"
)

// Algorithm names a kind of key that [Generate] can make.
type Algorithm string

// The algorithms of [Generate]. RSA has the size that every Sigstore client accepts.
const (
	P256    Algorithm = "ecdsa-p256"
	P384    Algorithm = "ecdsa-p384"
	P521    Algorithm = "ecdsa-p521"
	Ed25519 Algorithm = "ed25519"
	RSA3072 Algorithm = "rsa-3072"
)

// RSA moduli outside these bounds are refused, in bits: below is weak, above costs verifiers more than it is worth.
const (
	minRSABits = 2048
	maxRSABits = 4096
)

// minRSAExponent refuses the textbook exponents; all common tools write 65537.
const minRSAExponent = 65537

// Generate makes a new private key.
func Generate(a Algorithm) (crypto.Signer, error) {
	switch a {
	case P256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case P384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case P521:
		return ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case Ed25519:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	case RSA3072:
		return rsa.GenerateKey(rand.Reader, 3072)
	}
	return nil, fmt.Errorf("generating key: unknown algorithm %q", a)
}

// Check refuses public keys of a kind or size that isn't allowed.
func Check(pub crypto.PublicKey) error {
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256(), elliptic.P384(), elliptic.P521():
			return nil
		}
		if k.Curve == nil {
			return errors.New("checking key: ECDSA key without a curve")
		}
		return fmt.Errorf("checking key: ECDSA curve %s is not allowed, want P-256, P-384 or P-521", k.Params().Name)
	case ed25519.PublicKey:
		if len(k) != ed25519.PublicKeySize {
			return fmt.Errorf("checking key: Ed25519 key of %d bytes", len(k))
		}
		if _, err := entry.HashFor(k); err != nil { // anybody can sign for a key of small order, so having signed proves nothing
			return errors.New("checking key: Ed25519 key of small order")
		}
		return nil
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < minRSABits || n > maxRSABits {
			return fmt.Errorf("checking key: RSA key of %d bits is not allowed, want %d to %d", n, minRSABits, maxRSABits)
		}
		if k.E < minRSAExponent {
			return fmt.Errorf("checking key: RSA exponent %d is not allowed, want %d or more", k.E, minRSAExponent)
		}
		return nil
	}
	return fmt.Errorf("checking key: %T is not allowed, want ECDSA, Ed25519 or RSA", pub)
}

// Hash is the hash that a key signs with in Sigstore: SHA-256 for P-256 and RSA, SHA-384 for P-384, SHA-512 for P-521, and 0 for Ed25519, which
// signs the message itself.
func Hash(pub crypto.PublicKey) crypto.Hash {
	switch k := pub.(type) {
	case ed25519.PublicKey:
		return 0
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P384():
			return crypto.SHA384
		case elliptic.P521():
			return crypto.SHA512
		}
	}
	return crypto.SHA256
}

// Sign signs a message with the key's own hash, see [Hash]: ASN.1 for ECDSA, PKCS #1 v1.5 for RSA, pure Ed25519.
func Sign(key crypto.Signer, message []byte) ([]byte, error) {
	h := Hash(key.Public())
	digest := message
	if h != 0 {
		hasher := h.New()
		hasher.Write(message)
		digest = hasher.Sum(nil)
	}
	sig, err := key.Sign(rand.Reader, digest, h)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	return sig, nil
}
