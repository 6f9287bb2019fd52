package gate

import (
	"context"
	"fmt"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/policy"
)

// maxChildren bounds the platforms of an index that are looked at one by one;
// the largest official images have about twenty.
const maxChildren = 64

// subject is a manifest or index beside which evidence may lie.
type subject struct {
	digest v1.Hash
	parent bool // an index that must list the image
}

// group are subjects of which any one may carry the evidence.
type group []subject

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
		// An image that is in no index is its own.
		if len(parents) > 0 {
			return []group{parents}, nil
		}
		return []group{own}, nil
	case policy.PlatformOnly, policy.IndexAndPlatform:
		platforms, err := j.platforms(ctx)
		switch {
		case err != nil:
			return nil, err
		case len(platforms) == 0 && len(parents) > 0 && rule == policy.IndexAndPlatform:
			return []group{own, parents}, nil
		case len(platforms) == 0:
			return []group{own}, nil
		case rule == policy.IndexAndPlatform:
			return append([]group{own}, platforms...), nil
		}
		return platforms, nil
	default:
		// Evidence beside the image itself first; what is still missing may lie
		// beside an index that lists it.
		return []group{append(own, parents...)}, nil
	}
}

// platforms are the images that an index lists, each a group of its own; none
// if the image is no index.
func (j *judgement) platforms(ctx context.Context) ([]group, error) {
	children, err := j.children(ctx, j.req.Digest)
	if err != nil {
		return nil, err
	}
	var groups []group
	for _, child := range children {
		// No runtime picks what BuildKit puts among the platforms: its attestations.
		// Their annotation alone would not keep one from being picked.
		if p := child.Platform; p != nil && p.OS == "unknown" && p.Architecture == "unknown" {
			continue
		}
		groups = append(groups, group{{digest: child.Digest}})
	}
	if len(groups) > maxChildren {
		return nil, fmt.Errorf("%w: the index lists %d platforms, the limit is %d", attach.ErrTooMany, len(groups), maxChildren)
	}
	return groups, nil
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
