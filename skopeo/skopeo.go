// Package skopeo copies an image with everything that is attached to it, verified.
//
// [Copy] takes an image or index from a registry, an OCI layout or an OCI archive to another of these, with its signatures (.sig tags and bundles), attestations
// (.att), SBOMs (.sbom) and all other referrers, and whatever is attached to those in turn: a signed SBOM arrives with its signature. Manifests and blobs are
// carried byte for byte, so every digest stays what it was, and every signature good.
//
// What stock skopeo does: "skopeo copy" carries an image (one platform, or with --all an index), and of the signatures only simple signing ones in .sig tags, where
// registries.d says use-sigstore-attachments. It carries no Sigstore bundles, .att or .sbom tags, and no referrers; to oci: and oci-archive: it
// carries no signature at all, and wants --remove-signatures for a signed image. This package is for what it leaves behind.
//
// A copy goes in this order, so that nobody ever sees a half image under its tag, whenever it ends:
//
//  1. the gate decides about the image at the source, under the same policies as everywhere;
//  2. everything that is attached is found, before anything is sent: what can't be asked for is an error, never "nothing there";
//  3. blobs, several at a time; what the destination has is not sent again, and what another repository of its registry has is mounted;
//  4. manifests, each after those it refers to;
//  5. fallback indexes (where the destination has no referrers API) and the .sig, .att and .sbom tags, which keep what the destination had there;
//  6. the gate decides again, from what lies at the destination;
//  7. the image's tag.
//
// A copy that was interrupted is continued by the same call: steps 3 and 4 find what is there.
//
// A layout is read and written as a registry would be, behind [net/http.RoundTripper], so that verification and every rule about lists of referrers are the
// same code for both. What it holds besides the OCI image layout specification: .sig, .att and .sbom tags and fallback indexes (sha256-<hex>) are
// entries of index.json with the tag as org.opencontainers.image.ref.name, as regclient writes them; referrers that are merely listed in index.json, as oras writes
// them, are found too. An archive is the tar of a layout.
package skopeo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/gate"
)

// Limits of one copy. Whoever may push to the source decides what lies beside the image.
const (
	// MaxManifests bounds the manifests and indexes: an index of 20 platforms with a dozen attachments each has 260.
	MaxManifests = 2000
	// MaxManifestBytes bounds their sum; all of them are held in memory until they are written.
	MaxManifestBytes = 64 << 20
	// MaxBlobs bounds the blobs; an image has at most 127 layers in practice.
	MaxBlobs = 20_000
	// MaxDepth bounds how far from the image anything may be: an index's platform's SBOM's signature's timestamp is 4 away.
	MaxDepth = 8
	// DefaultParallel and MaxParallel are the requests and blobs under way at a time: enough to hide latency, few enough not to be throttled.
	DefaultParallel = 4
	MaxParallel     = 16
)

// ErrTooMuch is wrapped by the error of a copy of which more would have to be looked at than the limits allow. Nothing was sent then.
var ErrTooMuch = errors.New("more is attached than is copied")

// Options say how to copy.
type Options struct {
	// Admitter decides about the image at the source, and again at the destination. It is required, unless InsecureSkipVerify is set.
	Admitter gate.Admitter
	// InsecureSkipVerify copies whatever is there.
	InsecureSkipVerify bool
	// Repository is the image's logical name, of which policies speak. Empty is the source's own, and if that isn't a registry, the destination's; between
	// two layouts there is none, which is an error.
	Repository string
	// Platform copies one platform out of an index, instead of the index. The copy has another digest than the index, whose signatures and attestations don't
	// cover it and stay behind: the gate decides about the platform's manifest alone.
	Platform *v1.Platform
	// Parallel is the number of requests under way at a time; 0 is DefaultParallel.
	Parallel int
	// Nondistributable copies layers that are marked as not to be distributed (Windows base layers), if the source registry has them. Their URLs are never followed.
	Nondistributable bool
	// Progress, if not nil, is called with each change, from several goroutines.
	Progress func(Progress)
}

// Progress is how far a copy is.
type Progress struct {
	Blobs, BlobsDone int
	Bytes, BytesDone int64 // of blobs; what need not be sent counts as done
}

// VerdictError says that the gate did not admit the image, so that it wasn't copied, or not given its tag.
type VerdictError struct {
	Place   Place // where its evidence was looked for
	Verdict gate.Verdict
}

// Error is the verdict's sentence, and where it was made.
func (e *VerdictError) Error() string { return fmt.Sprintf("%s: %s", e.Place, e.Verdict.Reason) }

