package skopeo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"

	"github.com/touchmark/touchmark/core/attach"
)

// plan is everything that belongs to an image: what a copy has to bring to the other side.
type plan struct {
	*copying
	root  *attach.Manifest
	nodes []*node // the root first; what refers to another manifest after it
	known map[v1.Hash]*node
	blobs []v1.Descriptor // each digest once
	sizes map[v1.Hash]int64
	bytes int // of manifests
}

// node is one manifest or index of the plan.
type node struct {
	*attach.Manifest
	depth    int            // from the root, over any edge
	subject  *node          // what it was first found to be attached to; nil if it wasn't
	tags     []string       // the .sig, .att and .sbom tags where it was found
	referrer bool           // the source lists it among its subject's referrers
	platform string         // "linux/arm64", of an image in an index
	of       *v1.Descriptor // the entry of the index that holds it
	children []*node
}

// tagSuffixes are cosign's: what it keeps at the tag sha256-<hex><suffix> is attached to the image with that digest.
var tagSuffixes = []string{".sig", ".att", ".sbom"}

func attachedTag(digest v1.Hash, suffix string) string {
	return digest.Algorithm + "-" + digest.Hex + suffix
}

// newPlan walks from the image over everything that it holds and that is attached to any of it, level by level.
func newPlan(ctx context.Context, c *copying, root *attach.Manifest) (*plan, error) {
	p := &plan{copying: c, root: root, known: map[v1.Hash]*node{}, sizes: map[v1.Hash]int64{}}
	p.add(&node{Manifest: root})
	for begin := 0; begin < len(p.nodes); {
		level := p.nodes[begin:]
		begin = len(p.nodes)
		found := make([][]*node, len(level))
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(c.Parallel)
		for i, n := range level {
			group.Go(func() (err error) {
				found[i], err = p.around(ctx, n)
				return err
			})
		}
		if err := group.Wait(); err != nil {
			return nil, err
		}
		for i, n := range level {
			if err := p.addBlobs(n); err != nil {
				return nil, err
			}
			for _, f := range found[i] {
				if err := p.join(n, f); err != nil {
					return nil, err
				}
			}
		}
	}
	return p, nil
}

// join adds what was found around n, unless it is known.
func (p *plan) join(n, found *node) error {
	known, again := p.known[found.Digest]
	if !again {
		known = found
	}
	if found.of != nil {
		n.children = append(n.children, known)
	}
	if again {
		known.tags = append(known.tags, found.tags...)
		known.referrer = known.referrer || found.referrer
		if known.subject == nil && known.Digest != p.root.Digest {
			known.subject = found.subject
		}
		return nil
	}
	if found.depth > MaxDepth {
		return fmt.Errorf("%w: %s is more than %d steps away from the image", ErrTooMuch, found.Digest, MaxDepth)
	}
	p.add(found)
	if len(p.nodes) > MaxManifests || p.bytes > MaxManifestBytes {
		return fmt.Errorf("%w: over %d manifests or %d bytes of them", ErrTooMuch, MaxManifests, MaxManifestBytes)
	}
	return nil
}

func (p *plan) add(n *node) {
	p.nodes = append(p.nodes, n)
	p.known[n.Digest] = n
	p.bytes += len(n.Raw)
}

