package sign

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/core/verify"
)

// Blob signs content that is no image, as cosign sign-blob does, and returns the Sigstore bundle. Its log entry is a hashedrekord, which knows no Ed25519 keys.
// Errors are those of [Image].
func Blob(ctx context.Context, config Config, content []byte) ([]byte, error) {
	return Reader(ctx, config, bytes.NewReader(content))
}

// Reader is [Blob] for content of any size, of which only the digest is kept.
func Reader(ctx context.Context, config Config, content io.Reader) ([]byte, error) {
	s, err := blobSigner(ctx, config)
	if err != nil {
		return nil, err
	}
	hash := keys.Hash(s.key.Public())
	if hash == 0 {
		return nil, fmt.Errorf("signing: %w: an Ed25519 key can't sign files, use an ECDSA key", ErrInput)
	}
	h := hash.New()
	if _, err := io.Copy(h, content); err != nil {
		return nil, fmt.Errorf("signing: reading content: %w", err)
	}
	artifact := verify.Digest{Algorithm: digestNames[hash.Size()], Value: h.Sum(nil)}
	sig, err := s.key.Sign(rand.Reader, artifact.Value, hash)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	p, err := s.proposeDigest(hash, artifact.Value, sig)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	evidence := &bundle.Evidence{
		Form: bundle.FormBundle, MediaType: bundle.MediaTypeV03, KeyHint: s.hint,
		Message: &bundle.Message{DigestAlgorithm: artifact.Algorithm, Digest: artifact.Value, Signature: sig},
	}
	if s.chain != nil {
		evidence.Certificates = s.chain[:1]
	}
	if _, err := s.witness(ctx, evidence, s.logURL, p); err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	return s.checked(evidence, artifact, "")
}

// Statement signs an in-toto statement as it stands, in a DSSE envelope, and returns the Sigstore bundle. Errors are those of [Image].
func Statement(ctx context.Context, config Config, untrustedStatement []byte) ([]byte, error) {
	artifact, predicateType, err := readStatement(untrustedStatement)
	if err != nil {
		return nil, fmt.Errorf("signing: %w: reading in-toto statement: %w", ErrInput, err)
	}
	s, err := blobSigner(ctx, config)
	if err != nil {
		return nil, err
	}
	evidence, _, err := s.envelope(ctx, bytes.Clone(untrustedStatement))
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	return s.checked(evidence, artifact, predicateType)
}

func blobSigner(ctx context.Context, config Config) (*signer, error) {
	if err := config.check(); err != nil {
		return nil, fmt.Errorf("signing: %w: %w", ErrInput, err)
	}
	s, err := newSigner(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	return s, nil
}

// readStatement returns what verifiers will ask a statement for: a digest and the predicate type.
func readStatement(untrusted []byte) (verify.Digest, string, error) {
	var st struct {
		Subject       []subject `json:"subject"`
		PredicateType string    `json:"predicateType"`
	}
	if err := json.Unmarshal(untrusted, &st); err != nil {
		return verify.Digest{}, "", err
	}
	if st.PredicateType == "" {
		return verify.Digest{}, "", errors.New("predicateType is missing")
	}
	for _, s := range st.Subject {
		for _, algorithm := range []string{"sha256", "sha384", "sha512"} {
			if sum, err := hex.DecodeString(s.Digest[algorithm]); err == nil && len(sum) > 0 {
				return verify.Digest{Algorithm: algorithm, Value: sum}, st.PredicateType, nil
			}
		}
	}
	return verify.Digest{}, "", errors.New("no subject has a digest with sha256, sha384 or sha512")
}

// digestNames gives the name of a SHA-2 digest of this many bytes.
var digestNames = map[int]string{32: "sha256", 48: "sha384", 64: "sha512"}
