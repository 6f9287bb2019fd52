package sweep

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"time"

	"github.com/touchmark/touchmark/containerd/node"
	"github.com/touchmark/touchmark/core/gate"
)

// The labels that [Config.Label] writes to each name of an image.
const (
	VerdictLabel = "touchmark.dev/verdict" // admitted, refused, undecided or local
	JudgedLabel  = "touchmark.dev/judged"  // when, as RFC 3339 has it
)

// Label writes the verdict of each image to its names, CRI's among them.
// The labels are for people and their tools; nothing believes them.
func (c Config) Label(ctx context.Context, r *Report) {
	now := c.Now
	if now == nil {
		now = time.Now
	}
	at := now().UTC().Format(time.RFC3339)
	for k := range r.Images {
		i := &r.Images[k]
		labels := map[string]string{VerdictLabel: string(i.Outcome), JudgedLabel: at}
		var failed error
		for _, n := range i.Names {
			if err := c.Containerd.Label(ctx, i.Namespace, i.record(n), labels); err != nil && !errors.Is(err, fs.ErrNotExist) {
				failed = err // what is gone needs none
			}
		}
		if r.shared(*i, i.Outcome) {
			for _, id := range i.IDs {
				if err := c.Containerd.Label(ctx, i.Namespace, i.record(id), labels); err != nil && !errors.Is(err, fs.ErrNotExist) {
					failed = err
				}
			}
		}
		if i.Labelled = failed == nil; !i.Labelled {
			i.Kept = "not labelled: " + failed.Error()
		}
	}
}

// Remove removes refused images, with CRI's names for them unless another repository
// has the image, too, and is not refused. What is undecided stays: an outage must not
// take images away. So does what containers are made from, unless Config.InUse, and
// what CRI has pinned. A name that leads elsewhere by now stays, too.
func (c Config) Remove(ctx context.Context, r *Report) {
	for k := range r.Images {
		i := &r.Images[k]
		switch {
		case i.Outcome != gate.OutcomeRefused:
			continue
		case i.Pinned:
			i.Kept = "not removed, since it is pinned by CRI: name another pause image in containerd's configuration"
			continue
		case i.InUse && !c.InUse:
			i.Kept = "not removed, since a container is made from it"
			continue
		}
		names := slices.Clone(i.Names)
		if r.shared(*i, gate.OutcomeRefused) {
			names = append(names, i.IDs...)
		}
		for _, n := range names {
			err := c.Containerd.Remove(ctx, i.Namespace, i.record(n))
			switch {
			case err == nil:
				i.Removed = append(i.Removed, n)
			case !errors.Is(err, fs.ErrNotExist): // of two entries, each removes the common ID
				i.Kept = "not removed: " + err.Error()
			}
		}
	}
}

// record is what containerd knows an image by under one name.
func (i Image) record(n string) node.Image {
	return node.Image{Name: n, Digest: i.Digest, MediaType: i.mediaType}
}

// shared reports whether every image of the report with the same IDs has an outcome.
func (r *Report) shared(i Image, outcome gate.Outcome) bool {
	return !slices.ContainsFunc(r.Images, func(o Image) bool {
		return o.Namespace == i.Namespace && o.Digest == i.Digest && o.Outcome != outcome
	})
}