// around reads what the manifest holds and what is attached to it. Several run at a time; none changes the plan but by omit.
func (p *plan) around(ctx context.Context, n *node) ([]*node, error) {
	found, err := p.children(ctx, n)
	if err != nil {
		return nil, err
	}
	referrers, err := p.referrers(ctx, n)
	if err != nil {
		return nil, err
	}
	found = append(found, referrers...)
	for _, suffix := range tagSuffixes {
		tag := attachedTag(n.Digest, suffix)
		m, err := attach.Read(ctx, p.src.Source, tag)
		if isNotThere(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found = append(found, &node{Manifest: m, depth: n.depth + 1, subject: n, tags: []string{tag}})
	}
	return found, nil
}

func (p *plan) children(ctx context.Context, n *node) ([]*node, error) {
	if len(n.Manifests) > MaxManifests {
		return nil, fmt.Errorf("%w: %s lists %d manifests, limit %d", ErrTooMuch, n.Digest, len(n.Manifests), MaxManifests)
	}
	var found []*node
	for _, desc := range n.Manifests {
		if !isManifest(desc.MediaType) {
			continue // a blob, see addBlobs
		}
		m, err := p.read(ctx, desc)
		if err != nil {
			return nil, fmt.Errorf("index %s holds %s: %w", n.Digest, desc.Digest, err)
		}
		child := &node{Manifest: m, depth: n.depth + 1, of: &desc}
		if desc.Platform != nil {
			child.platform = desc.Platform.String()
		}
		found = append(found, child)
	}
	return found, nil
}

func (p *plan) referrers(ctx context.Context, n *node) ([]*node, error) {
	list, where, err := attach.ListReferrers(ctx, p.src.Source, n.Digest)
	if err != nil {
		return nil, err
	}
	var found []*node
	for _, desc := range list {
		m, err := p.read(ctx, desc)
		switch {
		case isNotThere(err): // a leftover: registries and fallback indexes go on listing what was deleted
			p.omit(desc.Digest, fmt.Sprintf("is listed as attached to %s (%s), but is not there", n.Digest, where))
		case err != nil:
			return nil, fmt.Errorf("attached to %s: %w", n.Digest, err)
		case m.Subject == nil || m.Subject.Digest != n.Digest:
			p.omit(desc.Digest, fmt.Sprintf("is listed as attached to %s (%s), but does not say so itself", n.Digest, where))
		default:
			found = append(found, &node{Manifest: m, depth: n.depth + 1, subject: n, referrer: true})
		}
	}
	return found, nil
}

// read reads the manifest that a descriptor means.
func (p *plan) read(ctx context.Context, desc v1.Descriptor) (*attach.Manifest, error) {
	if desc.Digest.Algorithm != "sha256" {
		return nil, fmt.Errorf("digest %q: only SHA-256 is supported", desc.Digest)
	}
	m, err := attach.Read(ctx, p.src.Source, desc.Digest.String())
	if err != nil {
		return nil, err
	}
	if int64(len(m.Raw)) != desc.Size {
		return nil, fmt.Errorf("%s has %d bytes, its descriptor says %d", desc.Digest, len(m.Raw), desc.Size)
	}
	return m, nil
}

// addBlobs adds the blobs of one manifest.
func (p *plan) addBlobs(n *node) error {
	var blobs []v1.Descriptor
	if n.Config != nil {
		blobs = append(blobs, *n.Config)
	}
	blobs = append(blobs, n.Layers...)
	for _, desc := range n.Manifests {
		if !isManifest(desc.MediaType) {
			blobs = append(blobs, desc)
		}
	}
	for _, desc := range blobs {
		size, again := p.sizes[desc.Digest]
		switch {
		case desc.Digest.Algorithm != "sha256":
			return fmt.Errorf("%s: blob %q: only SHA-256 is supported", n.Digest, desc.Digest)
		case desc.Size < 0:
			return fmt.Errorf("%s: blob %s: size %d", n.Digest, desc.Digest, desc.Size)
		case again && size != desc.Size:
			return fmt.Errorf("%s: blob %s: size %d, but another manifest says %d", n.Digest, desc.Digest, desc.Size, size)
		case again:
			continue
		}
		p.sizes[desc.Digest] = desc.Size
		if !desc.MediaType.IsDistributable() && !p.Nondistributable {
			p.omit(desc.Digest, fmt.Sprintf("is a layer of %s that is not to be distributed (%s)", n.Digest, desc.MediaType))
			continue
		}
		if p.blobs = append(p.blobs, desc); len(p.blobs) > MaxBlobs {
			return fmt.Errorf("%w: over %d blobs", ErrTooMuch, MaxBlobs)
		}
	}
	return nil
}

// omit notes what is not copied.
func (p *plan) omit(digest v1.Hash, why string) {
	p.result.mu.Lock()
	defer p.result.mu.Unlock()
	omission := Omission{Digest: digest.String(), Why: why}
	if !slices.Contains(p.result.Omitted, omission) {
		p.result.Omitted = append(p.result.Omitted, omission)
	}
}

// isManifest says whether an index's entry is a manifest or index. It may list blobs too, as BuildKit's caches do.
func isManifest(mediaType types.MediaType) bool { return mediaType.IsIndex() || mediaType.IsImage() }

// isNotThere is true for a registry's clear answer that something does not exist, and for nothing else.
func isNotThere(err error) bool {
	le := (*attach.LookupError)(nil)
	return errors.As(err, &le) && le.Status == http.StatusNotFound
}
