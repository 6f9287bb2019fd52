package attach

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/touchmark/touchmark/core/bundle"
)

// maxReferrerManifest bounds the manifest of one referrer, in bytes. It has one layer and three annotations; 128 of them are read at most.
const maxReferrerManifest = 256 << 10

// maxEvidence bounds the sum of what Find downloads as bundles and payloads of one image, in bytes.
const maxEvidence = 32 << 20

// Find returns the evidence beside the image (or index) with this digest: nothing about the index that holds it, or the manifests that it holds.
//
// The fallback tag is read where the registry has no referrers API: it answers 404, as the distribution specification says, or 400, 405, 406, or 200 with something
// else than an index, as registries do that are older than it. Where there is one, the tag isn't read.
//
// Bundles are recognised by what the referrers' manifests hold. Which manifests are worth the request is decided by the artifact types in the list, where many a writer and
// registry put a wrong one (sigstore/cosign#4641): all but those that are well known to be something else, and of types that nobody knows the first few.
//
// It returns no error when there is no evidence. An error is a [*LookupError], and means that there may be more than was found; Found then holds what was gathered
// until then. More than [MaxSignatures] signatures, or [MaxReferrers] referrers of any kind, are an error that wraps [ErrTooMany].
//
// Evidence that is there but can't be used (missing, another digest or size than its descriptor says, of another subject, malformed) is in Found with its
// error: a bad signature hides no good one.
func Find(ctx context.Context, src Source, digest v1.Hash) (Found, error) {
	return find(ctx, src, digest, Referrers, SigTag)
}

// FindWithAttestations is [Find] which also asks for the tag sha256-<hex>.att, for one more request. Only who wants attestations needs it.
func FindWithAttestations(ctx context.Context, src Source, digest v1.Hash) (Found, error) {
	return find(ctx, src, digest, Referrers, SigTag, AttTag)
}

// find works in two steps: first all places where evidence should be, so that they can be counted before anything is downloaded; then what is there.
func find(ctx context.Context, src Source, digest v1.Hash, where ...Where) (Found, error) {
	if err := checkSubject(src, digest); err != nil {
		return Found{}, err
	}
	c, err := open(ctx, src, transport.PullScope)
	if err != nil {
		return Found{Lookups: c.recorded()}, err
	}
	searches := make([]search, len(where))
	err = c.each(len(where), func(c *client, i int) error {
		searches[i] = search{client: c, digest: digest}
		if where[i] == Referrers {
			return searches[i].referrers(ctx)
		}
		return searches[i].tag(ctx, where[i])
	})
	all := search{client: c, digest: digest}
	for _, s := range searches {
		all.places, all.others = append(all.places, s.places...), append(all.others, s.others...)
	}
	if err == nil {
		err = all.download(ctx)
	}
	return all.found(), err
}

// search is what was found about one digest in one place or all of them.
type search struct {
	*client
	digest v1.Hash
	places []*place
	others []Other
}

// place is a layer that should hold evidence, or a manifest that can't be used (then Err is set).
type place struct {
	Located
	layer v1.Descriptor
}

func (s *search) found() Found {
	found := Found{Other: s.others, Lookups: s.recorded()}
	for _, p := range s.places {
		if p.Evidence != nil || p.Err != nil {
			found.Evidence = append(found.Evidence, p.Located)
		}
	}
	for _, l := range found.Lookups {
		if l.ForManifest() {
			found.ManifestRequests++
		}
	}
	return found
}

// tooMany is the error for a list that is longer than what is looked at.
func (s *search) tooMany(format string, args ...any) error {
	return &LookupError{URL: s.repo.Name() + "@" + s.digest.String(), Err: fmt.Errorf("%w: "+format, append([]any{ErrTooMany}, args...)...)}
}

// referrers reads the manifests in the list of referrers that may hold evidence.
func (s *search) referrers(ctx context.Context) error {
	list, where, err := s.referrersOf(ctx, s.digest)
	if le := (*LookupError)(nil); errors.As(err, &le) {
		return err
	} else if err != nil {
		s.places = []*place{{Located: Located{Where: where, Err: err}}}
	}
	candidates, others := sift(list)
	s.others = others
	if len(candidates) > MaxSignatures {
		return s.tooMany("%d referrers that may be signatures, limit %d", len(candidates), MaxSignatures)
	}
	found := make([]search, len(candidates))
	err = s.each(len(candidates), func(c *client, i int) error {
		found[i] = search{client: c, digest: s.digest}
		return found[i].referrer(ctx, candidates[i], where)
	})
	for _, f := range found {
		s.places, s.others = append(s.places, f.places...), append(s.others, f.others...)
	}
	return err
}

