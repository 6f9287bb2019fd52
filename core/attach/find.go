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
	"golang.org/x/sync/errgroup"

	"github.com/touchmark/touchmark/core/bundle"
)

// concurrency is the number of requests that one Find has open at a time: enough to hide latency, few enough not to be throttled.
const concurrency = 4

// maxReferrerManifest bounds the manifest of one referrer, in bytes. It has one layer and three annotations; 128 of them are read at most.
const maxReferrerManifest = 256 << 10

// maxEvidence bounds the sum of what Find downloads as bundles and payloads of one image, in bytes.
const maxEvidence = 32 << 20

// Find returns the evidence beside the image (or index) with this digest: nothing about the index that holds it, or the manifests that it holds.
//
// The fallback tag is read where the registry has no referrers API: it answers 404, as the distribution specification says, or 400, 405, 406, or 200 with something
// else than an index, as registries do that are older than it. Where there is one, the tag isn't read.
//
// It returns no error when there is no evidence. An error is a [*LookupError], and means that there may be more than was found; Found then holds what was gathered
// until then. More than [MaxSignatures] signatures, or [MaxReferrers] referrers of any kind, are an error that wraps [ErrTooMany].
//
// Evidence that is there but can't be used (missing, another digest or size than its descriptor says, of another subject, malformed) is in Found with its
// error: a bad signature hides no good one.
func Find(ctx context.Context, src Source, digest v1.Hash) (Found, error) {
	if err := checkSubject(src, digest); err != nil {
		return Found{}, err
	}
	c, err := open(ctx, src, transport.PullScope)
	if err != nil {
		return Found{Lookups: c.recorded()}, err
	}
	f := finder{client: c, digest: digest}
	err = f.find(ctx)
	found := Found{Lookups: c.recorded()}
	for _, p := range f.places {
		if p.Evidence != nil || p.Err != nil {
			found.Evidence = append(found.Evidence, p.Located)
		}
	}
	return found, err
}

// finder gathers in two steps: first all places where evidence should be, so that they can be counted before anything is downloaded; then what is there.
type finder struct {
	*client
	digest v1.Hash
	places []*place
}

// place is a layer that should hold evidence, or a manifest that can't be used (then Err is set).
type place struct {
	Located
	layer v1.Descriptor
}

func (f *finder) find(ctx context.Context) error {
	list, where, err := f.referrersOf(ctx, f.digest)
	if le := (*LookupError)(nil); errors.As(err, &le) {
		return err
	} else if err != nil {
		f.places = append(f.places, &place{Located: Located{Where: where, Err: err}})
	}
	if err := f.readReferrers(ctx, list, where); err != nil {
		return err
	}
	if err := f.readSigTag(ctx); err != nil {
		return err
	}
	var sum int64
	for _, p := range f.places {
		if p.layer.Size > 0 && p.layer.Size <= MaxBundle { // others aren't downloaded
			sum += p.layer.Size
		}
	}
	if len(f.places) > MaxSignatures || sum > maxEvidence {
		err := fmt.Errorf("%w: %d signatures of %d bytes, limits %d and %d", ErrTooMany, len(f.places), sum, MaxSignatures, maxEvidence)
		return &LookupError{URL: f.repo.Name() + "@" + f.digest.String(), Err: err}
	}
	return f.download(ctx)
}

