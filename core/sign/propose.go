package sign

import (
	"context"
	"crypto"
	"crypto/sha256"
	"fmt"

	"github.com/go-json-experiment/json"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/tlog/entry"
)

// proposed is an entry before a log has it: what is posted, and the body that the log must make of it.
type proposed struct {
	kind, version string
	request       []byte
	body          []byte
	envelope      []byte // JSON, of a dsse entry
}

// logIn has the entry logged by the log at this base URL, over the API that takes entries of its version.
func (p proposed) logIn(ctx context.Context, s service, base string) (bundle.Entry, error) {
	if p.version == entry.V002 {
		return p.logInV2(ctx, s, base)
	}
	return p.logInV1(ctx, s, base)
}

// proposeDigest proposes an entry for a signature over a digest.
func (s *signer) proposeDigest(hash crypto.Hash, digest, sig []byte) (proposed, error) {
	if s.logV2 {
		return s.proposeHashedRekordV2(digest, sig)
	}
	return s.proposeHashedRekordV1(hash, digest, sig)
}

// proposeEnvelope proposes an entry for a signature over a DSSE envelope. Rekor v2 has no kind of its own for these: what is signed is the
// envelope's pre-authentication encoding.
func (s *signer) proposeEnvelope(payload, sig []byte) (proposed, error) {
	if !s.logV2 {
		return s.proposeDSSE(payload, sig)
	}
	hash, err := entry.HashFor(s.key.Public())
	if err != nil {
		return proposed{}, err
	}
	h := hash.New()
	h.Write(bundle.PAE(payloadType, payload))
	return s.proposeHashedRekordV2(h.Sum(nil), sig)
}

// proposeHashedRekordV1 proposes a hashedrekord 0.0.1 entry, whose body has the form of its own proposal.
func (s *signer) proposeHashedRekordV1(hash crypto.Hash, digest, sig []byte) (proposed, error) {
	verifierPEM, err := s.verifierPEM()
	if err != nil {
		return proposed{}, err
	}
	body, err := entry.HashedRekordV001(hash, digest, sig, verifierPEM)
	return proposed{kind: entry.KindHashedRekord, version: entry.V001, request: body, body: body}, err
}

// envelope is a DSSE envelope in JSON, as it is sent to the log.
type envelope struct {
	Payload     []byte              `json:"payload"`
	PayloadType string              `json:"payloadType"`
	Signatures  []envelopeSignature `json:"signatures"`
}

type envelopeSignature struct {
	Sig []byte `json:"sig"`
}

// dsseRequest is the proposal of a dsse 0.0.1 entry: the envelope as a string, whose hash goes into the log.
type dsseRequest struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Spec       struct {
		Content struct {
			Envelope  string   `json:"envelope"`
			Verifiers [][]byte `json:"verifiers"`
		} `json:"proposedContent"`
	} `json:"spec"`
}

func (s *signer) proposeDSSE(payload, sig []byte) (proposed, error) {
	verifierPEM, err := s.verifierPEM()
	if err != nil {
		return proposed{}, err
	}
	env, err := json.Marshal(envelope{Payload: payload, PayloadType: payloadType, Signatures: []envelopeSignature{{Sig: sig}}})
	if err != nil {
		return proposed{}, fmt.Errorf("encoding envelope: %w", err)
	}
	body, err := entry.DSSEV001(sha256.Sum256(env), sha256.Sum256(payload), sig, verifierPEM)
	if err != nil {
		return proposed{}, err
	}
	req := dsseRequest{APIVersion: entry.V001, Kind: entry.KindDSSE}
	req.Spec.Content.Envelope = string(env)
	req.Spec.Content.Verifiers = [][]byte{verifierPEM}
	request, err := json.Marshal(req)
	if err != nil {
		return proposed{}, fmt.Errorf("encoding log entry: %w", err)
	}
	return proposed{kind: entry.KindDSSE, version: entry.V001, request: request, body: body, envelope: env}, nil
}

// verifierPEM is the signer as entries of Rekor v1 hold it.
func (s *signer) verifierPEM() ([]byte, error) {
	if s.verifier.Certificate != nil {
		return entry.CertificatePEM(s.verifier.Certificate), nil
	}
	return entry.PublicKeyPEM(s.verifier.Key)
}
