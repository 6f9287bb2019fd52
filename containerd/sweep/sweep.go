// Package sweep judges again what already lies in containerd: images that were
// imported or pulled past the image verifiers, before there was a policy, or under
// an older policy or trust root.
//
//	c := sweep.Config{Containerd: n, Decide: decide}
//	report, err := sweep.Run(ctx, c)
//	c.Label(ctx, report)
//	c.Remove(ctx, report)
//
// It asks containerd for the images of each namespace and the gate about each of
// them: the digest that a name leads to, which is an index's or a manifest's, under the
// name's repository. Names of one repository with the same digest are one image,
// whether they have a tag or a digest; so are the names that CRI gives to it besides,
// which are the digest of its configuration alone ("sha256:...").
//
// What was imported under the name of a repository that does not have it is undecided,
// since its registry cannot tell what is attached to it. What has no name with a
// registry is local: no policy can be about it, and the NRI plugin refuses it.
package sweep

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/containerd/node"
	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/sweep"
)

// maxImages bounds the images that are judged; the kubelet starts to delete long
// before.
const maxImages = 20_000

// Containerd is what a sweep needs of one; a [node.Node] is one.
type Containerd interface {
	Namespaces(ctx context.Context) ([]string, error)
	Images(ctx context.Context, namespace string) ([]node.Image, error)
	Containers(ctx context.Context, namespace string) ([]node.Container, error)
	Label(ctx context.Context, namespace string, image node.Image, labels map[string]string) error
	Remove(ctx context.Context, namespace string, image node.Image) error
}

// Config says what is judged, and by whom. Containerd and Decide are required.
type Config struct {
	Containerd Containerd
	// Decide judges an image. The request's Source has its repository as containerd
	// writes it, and no more.
	Decide     func(context.Context, gate.Request) gate.Verdict
	Namespaces []string // empty for all
	// InUse has Remove remove images that containers are made from, too. Those that
	// run go on; others do not start again.
	InUse bool
	Now   func() time.Time // nil is the clock
}

// Image is one image of one namespace, under its names of one repository.
type Image struct {
	Namespace  string       `json:"namespace"`
	Names      []string     `json:"names"`         // of this repository
	IDs        []string     `json:"ids,omitempty"` // CRI's names for it, which other repositories' images may share
	Repository string       `json:"repository,omitempty"`
	Digest     string       `json:"digest"` // of the index or manifest
	Outcome    gate.Outcome `json:"outcome"`
	Code       gate.Code    `json:"code,omitempty"`
	Reason     string       `json:"reason"`
	InUse      bool         `json:"inUse"`            // by a container, which need not run
	Pinned     bool         `json:"pinned,omitempty"` // by CRI: the pause image
	// Labelled says that the verdict was written to the names.
	Labelled bool `json:"labelled,omitempty"`
	// Removed are the names that were removed.
	Removed []string `json:"removed,omitempty"`
	// Kept says why a refused image was not removed, or not labelled, though told.
	Kept string `json:"kept,omitempty"`

	mediaType string
}

// Report is what a sweep found, ordered by namespace and name.
type Report struct {
	Namespaces []string `json:"namespaces"`
	Images     []Image  `json:"images"`
}

// Count is the number of images with an outcome.
func (r *Report) Count(outcome gate.Outcome) int {
	n := 0
	for _, i := range r.Images {
		if i.Outcome == outcome {
			n++
		}
	}
	return n
}

// Kept is the number of images of which something could not be done.
func (r *Report) Kept() int {
	n := 0
	for _, i := range r.Images {
		if i.Kept != "" {
			n++
		}
	}
	return n
}

// Run judges every image. An error means that containerd could not be asked, or that
// a namespace does not exist; a registry that can't be is an undecided image.
func Run(ctx context.Context, c Config) (*Report, error) {
	existing, err := c.Containerd.Namespaces(ctx)
	if err != nil {
		return nil, err
	}
	report := &Report{Namespaces: slices.Sorted(slices.Values(existing))}
	if len(c.Namespaces) > 0 {
		report.Namespaces = slices.Compact(slices.Sorted(slices.Values(c.Namespaces)))
	}
	var images []Image
	for _, ns := range report.Namespaces {
		if !slices.Contains(existing, ns) {
			return nil, fmt.Errorf("containerd has no namespace %q; it has %q", ns, existing)
		}
		records, err := c.Containerd.Images(ctx, ns)
		if err != nil {
			return nil, err
		}
		containers, err := c.Containerd.Containers(ctx, ns)
		if err != nil {
			return nil, err
		}
		images = append(images, group(ns, records, containers)...)
		if len(images) > maxImages {
			return nil, fmt.Errorf("sweeping namespace %s: there are more than %d images", ns, maxImages)
		}
	}
	report.Images = sweep.Each(ctx, images, c.judge)
	slices.SortFunc(report.Images, func(a, b Image) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Label(), b.Label()), cmp.Compare(a.Digest, b.Digest))
	})
	return report, nil
}

// Label is how an image is listed.
func (i Image) Label() string {
	for _, names := range [][]string{i.Names, i.IDs} {
		if len(names) > 0 {
			return names[0]
		}
	}
	return i.Digest
}

// judge asks about one image.
func (c Config) judge(ctx context.Context, i Image) Image {
	if i.Repository == "" {
		i.Outcome, i.Reason = sweep.OutcomeLocal, "it has no name with a registry, so that no policy is about it"
		return i
	}
	req, err := i.request()
	v := gate.Verdict{}
	if err != nil {
		v = gate.Undecided(req, gate.CodeBadRequest, err)
	} else {
		v = c.Decide(ctx, req)
	}
	i.Outcome, i.Code, i.Reason = v.Outcome, v.Code, v.Reason
	return i
}

func (i Image) request() (req gate.Request, err error) {
	repo, err := name.NewRepository(i.Repository)
	if err != nil {
		return req, fmt.Errorf("repository %q: %w", i.Repository, err)
	}
	digest, err := v1.NewHash(i.Digest)
	if err != nil {
		return req, fmt.Errorf("digest %q: %w", i.Digest, err)
	}
	req = gate.Request{
		Repository: attach.LogicalName(repo), Digest: digest, MediaType: i.mediaType, Source: attach.Source{Repository: repo},
		// What a tag leads to is not one of an index; what is known by its digest alone may be.
		ParentsKnown: slices.ContainsFunc(i.Names, func(n string) bool {
			parsed, err := node.ParseName(n)
			return err == nil && parsed.Digest == ""
		}),
	}
	if _, err := attach.NormalizeRepository(i.Repository); err != nil {
		return req, err
	}
	return req, nil
}