// readReferrers reads the manifests that may hold evidence.
func (f *finder) readReferrers(ctx context.Context, list []referrer, where Where) error {
	var candidates []referrer
	seen := map[v1.Hash]bool{}
	for _, r := range list {
		if r.mayBeEvidence() && !seen[r.Digest] {
			seen[r.Digest] = true
			candidates = append(candidates, r)
		}
	}
	if len(candidates) > MaxSignatures {
		err := fmt.Errorf("%w: %d referrers that may be signatures, limit %d", ErrTooMany, len(candidates), MaxSignatures)
		return &LookupError{URL: f.repo.Name() + "@" + f.digest.String(), Err: err}
	}
	places := make([][]*place, len(candidates))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(concurrency)
	for i, r := range candidates {
		group.Go(func() error {
			layers, err := f.readReferrer(ctx, r)
			if le := (*LookupError)(nil); errors.As(err, &le) {
				return err
			}
			found := Located{Where: where, Manifest: r.Digest}
			if err != nil {
				found.Err = err
				places[i] = []*place{{Located: found}}
				return nil
			}
			places[i] = evidenceLayers(found, layers)
			if len(places[i]) == 0 && strings.HasPrefix(r.ArtifactType, bundleMediaTypePrefix) {
				found.Err = errors.New("is listed as a bundle, but holds none")
				places[i] = []*place{{Located: found}}
			}
			return nil
		})
	}
	err := group.Wait()
	for _, p := range places {
		f.places = append(f.places, p...)
	}
	return err
}

// readReferrer gives the layers of one referrer, which has to name our digest as its subject: the list is only the registry's word for it.
func (f *finder) readReferrer(ctx context.Context, r referrer) ([]v1.Descriptor, error) {
	desc := v1.Descriptor{Digest: r.Digest, Size: r.Size}
	resp, err := f.fetch(ctx, "manifests", desc, manifestTypes, maxReferrerManifest)
	if err != nil {
		return nil, err
	}
	doc, err := parseDocument(types.MediaType(resp.mediaType()), resp.body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.Digest, err)
	}
	if doc.Subject == nil || doc.Subject.Digest != f.digest {
		return nil, fmt.Errorf("%s: its subject is not %s", r.Digest, f.digest)
	}
	return doc.Layers, nil
}

// readSigTag reads the manifest at the tag sha256-<hex>.sig; 404 means that there is none.
func (f *finder) readSigTag(ctx context.Context) error {
	u := f.url("manifests/" + sigTag(f.digest))
	r, err := f.get(ctx, u, manifestTypes, MaxManifest, http.StatusNotFound)
	found := Located{Where: SigTag}
	switch {
	case errors.Is(err, errTooLarge):
		found.Err = fmt.Errorf("tag %s: %w", sigTag(f.digest), errTooLarge)
	case err != nil:
		return err
	case r.status != http.StatusOK:
		return nil
	default:
		found.Manifest = hash(r.body)
		doc, err := parseDocument(types.MediaType(r.mediaType()), r.body)
		if err == nil {
			f.places = append(f.places, evidenceLayers(found, doc.Layers)...)
			return nil
		}
		found.Err = fmt.Errorf("tag %s: %w", sigTag(f.digest), err)
	}
	f.places = append(f.places, &place{Located: found})
	return nil
}

// evidenceLayers picks the layers that should hold evidence.
func evidenceLayers(found Located, layers []v1.Descriptor) []*place {
	var places []*place
	for i, layer := range layers {
		if mt := string(layer.MediaType); mt == simpleSigningMediaType || strings.HasPrefix(mt, bundleMediaTypePrefix) {
			found.Layer = i
			places = append(places, &place{Located: found, layer: layer})
		}
	}
	return places
}

// download fetches and parses what lies at the places.
func (f *finder) download(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(concurrency)
	for _, p := range f.places {
		if p.Err != nil {
			continue
		}
		group.Go(func() error {
			evidence, err := f.read(ctx, p.layer)
			if le := (*LookupError)(nil); errors.As(err, &le) {
				return err
			}
			p.Evidence, p.Err = evidence, err
			return nil
		})
	}
	return group.Wait()
}

func (f *finder) read(ctx context.Context, layer v1.Descriptor) (*bundle.Evidence, error) {
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
	r, err := f.fetch(ctx, "blobs", layer, nil, MaxBundle)
	if err != nil {
		return nil, err
	}
	if layer.MediaType == simpleSigningMediaType {
		return bundle.ParseLegacy(r.body, layer.Annotations)
	}
	return bundle.Parse(r.body)
}
