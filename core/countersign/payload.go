package countersign

import (
	"encoding/base64"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// creator is who made the countersignature, as containers-signature(5) has it.
const creator = "touchmark agent"

// maxRepository bounds a repository's name, in bytes: as registries and clients do, with room for the registry's host.
const maxRepository = 512

// simple is the signed text of both forms, see containers-signature(5).
type simple struct {
	Critical struct {
		Identity struct {
			DockerReference string `json:"docker-reference"`
		} `json:"identity"`
		Image struct {
			DockerManifestDigest string `json:"docker-manifest-digest"`
		} `json:"image"`
		Type string `json:"type"`
	} `json:"critical"`
	Optional struct {
		Creator   string `json:"creator"`
		Timestamp int64  `json:"timestamp"` // seconds since 1970
	} `json:"optional"`
}

// payload is what is signed for a repository, by its logical name, and a digest. The reference has no tag: clients do not tell it.
func payload(kind, repository, digest string, now time.Time) ([]byte, error) {
	if _, err := v1.NewHash(digest); err != nil {
		return nil, fmt.Errorf("countersigning: %w", err)
	}
	if repository == "" || len(repository) > maxRepository {
		return nil, fmt.Errorf("countersigning: a repository's name has 1 to %d bytes, this one has %d", maxRepository, len(repository))
	}
	var s simple
	s.Critical.Identity.DockerReference = repository
	s.Critical.Image.DockerManifestDigest = digest
	s.Critical.Type = kind
	s.Optional.Creator, s.Optional.Timestamp = creator, now.Unix()
	text, err := json.Marshal(s, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("countersigning: %w", err)
	}
	return text, nil
}

func base64Text(data []byte) string { return base64.StdEncoding.EncodeToString(data) }
