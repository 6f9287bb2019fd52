package sign

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/core/verify"
)

// payloadType is the DSSE payload type of in-toto statements.
const payloadType = "application/vnd.in-toto+json"

// made is what was made for one digest and is ready to be written.
type made struct {
	target
	bundleJSON  []byte
	bundle      Written
	payload     []byte
	annotations map[string]string
	legacy      *Written
}

// make signs one digest in both forms.
func (s *signer) make(ctx context.Context, t target, repository string, opts Options) (made, error) {
	m := made{target: t}
	evidence, written, err := s.bundle(ctx, t.Digest.Hex)
	if err != nil {
		return m, fmt.Errorf("%s: %w", t.Digest, err)
	}
	m.bundle = written
	if m.bundleJSON, err = bundle.Marshal(evidence); err != nil {
		return m, fmt.Errorf("%s: %w", t.Digest, err)
	}
	if err := s.verifyBundle(m); err != nil {
		return m, fmt.Errorf("%s: checking the bundle before writing it: %w", t.Digest, err)
	}
	if opts.SkipLegacy {
		return m, nil
	}
	if m.payload, err = bundle.SimpleSigningPayload(repository, t.Digest.String()); err != nil {
		return m, fmt.Errorf("%s: %w", t.Digest, err)
	}
	if evidence, written, err = s.legacy(ctx, m.payload); err != nil {
		return m, fmt.Errorf("%s: %w", t.Digest, err)
	}
	m.legacy = &written
	if m.annotations, err = bundle.LegacyAnnotations(evidence); err != nil {
		return m, fmt.Errorf("%s: %w", t.Digest, err)
	}
	if err := s.verifyLegacy(m); err != nil {
		return m, fmt.Errorf("%s: checking the .sig signature before writing it: %w", t.Digest, err)
	}
	return m, nil
}

// statement is the in-toto statement that cosign 3 signs; its subject has no name.
type statement struct {
	Type          string    `json:"_type"`
	Subject       []subject `json:"subject"`
	PredicateType string    `json:"predicateType"`
	Predicate     struct{}  `json:"predicate"`
}

type subject struct {
	Digest map[string]string `json:"digest"`
}

// bundle signs the statement about a digest, and has it logged and timestamped.
func (s *signer) bundle(ctx context.Context, hexDigest string) (*bundle.Evidence, Written, error) {
	payload, err := json.Marshal(statement{
		Type:          "https://in-toto.io/Statement/v1",
		Subject:       []subject{{Digest: map[string]string{"sha256": hexDigest}}},
		PredicateType: verify.PredicateImageSignature,
	})
	if err != nil {
		return nil, Written{}, err
	}
	return s.envelope(ctx, payload)
}

// envelope signs a statement, and has it logged and timestamped.
func (s *signer) envelope(ctx context.Context, payload []byte) (*bundle.Evidence, Written, error) {
	sig, err := keys.Sign(s.key, bundle.PAE(payloadType, payload))
	if err != nil {
		return nil, Written{}, err
	}
	p, err := s.proposeEnvelope(payload, sig)
	if err != nil {
		return nil, Written{}, err
	}
	evidence := &bundle.Evidence{
		Form: bundle.FormBundle, MediaType: bundle.MediaTypeV03, KeyHint: s.hint,
		Envelope: &bundle.Envelope{PayloadType: payloadType, Payload: payload, Signature: sig},
	}
	if s.chain != nil {
		evidence.Certificates = s.chain[:1] // a v0.3 bundle has the leaf only
	}
	written, err := s.witness(ctx, evidence, s.logURL, p)
	return evidence, written, err
}

// legacy signs a simple signing payload, and has it logged by a log of Rekor v1, and timestamped. Whatever the key, its hash is SHA-256: cosign and podman know no other here.
func (s *signer) legacy(ctx context.Context, payload []byte) (*bundle.Evidence, Written, error) {
	digest := sha256.Sum256(payload)
	sig, err := s.key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return nil, Written{}, fmt.Errorf("signing: %w", err)
	}
	p, err := s.proposeHashedRekordV1(crypto.SHA256, digest[:], sig)
	if err != nil {
		return nil, Written{}, err
	}
	evidence := &bundle.Evidence{
		Form: bundle.FormLegacy, MediaType: bundle.MediaTypeSimpleSigning,
		Payload:      &bundle.Payload{Text: payload, Signature: sig},
		Certificates: s.chain, // podman finds the intermediate here
	}
	written, err := s.witness(ctx, evidence, s.legacyURL, p)
	return evidence, written, err
}

// witness adds the log's and the timestamp authority's word to the evidence.
func (s *signer) witness(ctx context.Context, evidence *bundle.Evidence, logURL string, p proposed) (Written, error) {
	written := Written{Log: logURL}
	if s.tsaURL != "" {
		der, at, err := timestamp(ctx, s.tsas, s.tsaURL, evidence.Signature())
		if err != nil {
			return written, err
		}
		evidence.Timestamps = [][]byte{der}
		written.Timestamp = &at
	}
	e, err := p.logIn(ctx, s.logs, logURL)
	if err != nil {
		return written, err
	}
	evidence.Entries = []bundle.Entry{e}
	written.LogIndex = e.LogIndex
	return written, nil
}

// write writes both forms beside the image.
func (m made) write(ctx context.Context, dst attach.Source, now time.Time) (Signature, error) {
	out := Signature{Digest: m.Digest.String(), Platform: m.platform, Bundle: m.bundle, Legacy: m.legacy}
	manifest, err := attach.WriteBundle(ctx, dst, m.Descriptor, m.bundleJSON, verify.PredicateImageSignature, now)
	if err != nil {
		return out, err
	}
	out.Bundle.Manifest = manifest.String()
	if m.legacy == nil {
		return out, nil
	}
	if manifest, err = attach.WriteLegacy(ctx, dst, m.Digest, m.payload, m.annotations); err != nil {
		return out, err
	}
	out.Legacy.Manifest = manifest.String()
	return out, nil
}
