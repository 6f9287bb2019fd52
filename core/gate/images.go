package gate

import (
	"context"
	"errors"
	"fmt"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/policy"
)

// maxChildren bounds the platforms of an index that are looked at one by one;
// the largest official images have about twenty.
const maxChildren = 64

// maxNested bounds the indexes in an index that are read; hardly anybody makes
// one.
const maxNested = 8

// subject is a manifest or index beside which evidence may lie.
type subject struct {
	digest v1.Hash
	parent bool // an index that must list the image
}

// group are subjects of which any one may carry the evidence.
type group []subject

// has reports whether a manifest is one of the group.
func (g group) has(digest string) bool {
	return slices.ContainsFunc(g, func(s subject) bool { return s.digest.String() == digest })
}

// groups says where evidence must lie, by the site's index rule: every group
// must satisfy every policy.
func (j *judgement) groups(ctx context.Context) ([]group, error) {
	own := group{{digest: j.req.Digest}}
	var parents group
	for _, p := range j.req.Parents {
		parents = append(parents, subject{digest: p, parent: true})
	}
	switch rule := j.policies.Enforcement.Index; rule {
	case policy.IndexOnly:
		if len(parents) > 0 {
			return []group{parents}, nil
		}
		if !j.req.ParentsKnown {
			if _, err := j.ownPlatforms(ctx); err != nil {
				return nil, err
			}
		}
		return []group{own}, nil
	case policy.PlatformOnly:
		platforms, err := j.platforms(ctx)
		if err != nil || len(platforms) > 0 {
			return platforms, err
		}
		return []group{own}, nil
	case policy.IndexAndPlatform:
		if len(parents) > 0 {
			return []group{own, parents}, nil
		}
		platforms, err := j.ownPlatforms(ctx)
		return append([]group{own}, platforms...), err
	default:
		// Evidence beside the image itself first; what is still missing may lie
		// beside an index that lists it.
		return []group{append(own, parents...)}, nil
	}
}

// errParentUnknown ends a decision that would have to be about an index.
var errParentUnknown = errors.New("the index that lists it must be signed, and it is not known which one does; pull it by its tag, or through an enforcement point that sees the index")

// ownPlatforms are the platforms of an image that is not known to be in any
// index: an index's, or none if it is a single image. It is an error if it only
// might be a single image.
func (j *judgement) ownPlatforms(ctx context.Context) ([]group, error) {
	platforms, err := j.platforms(ctx)
	if err == nil && len(platforms) == 0 && !j.req.ParentsKnown {
		err = errParentUnknown
	}
	return platforms, err
}

// platforms are the images that an index lists, each a group of its own; none
// if the image is no index.
func (j *judgement) platforms(ctx context.Context) ([]group, error) {
	listed, err := j.listedBy(ctx, j.req.Digest)
	if err != nil {
		return nil, err
	}
	var groups []group
	for _, child := range listed {
		// No runtime picks what BuildKit puts among the platforms: its attestations.
		// Their annotation alone would not keep one from being picked.
		if p := child.Platform; p != nil && p.OS == "unknown" && p.Architecture == "unknown" {
			continue
		}
		if !child.MediaType.IsIndex() { // evidence beside one is about no platform
			groups = append(groups, group{{digest: child.Digest}})
		}
	}
	if len(groups) > maxChildren {
		return nil, fmt.Errorf("%w: the index lists %d platforms, the limit is %d", attach.ErrTooMany, len(groups), maxChildren)
	}
	return groups, nil
}

// listedBy are the descriptors that an index lists, and those that the indexes
// among them list: runtimes follow these.
func (j *judgement) listedBy(ctx context.Context, index v1.Hash) ([]v1.Descriptor, error) {
	listed, err := j.children(ctx, index)
	nested := 0
	for i := 0; i < len(listed) && err == nil; i++ { // it grows
		if !listed[i].MediaType.IsIndex() {
			continue
		}
		if nested++; nested > maxNested {
			return nil, fmt.Errorf("%w: more than %d indexes are nested in %s", attach.ErrTooMany, maxNested, index)
		}
		var more []v1.Descriptor
		more, err = j.children(ctx, listed[i].Digest)
		listed = append(listed, more...)
	}
	return listed, err
}

// lists reports whether an index lists the image.
func (j *judgement) lists(ctx context.Context, index v1.Hash) (bool, error) {
	children, err := j.children(ctx, index)
	return slices.ContainsFunc(children, func(d v1.Descriptor) bool { return d.Digest == j.req.Digest }), err
}

// children are the descriptors that an index lists; none if it is a manifest.
func (j *judgement) children(ctx context.Context, index v1.Hash) ([]v1.Descriptor, error) {
	children, lookups, err := attach.Children(ctx, j.source, index)
	j.verdict.Lookups = append(j.verdict.Lookups, lookups...)
	j.verdict.ManifestRequests++
	return children, err
}
