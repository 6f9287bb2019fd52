package attach

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// tagsPage is how many tags are asked for at a time; registries give fewer if they like.
const tagsPage = 1000

// maxTagPages bounds the pages of one list: registries give fifty tags or more on each.
const maxTagPages = 250

// tagPattern is the <reference> of the distribution specification 1.1, where it is a tag.
var tagPattern = regexp.MustCompile(`\A[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}\z`)

// Tags lists the repository's tags in the registry's order, each once, and at most limit of them. If there are more, or too many pages, those that were seen are returned
// with a [*LookupError] that wraps [ErrTooMany]. A repository that isn't there has no tags: that is a *LookupError with status 404.
//
// Pages are followed by their Link header, as the specification says, and where there is none by the last tag of a full page: some registries leave the header out.
func Tags(ctx context.Context, src Source, limit int) ([]string, error) {
	c, err := open(ctx, src, transport.PullScope)
	if err != nil {
		return nil, err
	}
	first := c.url("tags/list") + fmt.Sprintf("?n=%d", tagsPage)
	var tags []string
	seen := map[string]bool{}
	for page, next := 1, first; ; page++ {
		r, err := c.get(ctx, next, []string{"application/json"}, MaxManifest)
		if err != nil {
			return tags, err
		}
		var list struct {
			Tags []string `json:"tags"`
		}
		if err := decode(r.body, &list); err != nil {
			return tags, &LookupError{URL: next, Status: r.status, Err: err}
		}
		before := len(tags)
		for _, tag := range list.Tags {
			if !tagPattern.MatchString(tag) {
				return tags, &LookupError{URL: next, Status: r.status, Err: fmt.Errorf("%.140q is no tag", tag)}
			}
			if seen[tag] {
				continue
			}
			if len(tags) == limit {
				return tags, &LookupError{URL: first, Status: r.status, Err: fmt.Errorf("%w: over %d tags", ErrTooMany, limit)}
			}
			seen[tag] = true
			tags = append(tags, tag)
		}
		following, err := nextPage(next, r.header)
		switch {
		case err != nil:
			return tags, &LookupError{URL: next, Status: r.status, Err: err}
		case following == "" && len(list.Tags) >= tagsPage && len(tags) > before: // some registries know no pages, and give everything each time
			following = first + "&last=" + url.QueryEscape(list.Tags[len(list.Tags)-1])
		}
		if following == "" {
			return tags, nil
		}
		if len(tags) == before && page > 1 { // it would go on for ever
			return tags, &LookupError{URL: next, Status: r.status, Err: errors.New("a page of tags says nothing new")}
		}
		if page == maxTagPages {
			return tags, &LookupError{URL: first, Status: r.status, Err: fmt.Errorf("%w: over %d pages of tags", ErrTooMany, maxTagPages)}
		}
		next = following
	}
}

// Claim is what a registry says lies at a tag or digest. None of it is computed from content: it may save reading what is known, and decides nothing.
type Claim struct {
	Digest    v1.Hash         // zero if the registry does not say it
	MediaType types.MediaType // without parameters; may be empty
}

// Peek asks what lies at a tag or digest, with a HEAD request, which registries don't count as they count those for manifests. What isn't there, such as a tag that was
// deleted after it was listed, is a [*LookupError] with status 404.
func Peek(ctx context.Context, src Source, identifier string) (Claim, error) {
	c, err := open(ctx, src, transport.PullScope)
	if err != nil {
		return Claim{}, err
	}
	u := c.url("manifests/" + identifier)
	if d, err := v1.NewHash(identifier); !tagPattern.MatchString(identifier) && (err != nil || checkDigest(d) != nil) {
		return Claim{}, &LookupError{URL: u, Err: fmt.Errorf("%.140q is neither tag nor digest", identifier)}
	}
	r, err := c.do(ctx, http.MethodHead, u, http.Header{"Accept": {strings.Join(imageTypes, ", ")}}, nil, 0)
	if err != nil {
		return Claim{}, err
	}
	claim := Claim{MediaType: types.MediaType(r.mediaType())}
	if d, err := v1.NewHash(r.header.Get("Docker-Content-Digest")); err == nil && checkDigest(d) == nil {
		claim.Digest = d
	}
	return claim, nil
}
