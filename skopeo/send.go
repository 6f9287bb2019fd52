package skopeo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sync/errgroup"

	"github.com/touchmark/touchmark/core/attach"
)

// stallTimeout bounds how long a destination registry may take no byte of a blob and not answer. After the last byte of a large one it has to hash it, maybe to
// move it.
const stallTimeout = 5 * time.Minute

// send brings everything to the destination but the image's tag.
func (c *copying) send(ctx context.Context) error {
	if err := c.sendBlobs(ctx); err != nil {
		return err
	}
	if err := c.sendManifests(ctx); err != nil {
		return err
	}
	// What is nearest to the image comes last: a signature's own signature is found as soon as the signature is.
	for _, n := range slices.Backward(c.plan.nodes) {
		if n.referrer {
			if err := attach.EnsureListed(ctx, c.dst.Source, n.Manifest); err != nil {
				return err
			}
		}
		for _, tag := range n.tags {
			if err := c.sendTag(ctx, n.Manifest, tag); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *copying) sendBlobs(ctx context.Context) error {
	progress := Progress{Blobs: len(c.plan.blobs)}
	for _, desc := range c.plan.blobs {
		progress.Bytes += desc.Size
	}
	c.progress(func(p *Progress) { *p = progress })
	// The largest first, so that none of them is left over when everything else is done.
	largestFirst := slices.SortedStableFunc(slices.Values(c.plan.blobs), func(a, b v1.Descriptor) int { return cmp.Compare(b.Size, a.Size) })
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(c.Parallel)
	for _, desc := range largestFirst {
		group.Go(func() error { return c.sendBlob(ctx, desc) })
	}
	return group.Wait()
}

func (c *copying) sendBlob(ctx context.Context, desc v1.Descriptor) error {
	there, err := attach.HasBlob(ctx, c.dst.Source, desc.Digest)
	if err != nil {
		return err
	}
	blob := &carried{ctx: ctx, copying: c, desc: desc}
	if !there {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		blob.ctx = ctx
		if c.dst.layout == nil {
			blob.stall = time.AfterFunc(stallTimeout, func() {
				cancel(fmt.Errorf("%s took nothing for %s", c.dst.place, stallTimeout))
			})
			defer blob.stall.Stop()
		}
		var layer v1.Layer = blob
		if c.dst.sharesRegistry(c.src) {
			layer = &remote.MountableLayer{Layer: blob, Reference: c.src.Repository.Digest(desc.Digest.String())}
		}
		err := remote.WriteLayer(c.dst.Repository, layer,
			remote.WithTransport(c.dst.Transport), remote.WithContext(ctx), remote.WithNondistributable)
		if err != nil {
			return fmt.Errorf("blob %s: %w", desc.Digest, cmp.Or(stalled(ctx), blob.failure(), cause(err, c.dst)))
		}
	}
	if !blob.opened.Load() {
		c.result.mu.Lock()
		c.result.BytesSkipped += desc.Size
		c.result.mu.Unlock()
		c.progress(func(p *Progress) { p.BytesDone += desc.Size })
	}
	c.progress(func(p *Progress) { p.BlobsDone++ })
	return nil
}

// stalled is why an upload was given up by us, nil if it wasn't.
func stalled(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// cause drops the URL that net/http names for a layout, which means nothing to anyone.
func cause(err error, dst *side) error {
	if ue := (*url.Error)(nil); dst.layout != nil && errors.As(err, &ue) {
		return ue.Err
	}
	return err
}

// sendManifests writes the manifests that the destination doesn't have: first those that name no other one, then those that name only these, and so on.
func (c *copying) sendManifests(ctx context.Context) error {
	for rest := c.plan.nodes; len(rest) > 0; {
		waiting := map[v1.Hash]bool{}
		for _, n := range rest {
			waiting[n.Digest] = true
		}
		var later []*node
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(c.Parallel)
		for _, n := range rest {
			if n.names(waiting) {
				later = append(later, n)
				continue
			}
			group.Go(func() error { return c.sendManifest(ctx, n.Manifest) })
		}
		if err := group.Wait(); err != nil {
			return err
		}
		rest = later
	}
	return nil
}

// names says whether the manifest refers to one of these. Digests can't refer to each other in a circle, so some manifest never does.
func (n *node) names(these map[v1.Hash]bool) bool {
	return n.Subject != nil && these[n.Subject.Digest] ||
		slices.ContainsFunc(n.Manifests, func(d v1.Descriptor) bool { return these[d.Digest] })
}

func (c *copying) sendManifest(ctx context.Context, m *attach.Manifest) error {
	there, err := attach.Has(ctx, c.dst.Source, m.Digest)
	if err != nil {
		return err
	}
	size := int64(len(m.Raw))
	c.result.mu.Lock()
	if there {
		c.result.BytesSkipped += size
	} else {
		c.result.BytesSent += size
	}
	c.result.mu.Unlock()
	if there {
		return nil
	}
	return attach.WriteManifest(ctx, c.dst.Source, m, "")
}

// sendTag points a .sig, .att or .sbom tag to its manifest. What the destination keeps there and the copy lacks would be lost: that is an error, unless it can
// be kept by adding ours to it, as simple signing signatures can.
func (c *copying) sendTag(ctx context.Context, m *attach.Manifest, tag string) error {
	old, err := attach.Read(ctx, c.dst.Source, tag)
	switch {
	case isNotThere(err):
		return attach.WriteManifest(ctx, c.dst.Source, m, tag)
	case err != nil:
		return err
	case old.Digest == m.Digest || len(missing(m, old)) == 0:
		return nil // what is there has it all
	case len(missing(old, m)) == 0:
		return attach.WriteManifest(ctx, c.dst.Source, m, tag)
	}
	subject, isSignature := strings.CutSuffix(tag, ".sig")
	if !isSignature {
		return fmt.Errorf("the destination's tag %s holds %d things that the source's does not have, and they would be lost: move or delete the tag there", tag, len(missing(old, m)))
	}
	for _, layer := range missing(m, old) {
		if err := c.addSignature(ctx, v1.Hash{Algorithm: "sha256", Hex: strings.TrimPrefix(subject, "sha256-")}, layer); err != nil {
			return fmt.Errorf("adding to tag %s: %w", tag, err)
		}
	}
	return nil
}

// addSignature adds one simple signing signature to those at the destination.
func (c *copying) addSignature(ctx context.Context, subject v1.Hash, layer v1.Descriptor) error {
	if layer.Size > attach.MaxBundle {
		return fmt.Errorf("%s: payload of %d bytes, limit %d", layer.Digest, layer.Size, attach.MaxBundle)
	}
	blob, err := attach.OpenBlob(ctx, c.src.Source, layer)
	if err != nil {
		return err
	}
	defer blob.Close()
	payload, err := io.ReadAll(blob)
	if err != nil {
		return err
	}
	_, err = attach.WriteLegacy(ctx, c.dst.Source, subject, payload, layer.Annotations)
	return err
}

// missing gives the layers of a that b does not have, with the same signature.
func missing(a, b *attach.Manifest) []v1.Descriptor {
	const signature = "dev.cosignproject.cosign/signature"
	var layers []v1.Descriptor
	for _, l := range a.Layers {
		if !slices.ContainsFunc(b.Layers, func(o v1.Descriptor) bool {
			return o.Digest == l.Digest && o.Annotations[signature] == l.Annotations[signature]
		}) {
			layers = append(layers, l)
		}
	}
	return layers
}

func (c *copying) progress(change func(*Progress)) {
	c.progressMu.Lock()
	defer c.progressMu.Unlock()
	change(&c.done)
	if c.Progress != nil {
		c.Progress(c.done)
	}
}