// referrer looks into one referrer.
func (s *search) referrer(ctx context.Context, r candidate, where Where) error {
	found := Located{Where: where, Manifest: r.Digest}
	doc, err := s.readReferrer(ctx, r.referrer)
	if le := (*LookupError)(nil); errors.As(err, &le) {
		return err
	}
	switch {
	case err == nil:
		s.places = evidenceLayers(found, doc.Layers)
		if len(s.places) > 0 {
			return nil
		}
		if !strings.HasPrefix(r.ArtifactType, bundleMediaTypePrefix) {
			s.others = []Other{other(r.Digest, doc.artifactType())}
			return nil
		}
		err = errors.New("is listed as a bundle, but holds none")
	case r.unfamiliar:
		s.others = []Other{other(r.Digest, r.ArtifactType)}
		return nil
	}
	found.Err = err
	s.places = []*place{{Located: found}}
	return nil
}

// readReferrer gives the manifest of one referrer, which has to name our digest as its subject: the list is only the registry's word for it.
func (s *search) readReferrer(ctx context.Context, r referrer) (*document, error) {
	desc := v1.Descriptor{Digest: r.Digest, Size: r.Size}
	resp, err := s.fetch(ctx, "manifests", desc, manifestTypes, maxReferrerManifest)
	if err != nil {
		return nil, err
	}
	doc, err := parseDocument(types.MediaType(resp.mediaType()), resp.body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.Digest, err)
	}
	if doc.Subject == nil || doc.Subject.Digest != s.digest {
		return nil, fmt.Errorf("%s: its subject is not %s", r.Digest, s.digest)
	}
	return doc, nil
}

// tag reads the manifest at the tag sha256-<hex>.sig or .att; 404 means that there is none.
func (s *search) tag(ctx context.Context, where Where) error {
	tag := s.sigTag(s.digest)
	if where == AttTag {
		tag = s.attTag(s.digest)
	}
	r, err := s.byTag(ctx, tag, manifestTypes)
	found := Located{Where: where}
	switch {
	case errors.Is(err, errTooLarge):
		found.Err = fmt.Errorf("tag %s: %w", tag, errTooLarge)
	case err != nil:
		return err
	case r.status != http.StatusOK:
		return nil
	default:
		found.Manifest = hash(r.body)
		doc, err := parseDocument(types.MediaType(r.mediaType()), r.body)
		if err == nil {
			s.places = evidenceLayers(found, doc.Layers)
			return nil
		}
		found.Err = fmt.Errorf("tag %s: %w", tag, err)
	}
	s.places = []*place{{Located: found}}
	return nil
}

// evidenceLayers picks the layers that should hold evidence.
func evidenceLayers(found Located, layers []v1.Descriptor) []*place {
	var places []*place
	for i, layer := range layers {
		mt := string(layer.MediaType)
		if mt == simpleSigningMediaType || mt == envelopeMediaType || strings.HasPrefix(mt, bundleMediaTypePrefix) {
			found.Layer = i
			places = append(places, &place{Located: found, layer: layer})
		}
	}
	return places
}

// download fetches and parses what lies at the places.
func (s *search) download(ctx context.Context) error {
	var sum int64
	var usable []*place
	for _, p := range s.places {
		if p.Err == nil {
			usable = append(usable, p)
		}
		if p.layer.Size > 0 && p.layer.Size <= MaxBundle { // others aren't downloaded
			sum += p.layer.Size
		}
	}
	if len(s.places) > MaxSignatures || sum > maxEvidence {
		return s.tooMany("%d signatures of %d bytes, limits %d and %d", len(s.places), sum, MaxSignatures, maxEvidence)
	}
	return s.each(len(usable), func(c *client, i int) error {
		evidence, err := c.readEvidence(ctx, usable[i].layer)
		if le := (*LookupError)(nil); errors.As(err, &le) {
			return err
		}
		usable[i].Evidence, usable[i].Err = evidence, err
		return nil
	})
}

func (c *client) readEvidence(ctx context.Context, layer v1.Descriptor) (*bundle.Evidence, error) {
	if layer.Size <= 0 {
		return nil, fmt.Errorf("%s: its descriptor has size %d", layer.Digest, layer.Size)
	}
	size := 0
	for name, value := range layer.Annotations {
		size += len(name) + len(value)
	}
	if size > MaxAnnotations {
		return nil, fmt.Errorf("%s: annotations of %d bytes: %w: limit %d bytes", layer.Digest, size, errTooLarge, MaxAnnotations)
	}
	r, err := c.fetch(ctx, "blobs", layer, nil, MaxBundle)
	if err != nil {
		return nil, err
	}
	switch layer.MediaType {
	case simpleSigningMediaType:
		return bundle.ParseLegacy(r.body, layer.Annotations)
	case envelopeMediaType:
		return bundle.ParseLegacyAttestation(r.body, layer.Annotations)
	}
	return bundle.Parse(r.body)
}
