package bundle

import (
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/touchmark/touchmark/core/jsonguard"
)

// simpleSigningType is the payload type that cosign and containers/image
// write and demand.
const simpleSigningType = "cosign container image signature"

// simpleSigning is the simple-signing payload (containers-signature(5)).
type simpleSigning struct {
	Critical struct {
		Identity struct {
			DockerReference string `json:"docker-reference"`
		} `json:"identity"`
		Image struct {
			DockerManifestDigest string `json:"docker-manifest-digest"`
		} `json:"image"`
		Type string `json:"type"`
	} `json:"critical"`
	Optional jsontext.Value `json:"optional"`
}

// SimpleSigning is what a simple-signing payload says.
type SimpleSigning struct {
	Reference string // docker-reference: the name that was signed; may be empty
	Digest    string // docker-manifest-digest
}

// ParseSimpleSigning reads a payload strictly: an unknown or duplicate field, a
// missing digest or another type is an error. The optional part is not read.
func ParseSimpleSigning(untrustedText []byte) (SimpleSigning, error) {
	var p simpleSigning
	if err := jsonguard.CheckOpen(untrustedText); err != nil {
		return SimpleSigning{}, fmt.Errorf("simple signing payload: %w", err)
	}
	if err := json.Unmarshal(untrustedText, &p, json.RejectUnknownMembers(true), jsontext.AllowDuplicateNames(true)); err != nil {
		return SimpleSigning{}, fmt.Errorf("simple signing payload: malformed JSON: %w", err)
	}
	if p.Critical.Type != simpleSigningType {
		return SimpleSigning{}, fmt.Errorf("simple signing payload: critical.type is %q, want %q", jsonguard.Excerpt(p.Critical.Type), simpleSigningType)
	}
	if p.Critical.Image.DockerManifestDigest == "" {
		return SimpleSigning{}, errors.New("simple signing payload: critical.image.docker-manifest-digest is missing")
	}
	return SimpleSigning{
		Reference: p.Critical.Identity.DockerReference,
		Digest:    p.Critical.Image.DockerManifestDigest,
	}, nil
}

// SimpleSigningPayload writes the payload for an image: its digest
// ("sha256:<hex>") and the name under which it is signed.
func SimpleSigningPayload(reference, digest string) ([]byte, error) {
	var p simpleSigning
	p.Critical.Identity.DockerReference = reference
	p.Critical.Image.DockerManifestDigest = digest
	p.Critical.Type = simpleSigningType
	p.Optional = jsontext.Value("null")
	text, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("simple signing payload: encoding: %w", err)
	}
	return text, nil
}