// Copy copies the image at src, with everything attached to it, to dst. An error that wraps a [*VerdictError] is the gate's answer, one that wraps [*attach.LookupError]
// a registry's (or layout's), one that wraps [*UsageError] says what can't be asked for. With an error, the result says what was done until then.
func Copy(ctx context.Context, src, dst Place, o Options) (*Result, error) {
	if o.Parallel == 0 {
		o.Parallel = DefaultParallel
	}
	c := &copying{Options: o, result: &Result{Source: src.String(), Destination: dst.String()}}
	if err := c.check(src, dst); err != nil {
		return c.result, err
	}
	err := c.run(ctx, src, dst)
	for _, s := range []*side{c.src, c.dst} {
		if s != nil {
			err = errors.Join(err, s.close())
		}
	}
	return c.result, err
}

// copying is one copy while it is under way.
type copying struct {
	Options
	src, dst *side
	plan     *plan
	result   *Result

	progressMu sync.Mutex
	done       Progress // guarded by progressMu
}

// check refuses what can't work before anything is asked.
func (c *copying) check(src, dst Place) error {
	switch {
	case c.Parallel < 1 || c.Parallel > MaxParallel:
		return usage("parallel: %d is not between 1 and %d", c.Parallel, MaxParallel)
	case c.Admitter == nil && !c.InsecureSkipVerify:
		return usage("nothing says who must have signed the image")
	case src.Kind != Registry && src.Kind == dst.Kind && src.Path == dst.Path:
		return usage("%s is both source and destination", src)
	}
	if c.Repository != "" || c.InsecureSkipVerify {
		return nil
	}
	for _, place := range []Place{src, dst} {
		if place.Kind == Registry {
			c.Repository = attach.LogicalName(place.Source.Repository)
			return nil
		}
	}
	return usage("neither %s nor %s has the name of a repository, which policies need", src, dst)
}

func (c *copying) run(ctx context.Context, src, dst Place) error {
	var err error
	if c.src, err = openSource(ctx, src); err != nil {
		return err
	}
	root, err := c.src.resolve(ctx)
	if err != nil {
		return fmt.Errorf("resolving %s: %w", src, err)
	}
	if c.Platform != nil {
		if root, err = c.pickPlatform(ctx, root); err != nil {
			return fmt.Errorf("%s: %w", src, err)
		}
	}
	c.result.Digest, c.result.MediaType = root.Digest.String(), string(root.MediaType)
	if dst.Digest != (v1.Hash{}) && dst.Digest != root.Digest {
		return usage("%s wants another digest than the image has: %s", dst, root.Digest)
	}
	if c.result.Verdict, err = c.judge(ctx, c.src, root); err != nil {
		return err
	}
	if c.dst, err = openDestination(ctx, dst, c.src); err != nil {
		return err
	}
	if c.plan, err = newPlan(ctx, c, root); err != nil {
		return fmt.Errorf("finding what is attached to %s (%s): %w", src, root.Digest, err)
	}
	c.plan.describe(c.result)
	if err := c.send(ctx); err != nil {
		return fmt.Errorf("copying to %s: %w", dst, err)
	}
	if c.result.DestinationVerdict, err = c.judge(ctx, c.dst, root); err != nil {
		return fmt.Errorf("everything is there, but the image does not verify there and was not given its tag: %w", err)
	}
	c.result.Tag, err = c.dst.publish(ctx, root, c.src.place.Name)
	if err != nil {
		return fmt.Errorf("publishing %s: %w", dst, err)
	}
	return nil
}

// judge asks the gate about the image from what lies at one side.
func (c *copying) judge(ctx context.Context, at *side, m *attach.Manifest) (*gate.Verdict, error) {
	if c.InsecureSkipVerify {
		return nil, nil
	}
	v := c.Admitter.Admit(ctx, gate.Request{
		Repository: c.Repository, Digest: m.Digest, MediaType: string(m.MediaType), ParentsKnown: true, Source: at.Source, // it is what the user named
	})
	if !v.Admitted() {
		return &v, &VerdictError{Place: at.place, Verdict: v}
	}
	return &v, nil
}

// pickPlatform reads the manifest of the wanted platform in an index.
func (c *copying) pickPlatform(ctx context.Context, index *attach.Manifest) (*attach.Manifest, error) {
	if !index.MediaType.IsIndex() {
		return nil, usage("it is one image, not an index of platforms")
	}
	var has []string
	for _, desc := range index.Manifests {
		if desc.Platform == nil {
			continue
		}
		if desc.Platform.Satisfies(*c.Platform) {
			return attach.Read(ctx, c.src.Source, desc.Digest.String())
		}
		has = append(has, desc.Platform.String())
	}
	slices.Sort(has)
	return nil, usage("it has no platform %s, but %v", c.Platform, slices.Compact(has))
}
