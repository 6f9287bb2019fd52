package registryproxy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// The four manifest types that are served. Everything else, schema 1 above all (its signature is not over the bytes that
// are hashed), is refused.
const (
	typeOCIManifest    = "application/vnd.oci.image.manifest.v1+json"
	typeOCIIndex       = "application/vnd.oci.image.index.v1+json"
	typeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	typeDockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
)

const (
	// maxManifest is what the specification asks every registry to hold; larger ones need not be pullable anywhere.
	maxManifest = 4 << 20
	// maxDescriptors caps an index's children and an image's layers: runtimes stop at 127 layers, and an index of ten
	// thousand children is an attack on whoever walks it.
	maxDescriptors = 1000
)

// descriptor is what a manifest says about something else.
type descriptor struct {
	MediaType    string            `json:"mediaType"`
	Digest       v1.Hash           `json:"-"`
	Size         int64             `json:"size"`
	ArtifactType string            `json:"artifactType,omitempty"`
	URLs         []string          `json:"urls,omitempty"`
	Data         []byte            `json:"data,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	Platform     json.RawMessage   `json:"platform,omitempty"`

	UntrustedDigest string `json:"digest"`
}

var descriptorFields = []string{"mediaType", "digest", "size", "artifactType", "urls", "data", "annotations", "platform"}

// document is a manifest whose bytes can be read in one way only.
type document struct {
	mediaType string
	index     bool
	carries   bool         // its subject's content is in it
	config    descriptor   // images only
	layers    []descriptor // images only
	manifests []descriptor // indexes only
}

type rawDocument struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Config        json.RawMessage   `json:"config"`
	Layers        []json.RawMessage `json:"layers"`
	Manifests     []json.RawMessage `json:"manifests"`
	Subject       json.RawMessage   `json:"subject"`
	Annotations   map[string]string `json:"annotations"`
}

var documentFields = []string{"schemaVersion", "mediaType", "artifactType", "config", "layers", "manifests", "subject", "annotations"}

// parseDocument reads a manifest strictly. contentType is the one the upstream sent, without parameters: bytes that mean
// one thing under their header and another by their own field are refused (image-spec, "mediaType": "this field ... MUST
// match the media type in the Content-Type"). Its errors name fields and quote no value: they reach clients.
func parseDocument(untrusted []byte, contentType string) (*document, error) {
	if err := checkJSON(untrusted); err != nil {
		return nil, err
	}
	var raw rawDocument
	members, err := decodeExact(untrusted, &raw, documentFields)
	if err != nil {
		return nil, err
	}
	if raw.SchemaVersion != 2 {
		return nil, errors.New("schemaVersion is not 2, the only one that is served")
	}
	if _, ok := members["fsLayers"]; ok {
		return nil, errors.New("it holds fsLayers: schema 1 is not served")
	}
	_, hasLayers := members["layers"]
	_, hasConfig := members["config"]
	_, hasManifests := members["manifests"]
	if hasManifests && (hasLayers || hasConfig) {
		return nil, errors.New("it holds both an image's and an index's fields")
	}
	if !hasManifests && !(hasLayers && hasConfig) {
		return nil, errors.New("it is neither an image (config, layers) nor an index (manifests)")
	}
	doc := &document{index: hasManifests}
	if doc.mediaType, err = documentType(raw.MediaType, contentType, hasManifests); err != nil {
		return nil, err
	}
	if err := doc.readDescriptors(raw, members); err != nil {
		return nil, err
	}
	return doc, checkAnnotations("", raw.Annotations)
}

// errSentAs says that a registry calls a manifest something else than it is.
var errSentAs = errors.New("was sent as")

// documentType settles the media type. An OCI document may leave the field out (early image-spec); a Docker one may not.
func documentType(field, contentType string, index bool) (string, error) {
	mediaType := field
	if mediaType == "" {
		mediaType = typeOCIManifest
		if index {
			mediaType = typeOCIIndex
		}
	}
	switch mediaType {
	case typeOCIManifest, typeDockerManifest:
		if index {
			return "", fmt.Errorf("it is an index by its fields and %s by its mediaType", mediaType)
		}
	case typeOCIIndex, typeDockerList:
		if !index {
			return "", fmt.Errorf("it is an image by its fields and %s by its mediaType", mediaType)
		}
	default:
		return "", errors.New("its mediaType is not served")
	}
	if contentType != mediaType {
		return "", fmt.Errorf("it is %s by its own account, but %w %.128q", mediaType, errSentAs, contentType)
	}
	return mediaType, nil
}

func (d *document) readDescriptors(raw rawDocument, members map[string]json.RawMessage) error {
	var err error
	if _, ok := members["subject"]; ok {
		subject, err := parseDescriptor("subject", raw.Subject)
		if err != nil {
			return err
		}
		d.carries = len(subject.Data) > 0
	}
	if d.index {
		d.manifests, err = parseDescriptors("manifests", raw.Manifests)
		return err
	}
	if d.config, err = parseDescriptor("config", raw.Config); err != nil {
		return err
	}
	if d.layers, err = parseDescriptors("layers", raw.Layers); err != nil {
		return err
	}
	return checkSizes(append([]descriptor{d.config}, d.layers...))
}

// checkSizes refuses one digest under two sizes: a blob's size is part of what is promised about it.
func checkSizes(all []descriptor) error {
	sizes := make(map[v1.Hash]int64, len(all))
	for _, d := range all {
		if size, ok := sizes[d.Digest]; ok && size != d.Size {
			return errors.New("one digest is listed with two sizes")
		}
		sizes[d.Digest] = d.Size
	}
	return nil
}

func parseDescriptors(field string, raw []json.RawMessage) ([]descriptor, error) {
	if len(raw) > maxDescriptors {
		return nil, fmt.Errorf("%s: %d entries, at most %d are served", field, len(raw), maxDescriptors)
	}
	all := make([]descriptor, 0, len(raw))
	for i, r := range raw {
		d, err := parseDescriptor(fmt.Sprintf("%s[%d]", field, i), r)
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return all, nil
}

func parseDescriptor(field string, raw json.RawMessage) (descriptor, error) {
	var d descriptor
	members, err := decodeExact(raw, &d, descriptorFields)
	if err != nil {
		return d, fmt.Errorf("%s: %w", field, err)
	}
	if d.MediaType == "" {
		return d, fmt.Errorf("%s: mediaType is missing", field)
	}
	if _, ok := members["size"]; !ok || d.Size < 0 {
		return d, fmt.Errorf("%s: size is missing or negative", field)
	}
	if !digestPattern.MatchString(d.UntrustedDigest) {
		return d, fmt.Errorf("%s: digest is not sha256:<64 lower-case hex digits>", field)
	}
	d.Digest = sha256Hash(d.UntrustedDigest[len("sha256:"):])
	if d.Data != nil {
		sum := sha256.Sum256(d.Data)
		if int64(len(d.Data)) != d.Size || hex.EncodeToString(sum[:]) != d.Digest.Hex {
			return d, fmt.Errorf("%s: data is not what digest and size say", field)
		}
	}
	return d, checkAnnotations(field+".", d.Annotations)
}

// digestAnnotations hold digests by definition; clients parse them, and one panicked over a malformed one
// (CVE-2026-95839), so those are not forwarded.
var digestAnnotations = []string{
	"containerd.io/uncompressed",
	"org.opencontainers.image.base.digest",
	"vnd.docker.reference.digest",
}

func checkAnnotations(field string, annotations map[string]string) error {
	for _, key := range digestAnnotations {
		if value, ok := annotations[key]; ok && !digestPattern.MatchString(value) {
			return fmt.Errorf("%sannotations[%s] is not a digest", field, key)
		}
	}
	return nil
}
