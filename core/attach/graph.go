package attach

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Manifest is a manifest or index as a registry gave it, for those who carry it elsewhere unchanged. Digest is computed from Raw; everything below Raw is what
// the content says, and untrusted.
type Manifest struct {
	MediaType types.MediaType // as it was served
	Digest    v1.Hash
	Raw       []byte

	ArtifactType string
	Annotations  map[string]string
	Config       *v1.Descriptor
	Layers       []v1.Descriptor
	Manifests    []v1.Descriptor
	Subject      *v1.Descriptor
}

// ParseManifest reads a manifest or index that came with this media type. What two readers could read differently is an error, as is Docker's schema 1.
func ParseManifest(mediaType types.MediaType, untrusted []byte) (*Manifest, error) {
	d, err := parseDocument(mediaType, untrusted)
	if err != nil {
		return nil, err
	}
	var rest struct {
		Annotations map[string]string `json:"annotations"`
	}
	if err := decode(untrusted, &rest); err != nil {
		return nil, err
	}
	return &Manifest{
		MediaType: mediaType, Digest: hash(untrusted), Raw: untrusted,
		ArtifactType: d.ArtifactType, Annotations: rest.Annotations,
		Config: d.Config, Layers: d.Layers, Manifests: d.Manifests, Subject: d.Subject,
	}, nil
}

// Entry describes the manifest as lists of referrers have to show it (distribution-spec, "Listing Referrers"): with its annotations, and where it has no
// artifactType, with its config's media type.
func (m *Manifest) Entry() v1.Descriptor {
	entry := v1.Descriptor{
		MediaType: m.MediaType, Digest: m.Digest, Size: int64(len(m.Raw)),
		ArtifactType: m.ArtifactType, Annotations: m.Annotations,
	}
	if entry.ArtifactType == "" && m.Config != nil {
		entry.ArtifactType = string(m.Config.MediaType)
	}
	return entry
}

// Connect makes the handshake once and returns the source with a transport that is authenticated: calls that are given it make none of their own. The scope is
// transport.PullScope or transport.PushScope; alsoPull are other repositories of the same registry that are read too.
func Connect(ctx context.Context, src Source, scope string, alsoPull ...name.Repository) (Source, error) {
	c, err := open(ctx, src, scope, alsoPull...)
	if err != nil {
		return src, err
	}
	src.Transport, src.connected = c.transport, true
	return src, nil
}

// Read reads the manifest or index at a tag or digest, with its bytes. One that isn't there is a [*LookupError] with status 404.
func Read(ctx context.Context, src Source, identifier string) (*Manifest, error) {
	c, err := open(ctx, src, transport.PullScope)
	if err != nil {
		return nil, err
	}
	r, err := c.readManifest(ctx, identifier)
	if err != nil {
		return nil, err
	}
	m, err := ParseManifest(types.MediaType(r.mediaType()), r.body)
	if err != nil {
		return nil, &LookupError{URL: r.url, Status: r.status, Err: err}
	}
	return m, nil
}

// ListReferrers lists what refers to the digest, and says where the list is from: the referrers API, or the index at the fallback tag where there is none. See
// [Find] for what counts as none. The list is only the registry's word: what an entry names has to be read, and to name the digest as its subject.
func ListReferrers(ctx context.Context, src Source, digest v1.Hash) ([]v1.Descriptor, Where, error) {
	if err := checkSubject(src, digest); err != nil {
		return nil, "", err
	}
	c, err := open(ctx, src, transport.PullScope)
	if err != nil {
		return nil, "", err
	}
	list, where, err := c.referrersOf(ctx, digest)
	if err != nil {
		return nil, where, err
	}
	entries := make([]v1.Descriptor, len(list))
	for i, r := range list {
		entries[i] = v1.Descriptor{MediaType: r.MediaType, Digest: r.Digest, Size: r.Size, ArtifactType: r.ArtifactType}
	}
	return entries, where, nil
}

// Has says whether the repository has the manifest with this digest.
func Has(ctx context.Context, dst Source, digest v1.Hash) (bool, error) {
	c, err := open(ctx, dst, transport.PullScope)
	if err != nil {
		return false, err
	}
	header := http.Header{"Accept": {strings.Join(imageTypes, ", ")}}
	r, err := c.do(ctx, http.MethodHead, c.url("manifests/"+digest.String()), header, nil, 0, http.StatusNotFound)
	if err != nil {
		return false, err
	}
	return r.status == http.StatusOK, nil
}

// WriteManifest writes a manifest or index, unchanged, under a tag or, if tag is empty, under its digest. One that names a subject may not be listed among the
// subject's referrers yet: see [EnsureListed].
func WriteManifest(ctx context.Context, dst Source, m *Manifest, tag string) error {
	c, err := open(ctx, dst, transport.PushScope)
	if err != nil {
		return err
	}
	identifier := tag
	if tag == "" {
		identifier = m.Digest.String()
	}
	_, err = c.putManifest(ctx, identifier, m.MediaType, m.Raw)
	return err
}

// EnsureListed returns nil once the repository lists a manifest that was written with a subject: through the referrers API, or in the index at the fallback tag,
// which is kept here as in [WriteBundle] where the registry has no API.
func EnsureListed(ctx context.Context, dst Source, m *Manifest) error {
	if m.Subject == nil {
		return fmt.Errorf("listing %s: it names no subject", m.Digest)
	}
	if err := checkSubject(dst, m.Subject.Digest); err != nil {
		return err
	}
	c, err := open(ctx, dst, transport.PushScope)
	if err != nil {
		return err
	}
	return c.ensureListed(ctx, m.Subject.Digest, m.Entry())
}
