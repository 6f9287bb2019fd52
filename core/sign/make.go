package sign

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"time"

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
	attestation *Attestation // nil for a signature
	bundleJSON  []byte
	bundle      Written
	payload     []byte // of the older form: simple signing, or the envelope's JSON
	annotations map[string]string
	legacy      *Written
}

// make signs one digest in both forms. The statement goes into the bundle.
func (s *signer) make(ctx context.Context, t target, statement []byte, repository string, a *Attestation, opts Options) (made, error) {
	m := made{target: t, attestation: a}
	evidence, written, err := s.envelope(ctx, statement)
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
	if a != nil {
		err = s.makeLegacyAttestation(ctx, &m, evidence)
	} else {
		err = s.makeLegacy(ctx, &m, repository)
	}
	if err != nil {
		return m, fmt.Errorf("%s: %w", t.Digest, err)
	}
	return m, nil
}

// makeLegacy makes the .sig form.
func (s *signer) makeLegacy(ctx context.Context, m *made, repository string) error {
	payload, err := bundle.SimpleSigningPayload(repository, m.Digest.String())
	if err != nil {
		return err
	}
	evidence, written, err := s.legacy(ctx, payload)
	if err != nil {
		return err
	}
	m.payload, m.legacy = payload, &written
	if m.annotations, err = bundle.LegacyAnnotations(evidence); err != nil {
		return err
	}
	if err := s.verifyLegacy(*m); err != nil {
		return fmt.Errorf("checking the .sig signature before writing it: %w", err)
	}
	return nil
}

// subject is what a statement is about.
type subject struct {
	Digest map[string]string `json:"digest"`
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
	if logURL == "" {
		return written, nil
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
	out := Signature{Digest: m.Digest.String(), Platform: m.platform, Bundle: m.bundle, Legacy: m.legacy, JSON: m.bundleJSON}
	predicateType := m.attestation.predicateType()
	if predicateType == "" {
		predicateType = verify.PredicateImageSignature
	}
	manifest, err := attach.WriteBundle(ctx, dst, m.Descriptor, m.bundleJSON, predicateType, now)
	if err != nil {
		return out, err
	}
	out.Bundle.Manifest = manifest.String()
	if m.legacy == nil {
		return out, nil
	}
	write := attach.WriteLegacy
	if m.attestation != nil {
		write = attach.WriteLegacyAttestation
	}
	if manifest, err = write(ctx, dst, m.Digest, m.payload, m.annotations); err != nil {
		return out, err
	}
	out.Legacy.Manifest = manifest.String()
	return out, nil
}
