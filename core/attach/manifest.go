package attach

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Media types of what is evidence; everything else in a manifest isn't looked at.
const (
	bundleMediaTypePrefix  = "application/vnd.dev.sigstore.bundle"
	simpleSigningMediaType = "application/vnd.dev.cosign.simplesigning.v1+json"
	envelopeMediaType      = "application/vnd.dsse.envelope.v1+json"
	cosignSigArtifactType  = "application/vnd.dev.cosign.artifact.sig.v1+json"
	bundleAnnotationPrefix = "dev.sigstore.bundle."
	emptyMediaType         = "application/vnd.oci.empty.v1+json"
)

// imageTypes are the manifests and indexes that may be images.
var imageTypes = []string{
	string(types.OCIImageIndex), string(types.OCIManifestSchema1),
	string(types.DockerManifestList), string(types.DockerManifestSchema2),
}

// manifestTypes are the manifests that may hold evidence.
var manifestTypes = []string{string(types.OCIManifestSchema1), string(types.DockerManifestSchema2)}

// document is what we read of a manifest or index.
type document struct {
	SchemaVersion int             `json:"schemaVersion"`
	MediaType     types.MediaType `json:"mediaType"`
	ArtifactType  string          `json:"artifactType"`
	Config        *v1.Descriptor  `json:"config"`
	Layers        []v1.Descriptor `json:"layers"`
	Manifests     []v1.Descriptor `json:"manifests"`
	Subject       *v1.Descriptor  `json:"subject"`
}

// maxTokens bounds a document besides its size in bytes: an empty descriptor takes a hundred times its two bytes when it is decoded. A list of MaxReferrers
// entries has some 50,000 tokens.
const maxTokens = 128 << 10

// decode reads JSON as containerd and the others read it, with encoding/json, which takes names in any case; but two names of one object that mean
// the same field are an error, as are invalid UTF-8, text behind the document, and more than maxTokens.
func decode(untrusted []byte, into any) error {
	dec := jsontext.NewDecoder(bytes.NewBuffer(untrusted))
	for n := 0; ; n++ {
		if n > maxTokens {
			return fmt.Errorf("JSON of more than %d tokens: %w", maxTokens, errTooLarge)
		}
		if _, err := dec.ReadToken(); err != nil {
			break // the end, or something that is reported below
		}
	}
	return json.Unmarshal(untrusted, into, json.MatchCaseInsensitiveNames(true))
}

// parseDocument reads a manifest or index that came with this media type, and refuses what two readers could read differently:
// duplicate names, names that differ in case only, layers in an index or manifests in a manifest (CVE-2021-41190), another type inside than outside, schema 1.
func parseDocument(mediaType types.MediaType, untrusted []byte) (*document, error) {
	if !mediaType.IsIndex() && !mediaType.IsImage() || mediaType.IsSchema1() {
		return nil, fmt.Errorf("media type %q is neither a manifest nor an index", mediaType)
	}
	var d document
	if err := decode(untrusted, &d); err != nil {
		return nil, err
	}
	switch {
	case d.SchemaVersion != 2:
		return nil, fmt.Errorf("schemaVersion is %d, want 2", d.SchemaVersion)
	case d.MediaType != "" && d.MediaType != mediaType:
		return nil, fmt.Errorf("mediaType is %q, but it was served as %q", d.MediaType, mediaType)
	case mediaType.IsIndex() && (d.Layers != nil || d.Config != nil):
		return nil, errors.New("an index with layers or config")
	case mediaType.IsImage() && d.Manifests != nil:
		return nil, errors.New("a manifest with manifests")
	}
	return &d, nil
}
