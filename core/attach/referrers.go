package attach

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// maxList bounds a whole list of referrers, in bytes: as many as MaxReferrers with four times the annotations of a bundle have two megabytes.
const maxList = 2 * MaxManifest

// referrer is what we need of a descriptor in a list of referrers.
type referrer struct {
	MediaType    types.MediaType `json:"mediaType"`
	Digest       v1.Hash         `json:"digest"`
	Size         int64           `json:"size"`
	ArtifactType string          `json:"artifactType"`

	annotated bool // as only bundles are
}

// referrersOf lists what refers to the digest, and says where the list is from.
//
// The referrers API is absent when it answers 404 (distribution-spec: "If the referrers API returns a 404, the client MUST fall back to pulling the
// referrers tag schema"), and also when it answers 400, 405 or 406, or 200 with something else than an index: registries that predate it do (Artifactory says 406,
// others serve a web page). None of these is how a registry says that it is down or that we may not see something; 401, 403, 429 and every 5xx are errors.
func (c *client) referrersOf(ctx context.Context, digest v1.Hash) ([]referrer, Where, error) {
	list, supported, err := c.listByAPI(ctx, digest)
	if err != nil || supported {
		return list, Referrers, err
	}
	list, err = c.listByTag(ctx, digest)
	return list, ReferrersTag, err
}

func (c *client) listByAPI(ctx context.Context, digest v1.Hash) (list []referrer, supported bool, err error) {
	first := c.url("referrers/" + digest.String())
	next := first
	size := 0
	for page := 1; ; page++ {
		known := []int{http.StatusNotFound, http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotAcceptable}
		if page > 1 {
			known = nil // having begun to answer, it has the API
		}
		r, err := c.get(ctx, next, []string{string(types.OCIImageIndex)}, MaxManifest, known...)
		if page == 1 && (err == nil || errors.Is(err, errTooLarge)) && (r.status != http.StatusOK || r.mediaType() != string(types.OCIImageIndex)) {
			return nil, false, nil
		}
		if err != nil {
			return list, true, err
		}
		entries, err := parseReferrers(r)
		if err != nil {
			return list, true, &LookupError{URL: next, Status: r.status, Err: err}
		}
		list = append(list, entries...)
		size += len(r.body)
		if len(list) > MaxReferrers || size > maxList {
			return nil, true, &LookupError{URL: first, Status: r.status, Err: fmt.Errorf("%w: over %d referrers, or %d bytes of them", ErrTooMany, MaxReferrers, maxList)}
		}
		next, err = nextPage(next, r.header)
		if err != nil {
			return nil, true, &LookupError{URL: first, Status: r.status, Err: err}
		}
		if next == "" {
			return list, true, nil
		}
		if page == MaxReferrerPages {
			return nil, true, &LookupError{URL: first, Status: r.status, Err: fmt.Errorf("%w: over %d pages of referrers", ErrTooMany, MaxReferrerPages)}
		}
	}
}

// listByTag reads the index at the fallback tag. 404 is an empty list. An error that isn't a *LookupError is about its content: whoever may push
// can put anything there.
func (c *client) listByTag(ctx context.Context, digest v1.Hash) ([]referrer, error) {
	u := c.url("manifests/" + fallbackTag(digest))
	r, err := c.byTag(ctx, fallbackTag(digest), []string{string(types.OCIImageIndex)})
	switch {
	case errors.Is(err, errTooLarge):
		return nil, fmt.Errorf("tag %s: %w", fallbackTag(digest), errTooLarge)
	case err != nil:
		return nil, err
	case r.status != http.StatusOK:
		return nil, nil
	}
	list, err := parseReferrers(r)
	if err != nil {
		return nil, fmt.Errorf("tag %s: %w", fallbackTag(digest), err)
	}
	if len(list) > MaxReferrers {
		return nil, &LookupError{URL: u, Status: r.status, Err: fmt.Errorf("%w: over %d referrers", ErrTooMany, MaxReferrers)}
	}
	return list, nil
}

// parseReferrers reads a page of referrers, or the index at the fallback tag. Registries that are written in Go say "manifests":null for none; an answer
// without the name, null for one, lists nothing at all, and must not read as "there is no signature".
func parseReferrers(r *response) ([]referrer, error) {
	if r.mediaType() != string(types.OCIImageIndex) {
		return nil, fmt.Errorf("has media type %q, want an OCI index", r.mediaType())
	}
	var index struct {
		Manifests jsontext.Value `json:"manifests"`
	}
	if err := decode(r.body, &index); err != nil {
		return nil, err
	}
	if index.Manifests == nil {
		return nil, errors.New("is no index: it has no manifests, not even none")
	}
	var manifests []struct {
		referrer
		Annotations map[string]string `json:"annotations"`
	}
	if err := decode(index.Manifests, &manifests); err != nil {
		return nil, err
	}
	var list []referrer
	for _, m := range manifests {
		for name := range m.Annotations {
			m.annotated = m.annotated || strings.HasPrefix(name, bundleAnnotationPrefix)
		}
		list = append(list, m.referrer)
	}
	return list, nil
}

// nextPage reads the Link header (RFC 8288) of a page: "" if there is no next one. It has to stay with the same list on the same host.
func nextPage(current string, header http.Header) (string, error) {
	for _, value := range header.Values("Link") {
		target, params, ok := strings.Cut(value, ";")
		target = strings.TrimSpace(target)
		if !ok || !strings.HasPrefix(target, "<") || !strings.HasSuffix(target, ">") || !strings.Contains(strings.ReplaceAll(params, `"`, ""), "rel=next") {
			continue
		}
		base, err := url.Parse(current)
		if err != nil {
			return "", err
		}
		ref, err := url.Parse(target[1 : len(target)-1])
		if err != nil {
			return "", fmt.Errorf("next page: %w", withoutURL(err))
		}
		next := base.ResolveReference(ref)
		if next.Host != base.Host || next.User != nil || next.Path != base.Path {
			return "", fmt.Errorf("next page is not a page of this list: %q", next.Redacted())
		}
		next.Scheme = base.Scheme // behind a proxy that ends TLS, registries name the wrong one
		return next.String(), nil
	}
	return "", nil
}

// fallbackTag is the referrers tag schema of the distribution specification, for digests that checkDigest admits.
func fallbackTag(digest v1.Hash) string { return digest.Algorithm + "-" + digest.Hex }

// sigTag is where cosign 2 and containers/image keep signatures.
func (c *client) sigTag(digest v1.Hash) string { return c.tagPrefix + fallbackTag(digest) + ".sig" }

// attTag is where cosign 2 keeps attestations.
func (c *client) attTag(digest v1.Hash) string { return c.tagPrefix + fallbackTag(digest) + ".att" }
