package attach

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/touchmark/touchmark/core/bundle"
)

// Lookaside is a web server beside the registry, where containers/image keeps OpenPGP signatures.
const Lookaside Where = "lookaside"

// maxLookaside bounds the signatures read from a lookaside for one image, and maxLookasideSize each of them, in bytes: as containers/image has it.
const (
	maxLookaside     = 128
	maxLookasideSize = 4 << 20
)

// FindLookaside returns the signatures that a lookaside (containers-registries.d(5)) holds for an image: <lookaside>/<repository path>@sha256=<hex>/signature-<n>,
// from 1 until the first that is not there. The repository is the logical name. Nothing is authenticated to a lookaside. Errors are as [Find]'s.
func FindLookaside(ctx context.Context, base http.RoundTripper, lookaside, repository string, digest v1.Hash) (Found, error) {
	if err := checkDigest(digest); err != nil {
		return Found{}, &LookupError{URL: lookaside, Err: err}
	}
	_, path, ok := strings.Cut(repository, "/")
	root, err := url.Parse(lookaside)
	if err != nil || !ok || root.Scheme != "https" && root.Scheme != "http" {
		return Found{}, &LookupError{URL: lookaside, Err: errors.New("not an http or https URL of a lookaside")}
	}
	if base == nil {
		base = remote.DefaultTransport
	}
	c := &client{http: &http.Client{Transport: &retrier{base}, CheckRedirect: func(next *http.Request, via []*http.Request) error {
		if len(via) > maxRedirects || next.URL.Scheme != root.Scheme {
			return fmt.Errorf("redirected too often, or from %s to %s", root.Scheme, next.URL.Scheme)
		}
		return nil
	}}}
	var found Found
	for n := 1; n <= maxLookaside; n++ {
		u := root.JoinPath(fmt.Sprintf("%s@%s=%s/signature-%d", path, digest.Algorithm, digest.Hex, n)).String()
		r, err := c.get(ctx, u, nil, maxLookasideSize, http.StatusNotFound)
		located := Located{Where: Lookaside, Layer: n - 1}
		switch {
		case errors.Is(err, errTooLarge):
			located.Err = err
		case err != nil:
			found.Lookups = c.recorded()
			return found, err
		case r.status != http.StatusOK:
			found.Lookups = c.recorded()
			return found, nil
		default:
			located.Manifest = hash(r.body)
			located.Evidence = &bundle.Evidence{Form: bundle.FormOpenPGP, MediaType: "application/pgp-signature", Payload: &bundle.Payload{Text: r.body}}
		}
		found.Evidence = append(found.Evidence, located)
	}
	found.Lookups = c.recorded()
	return found, &LookupError{URL: lookaside, Err: fmt.Errorf("%w: over %d signatures", ErrTooMany, maxLookaside)}
}
