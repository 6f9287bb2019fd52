package attach

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Resolve asks once for what a tag or digest names and describes the bytes of the answer: digest and size are computed from them, whatever the registry's headers say, and a
// reference by digest has to have that digest. It is looked for in src.Repository, not in the reference's own. An image that isn't there is a [*LookupError] with status 404.
func Resolve(ctx context.Context, src Source, ref name.Reference) (v1.Descriptor, []Lookup, error) {
	if d, ok := ref.(name.Digest); ok {
		if err := checkSubject(src, hashOf(d)); err != nil {
			return v1.Descriptor{}, nil, err
		}
	}
	c, err := open(ctx, src, transport.PullScope)
	if err != nil {
		return v1.Descriptor{}, c.recorded(), err
	}
	desc, _, err := c.resolve(ctx, ref.Identifier())
	return desc, c.recorded(), err
}

// Children returns the descriptors in the index with this digest: none if it is a manifest, not an index. The bytes have to have the digest.
func Children(ctx context.Context, src Source, digest v1.Hash) ([]v1.Descriptor, []Lookup, error) {
	if err := checkSubject(src, digest); err != nil {
		return nil, nil, err
	}
	c, err := open(ctx, src, transport.PullScope)
	if err != nil {
		return nil, c.recorded(), err
	}
	_, doc, err := c.resolve(ctx, digest.String())
	if err != nil {
		return nil, c.recorded(), err
	}
	return doc.Manifests, c.recorded(), nil
}

// hashOf splits the digest of a reference without judging it.
func hashOf(d name.Digest) v1.Hash {
	algorithm, hex, _ := strings.Cut(d.DigestStr(), ":")
	return v1.Hash{Algorithm: algorithm, Hex: hex}
}

// checkSubject refuses a malformed digest or prefix of tags before anything is asked.
func checkSubject(src Source, digest v1.Hash) error {
	if err := checkDigest(digest); err != nil {
		return &LookupError{URL: src.Repository.Name(), Err: err}
	}
	if len(src.TagPrefix) > maxTagPrefix || !tagPrefix.MatchString(src.TagPrefix) {
		return &LookupError{URL: src.Repository.Name(), Err: fmt.Errorf("tag prefix %q can't begin a tag", src.TagPrefix)}
	}
	return nil
}

// maxTagPrefix leaves room for sha256-<hex>.att within a tag's 128 bytes.
const maxTagPrefix = 53

// tagPrefix begins a tag of the distribution specification 1.1, which has at most 128 characters, 75 of them ours.
var tagPrefix = regexp.MustCompile(`\A([a-zA-Z0-9_][a-zA-Z0-9._-]*)?\z`)

// resolve reads the manifest or index at a tag, or at a digest.
func (c *client) resolve(ctx context.Context, identifier string) (v1.Descriptor, *document, error) {
	r, err := c.readManifest(ctx, identifier)
	if err != nil {
		return v1.Descriptor{}, nil, err
	}
	desc := v1.Descriptor{MediaType: types.MediaType(r.mediaType()), Size: int64(len(r.body)), Digest: hash(r.body)}
	doc, err := parseDocument(desc.MediaType, r.body)
	if err != nil {
		return v1.Descriptor{}, nil, &LookupError{URL: r.url, Status: r.status, Err: err}
	}
	return desc, doc, nil
}

// readManifest reads what lies at a tag, or at a digest, which the bytes have to have. Only digests have a colon.
func (c *client) readManifest(ctx context.Context, identifier string) (*response, error) {
	u := c.url("manifests/" + identifier)
	r, err := c.get(ctx, u, imageTypes, MaxManifest, http.StatusNotFound)
	if err != nil {
		return nil, err
	}
	if r.status != http.StatusOK {
		return nil, &LookupError{URL: u, Status: r.status, Err: errors.New("the registry does not have it")}
	}
	if got := hash(r.body).String(); strings.Contains(identifier, ":") && identifier != got {
		return nil, &LookupError{URL: u, Status: r.status, Err: fmt.Errorf("%w: content has digest %s", errMismatch, got)}
	}
	return r, nil
}
