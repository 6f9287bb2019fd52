package bundle

import (
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
)

// MediaTypeDSSE is the media type of a legacy attestation's layer.
const MediaTypeDSSE = "application/vnd.dsse.envelope.v1+json"

// annotationPredicateType repeats the statement's predicate type, so that it can
// be looked for. Nothing is decided by it.
const annotationPredicateType = "predicateType"

// envelope is a DSSE envelope's JSON. As its specification demands, unknown
// fields are ignored; duplicate fields are errors.
type envelope struct {
	PayloadType string              `json:"payloadType"`
	Payload     []byte              `json:"payload"`
	Signatures  []envelopeSignature `json:"signatures"`
}

type envelopeSignature struct {
	KeyID     string `json:"keyid"`
	Signature []byte `json:"sig"`
}

// ParseLegacyAttestation reads one DSSE layer of a sha256-<hex>.att image: its
// bytes, and the annotations of its descriptor, as [ParseLegacy] does. The
// signature stands in the envelope; an annotation that gives another is an error.
func ParseLegacyAttestation(untrustedEnvelope []byte, untrustedAnnotations map[string]string) (*Evidence, error) {
	e, err := parseLegacyAttestation(untrustedEnvelope, untrustedAnnotations)
	if err == nil {
		err = e.check()
	}
	if err != nil {
		return nil, fmt.Errorf("legacy attestation: %w", err)
	}
	return e, nil
}

func parseLegacyAttestation(text []byte, annotations map[string]string) (*Evidence, error) {
	if err := checkSize(text, annotations); err != nil {
		return nil, err
	}
	var env envelope
	if err := unmarshal(text, &env); err != nil {
		return nil, err
	}
	if n := len(env.Signatures); n != 1 {
		return nil, fmt.Errorf("the envelope has %d signatures, want exactly one", n)
	}
	if env.PayloadType == "" {
		return nil, errors.New("the envelope's payloadType is missing")
	}
	if annotations[annotationSignature] != "" {
		return nil, fmt.Errorf("annotation %s is not empty: an attestation's signature stands in its envelope", annotationSignature)
	}
	e := &Evidence{
		Form: FormLegacy, MediaType: MediaTypeDSSE,
		Envelope: &Envelope{
			PayloadType: env.PayloadType, Payload: env.Payload, Text: text,
			Signature: env.Signatures[0].Signature, KeyID: env.Signatures[0].KeyID,
		},
	}
	return e, e.readAnnotations(annotations)
}

// EnvelopeJSON writes an envelope as cosign does. Log entries and timestamps of a
// legacy attestation are about this text.
func EnvelopeJSON(env *Envelope) ([]byte, error) {
	text, err := json.Marshal(envelope{
		PayloadType: env.PayloadType, Payload: env.Payload,
		Signatures: []envelopeSignature{{KeyID: env.KeyID, Signature: env.Signature}},
	})
	if err != nil {
		return nil, fmt.Errorf("encoding envelope: %w", err)
	}
	return text, nil
}

// LegacyAttestationAnnotations writes everything but the envelope as the
// annotations of a DSSE layer, as [LegacyAnnotations] does. The layer itself is the
// envelope's Text or, if that is nil, [EnvelopeJSON].
func LegacyAttestationAnnotations(e *Evidence) (map[string]string, error) {
	if e.Envelope == nil {
		return nil, errors.New("legacy attestation: the evidence holds no envelope")
	}
	a, err := e.annotations()
	if err != nil {
		return nil, fmt.Errorf("legacy attestation: %w", err)
	}
	a[annotationSignature] = ""
	var statement struct {
		PredicateType string `json:"predicateType"`
	}
	if err := json.Unmarshal(e.Envelope.Payload, &statement); err != nil {
		return nil, fmt.Errorf("legacy attestation: statement: malformed JSON: %w", err)
	}
	a[annotationPredicateType] = statement.PredicateType
	return a, nil
}
