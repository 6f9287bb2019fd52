package sign

import (
	"encoding/hex"
	"time"

	"github.com/go-json-experiment/json"
	v1 "github.com/google/go-containerregistry/pkg/v1"

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
