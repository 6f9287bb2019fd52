// Package kms uses keys that stay in a cloud's key management service, through sigstore's providers. It has none of them itself: import
// core/keys/aws, core/keys/azure, core/keys/gcp and core/keys/hashivault for those that a program is to have.
//
// [Backend] is what core/keys/worker serves. ECDSA and RSA keys are supported, those that sign with PKCS #1 v1.5.
package kms

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/kms"
	"github.com/sigstore/sigstore/pkg/signature/options"

	"github.com/touchmark/touchmark/core/keys"
)

// Backend keeps keys in the clouds' services. Where they are and who we are is said by the environment, as each provider documents; PINs are ignored.
type Backend struct{}

// Public returns a key's public half.
func (Backend) Public(ctx context.Context, ref string, _ []byte) (crypto.PublicKey, error) {
	key, err := open(ctx, ref)
	if err != nil {
		return nil, err
	}
	return key.public, nil
}

// Open returns a signer of digests, for use until ctx is done.
func (Backend) Open(ctx context.Context, ref string, _ []byte) (crypto.Signer, error) {
	key, err := open(ctx, ref)
	if err != nil {
		return nil, err
	}
	if _, ok := key.public.(ed25519.PublicKey); ok {
		return nil, errors.New("Ed25519 keys in a KMS are not supported, use ECDSA P-256")
	}
	return key, nil
}

// Create makes a key of the provider's default algorithm, which is ECDSA P-256 with all of them.
func (Backend) Create(ctx context.Context, ref string) (crypto.PublicKey, error) {
	provider, err := kms.Get(ctx, ref, crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", ref, err)
	}
	pub, err := provider.CreateKey(ctx, provider.DefaultAlgorithm())
	if err != nil {
		return nil, err
	}
	return pub, nil
}

// key signs in the service.
type key struct {
	ctx      context.Context // crypto.Signer passes none
	provider kms.SignerVerifier
	public   crypto.PublicKey
}

func open(ctx context.Context, ref string) (*key, error) {
	provider, err := kms.Get(ctx, ref, crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", ref, err)
	}
	pub, err := provider.PublicKey(options.WithContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("reading public key: %w", err)
	}
	if err := keys.Check(pub); err != nil {
		return nil, err
	}
	if hash := keys.Hash(pub); hash != 0 && hash != crypto.SHA256 { // some providers want to know it when they are made
		if provider, err = kms.Get(ctx, ref, hash); err != nil {
			return nil, fmt.Errorf("opening %s: %w", ref, err)
		}
	}
	return &key{ctx, provider, pub}, nil
}

func (k *key) Public() crypto.PublicKey { return k.public }

func (k *key) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	sig, err := k.provider.SignMessage(nil, []signature.SignOption{
		options.WithContext(k.ctx), options.WithDigest(digest), options.WithCryptoSignerOpts(opts),
	}...)
	if err != nil {
		return nil, err
	}
	return sig, nil
}
