package sign

import (
	"encoding/hex"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/verify"
)

// verifyBundle verifies the bundle's bytes as a verifier would, if there is a trust root.
func (s *signer) verifyBundle(m made) error {
	evidence, err := bundle.Parse(m.bundleJSON)
	if err != nil {
		return err
	}
	return s.verify(evidence, m.Digest.Hex)
}

func (s *signer) verifyLegacy(m made) error {
	evidence, err := bundle.ParseLegacy(m.payload, m.annotations)
	if err != nil {
		return err
	}
	return s.verify(evidence, m.Digest.Hex)
}

func (s *signer) verify(evidence *bundle.Evidence, hexDigest string) error {
	if s.root == nil {
		return nil
	}
	sum, err := hex.DecodeString(hexDigest)
	if err != nil {
		return err
	}
	_, err = verify.Verify(verify.Input{
		Evidence: evidence, Artifact: verify.Digest{Algorithm: "sha256", Value: sum},
		Signer: s.expected, Root: s.root, Now: s.now(),
	})
	return err
}
