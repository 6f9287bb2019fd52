package sign

import (
	"context"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/predicate"
	"github.com/touchmark/touchmark/core/verify"
)

// Attestation is what is said about an image. The nil attestation says that the image is signed.
type Attestation struct {
	Type      string // URI, see predicate.TypeURI
	Predicate []byte // under the rules of predicate.Statement
}

func (a *Attestation) predicateType() string {
	if a == nil {
		return ""
	}
	return a.Type
}

// signatureStatement is the in-toto statement that cosign 3 signs; its subject has no name.
type signatureStatement struct {
	Type          string    `json:"_type"`
	Subject       []subject `json:"subject"`
	PredicateType string    `json:"predicateType"`
	Predicate     struct{}  `json:"predicate"`
}

// statement is what is signed about a digest.
func (a *Attestation) statement(digest v1.Hash, repository string, now time.Time) ([]byte, error) {
	if a == nil {
		return json.Marshal(signatureStatement{
			Type:          "https://in-toto.io/Statement/v1",
			Subject:       []subject{{Digest: map[string]string{digest.Algorithm: digest.Hex}}},
			PredicateType: verify.PredicateImageSignature,
		})
	}
	sum, err := hex.DecodeString(digest.Hex)
	if err != nil {
		return nil, err
	}
	return predicate.Statement(a.Type, predicate.Subject{Name: repository, Algorithm: digest.Algorithm, Digest: sum}, a.Predicate, now)
}

// makeLegacyAttestation makes the .att form of what is in a bundle: the same envelope, in a log of Rekor v1, which may be the bundle's. Its timestamp is about the
// envelope's JSON: so cosign 2 has it, where the signature has no place of its own.
func (s *signer) makeLegacyAttestation(ctx context.Context, m *made, evidence *bundle.Evidence) error {
	envelope := *evidence.Envelope
	legacy := &bundle.Evidence{Form: bundle.FormLegacy, MediaType: bundle.MediaTypeDSSE, Envelope: &envelope, Certificates: s.chain, Entries: evidence.Entries}
	written := Written{Log: s.legacyURL, LogIndex: m.bundle.LogIndex}
	p, err := s.proposeDSSE(envelope.Payload, envelope.Signature)
	if err != nil {
		return err
	}
	envelope.Text, m.payload = p.envelope, p.envelope
	if s.tsaURL != "" {
		der, at, err := timestamp(ctx, s.tsas, s.tsaURL, envelope.Text)
		if err != nil {
			return err
		}
		legacy.Timestamps, written.Timestamp = [][]byte{der}, &at
	}
	if s.logURL != s.legacyURL {
		e, err := p.logIn(ctx, s.logs, s.legacyURL)
		if err != nil {
			return err
		}
		legacy.Entries, written.LogIndex = []bundle.Entry{e}, e.LogIndex
	}
	if m.annotations, err = bundle.LegacyAttestationAnnotations(legacy); err != nil {
		return err
	}
	m.legacy = &written
	if err := s.verifyLegacyAttestation(*m); err != nil {
		return fmt.Errorf("checking the .att attestation before writing it: %w", err)
	}
	return nil
}
