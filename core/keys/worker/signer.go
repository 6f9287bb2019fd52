package worker

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"

	"github.com/touchmark/touchmark/core/keys"
)

// signer is a key that signs in a service or on a token.
type signer struct {
	ctx    context.Context // crypto.Signer passes none
	client *Client
	ref    string
	pin    []byte
	public crypto.PublicKey
}

func (s *signer) Public() crypto.PublicKey { return s.public }

// Sign signs a digest, ECDSA or RSA PKCS #1 v1.5.
func (s *signer) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	hash, err := checkDigest(digest, opts)
	if err != nil {
		return nil, fmt.Errorf("signing with %s: %w", keys.Redact(s.ref), err)
	}
	a, err := s.client.ask(s.ctx, request{Operation: opSign, Ref: s.ref, PIN: s.pin, Hash: int(hash), Digest: digest})
	if err != nil {
		return nil, fmt.Errorf("signing with %s: %w", keys.Redact(s.ref), err)
	}
	if err := verify(s.public, hash, digest, a.Signature); err != nil {
		return nil, fmt.Errorf("signing with %s: %w", keys.Redact(s.ref), err)
	}
	return a.Signature, nil
}

// checkDigest refuses what a service or token might sign as something else than was meant.
func checkDigest(digest []byte, opts crypto.SignerOpts) (crypto.Hash, error) {
	if opts == nil {
		return 0, errors.New("no hash function was named")
	}
	if _, ok := opts.(*rsa.PSSOptions); ok {
		return 0, errors.New("RSA-PSS is not supported")
	}
	switch hash := opts.HashFunc(); hash {
	case crypto.SHA256, crypto.SHA384, crypto.SHA512:
		if len(digest) != hash.Size() {
			return 0, fmt.Errorf("digest of %d bytes, %s has %d", len(digest), hash, hash.Size())
		}
		return hash, nil
	case 0:
		return 0, errors.New("keys that sign the message itself (Ed25519) are not supported in services and on tokens")
	default:
		return 0, fmt.Errorf("hash function %s is not supported", hash)
	}
}

func verify(public crypto.PublicKey, hash crypto.Hash, digest, signature []byte) error {
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		if ecdsa.VerifyASN1(k, digest, signature) {
			return nil
		}
	case *rsa.PublicKey:
		if rsa.VerifyPKCS1v15(k, hash, digest, signature) == nil {
			return nil
		}
		return errors.New("the signature is not one of PKCS #1 v1.5 by the key's public half: the key was rotated meanwhile, or its algorithm is PSS")
	default:
		return fmt.Errorf("key %T is not supported in services and on tokens", public)
	}
	return errors.New("the signature is not one by the key's public half: was the key rotated meanwhile?")
}
