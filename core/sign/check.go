package sign

import (
	"encoding/hex"
	"fmt"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/verify"
)

// verifyBundle verifies the bundle's bytes as a verifier would, if there is a trust root.
func (s *signer) verifyBundle(m made) error {
	evidence, err := bundle.Parse(m.bundleJSON)
	if err != nil {
		return err
	}
	return s.verifyImage(evidence, m)
}

func (s *signer) verifyLegacy(m made) error {
	evidence, err := bundle.ParseLegacy(m.payload, m.annotations)
	if err != nil {
		return err
	}
	return s.verifyImage(evidence, m)
}

func (s *signer) verifyLegacyAttestation(m made) error {
	evidence, err := bundle.ParseLegacyAttestation(m.payload, m.annotations)
	if err != nil {
		return err
	}
	return s.verifyImage(evidence, m)
}

func (s *signer) verifyImage(evidence *bundle.Evidence, m made) error {
	sum, err := hex.DecodeString(m.Digest.Hex)
	if err != nil {
		return err
	}
	return s.verify(evidence, verify.Digest{Algorithm: m.Digest.Algorithm, Value: sum}, m.attestation.predicateType())
}

func (s *signer) verify(evidence *bundle.Evidence, artifact verify.Digest, predicateType string) error {
	if s.root == nil {
		return nil
	}
	_, err := verify.Verify(verify.Input{
		Evidence: evidence, Artifact: artifact, PredicateType: predicateType, Signer: s.expected, Root: s.root, Now: s.now(), InsecureIgnoreLog: s.noLog,
	})
	return err
}

// checked is the bundle's bytes, verified as a verifier would if there is a trust root.
func (s *signer) checked(evidence *bundle.Evidence, artifact verify.Digest, predicateType string) ([]byte, error) {
	bundleJSON, err := bundle.Marshal(evidence)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	if evidence, err = bundle.Parse(bundleJSON); err != nil {
		return nil, fmt.Errorf("signing: reading the bundle before handing it out: %w", err)
	}
	if err := s.verify(evidence, artifact, predicateType); err != nil {
		return nil, fmt.Errorf("signing: checking the bundle before handing it out: %w", err)
	}
	return bundleJSON, nil
}
