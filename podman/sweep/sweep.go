// Package sweep judges again what already lies in podman's storage: policies
// change, signers are revoked, and an image that was pulled before there was a
// policy runs without being asked about. podman verifies when it pulls, and never
// afterwards.
//
// It asks podman what there is ("podman image ls --format json --digests"), and
// the gate about each image under each repository by whose name it is known.
// Storage records which digests an image was pulled by: the manifest's own, and
// the index's where its name led to one. The question is about the manifest, with
// the others as indexes that may list it; the gate makes sure that they do. What
// was built here, or has no name, is local: no registry could say anything
// about it.
//
// An image that was only given a name ("podman tag") of a repository where it
// never was is undecided under that name: its registry does not have it.
package sweep

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/sweep"
)

// maxDigests bounds the digests of an image in one repository that are asked
// about, besides its own: the gate reads as many indexes for one question.
const maxDigests = 8

// Config says whose storage is judged, and by whom.
type Config struct {
	Storage  Storage
	Admitter gate.Admitter
	// Source says where evidence for a repository, by its logical name, is looked
	// for.
	Source func(repository string) (attach.Source, error)
}

// Image is one image under the names that it has in one repository.
type Image struct {
	ID         string       `json:"id"`    // podman's
	Names      []string     `json:"names"` // with tags; empty if it is known by its digest alone
	Repository string       `json:"repository,omitempty"`
	Digest     string       `json:"digest,omitempty"` // of its manifest
	Outcome    gate.Outcome `json:"outcome"`
	Code       gate.Code    `json:"code,omitempty"`
	Reason     string       `json:"reason"`
	// Untagged are the names that were removed.
	Untagged []string `json:"untagged,omitempty"`
	// UntagError says why not all were.
	UntagError string `json:"untagError,omitempty"`
}

// Report is what a sweep found, ordered by name.
type Report struct {
	Images []Image `json:"images"`
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

// Run judges everything in the storage. An error means that podman could not be
// asked; a registry that can't be is an undecided image.
func Run(ctx context.Context, c Config) (*Report, error) {
	stored, err := c.Storage.List(ctx)
	if err != nil {
		return nil, err
	}
	var questions []question
	for _, s := range stored {
		questions = append(questions, split(s)...)
	}
	report := &Report{Images: sweep.Each(ctx, questions, c.judge)}
	slices.SortFunc(report.Images, func(a, b Image) int {
		return cmp.Or(cmp.Compare(a.label(), b.label()), cmp.Compare(a.ID, b.ID))
	})
	return report, nil
}

// label is how the image is listed.
func (i Image) label() string {
	if len(i.Names) > 0 {
		return i.Names[0]
	}
	return cmp.Or(i.Repository, "<none>")
}

// question is one image in one repository.
type question struct {
	id         string
	repository string // as podman writes it; "" for an image without a name
	names      []string
	digest     string   // of the manifest
	others     []string // digests by which it is known in this repository
}

// split takes an image's repositories apart.
func split(s Stored) []question {
	var all []question
	at := func(repository string) *question {
		for i := range all {
			if all[i].repository == repository {
				return &all[i]
			}
		}
		all = append(all, question{id: s.ID, repository: repository, digest: s.Digest})
		return &all[len(all)-1]
	}
	for _, n := range s.Names {
		repository, digested := strings.CutSuffix(n, "@"+s.Digest)
		if !digested {
			repository = withoutTag(n)
		}
		q := at(repository)
		if !digested {
			q.names = append(q.names, n)
		}
	}
	for _, d := range s.RepoDigests {
		if repository, digest, ok := strings.Cut(d, "@"); ok {
			if q := at(repository); digest != s.Digest && !slices.Contains(q.others, digest) {
				q.others = append(q.others, digest)
			}
		}
	}
	if len(all) == 0 {
		all = []question{{id: s.ID, digest: s.Digest}}
	}
	return all
}

// withoutTag takes the tag or digest off a name as podman writes it, which
// always has a registry's host in front.
func withoutTag(n string) string {
	n, _, _ = strings.Cut(n, "@")
	if i := strings.LastIndexByte(n, ':'); i > strings.LastIndexByte(n, '/') {
		return n[:i]
	}
	return n
}

// localHost is the registry's name that podman gives to what it built.
const localHost = "localhost/"

// judge asks about one image.
func (c Config) judge(ctx context.Context, q question) Image {
	i := Image{ID: q.id, Names: slices.Sorted(slices.Values(q.names)), Repository: q.repository, Digest: q.digest, Outcome: sweep.OutcomeLocal}
	switch {
	case q.repository == "":
		i.Reason = "it has no name"
		return i
	case strings.HasPrefix(q.repository, localHost):
		i.Reason = "it was built or loaded here, and comes from no registry"
		return i
	}
	v := c.ask(ctx, q)
	i.Outcome, i.Code, i.Reason = v.Outcome, v.Code, v.Reason
	return i
}

// ask asks about the manifest first, then about each other digest by which the
// image is known: the same image may have been pushed with differently packed
// layers. What one of them admits is admitted, unless it was revoked before; what
// is undecided for one is undecided.
func (c Config) ask(ctx context.Context, q question) gate.Verdict {
	req, others, err := c.request(q)
	if err != nil {
		return gate.Undecided(req, gate.CodeBadRequest, err)
	}
	v := c.Admitter.Admit(ctx, req)
	req.Parents = nil
	for _, other := range others {
		if v.Admitted() || v.Code == gate.CodeRevoked {
			break
		}
		req.Digest = other
		next := c.Admitter.Admit(ctx, req)
		if next.Admitted() || next.Code == gate.CodeRevoked || v.Outcome == gate.OutcomeRefused && next.Outcome == gate.OutcomeUndecided {
			v = next
		}
	}
	return v
}

func (c Config) request(q question) (req gate.Request, others []v1.Hash, err error) {
	repo, err := name.NewRepository(q.repository)
	if err != nil {
		return req, nil, fmt.Errorf("repository %q: %w", q.repository, err)
	}
	req.Repository = attach.LogicalName(repo)
	if req.Digest, err = v1.NewHash(q.digest); err != nil {
		return req, nil, fmt.Errorf("digest %q: %w", q.digest, err)
	}
	for _, text := range q.others {
		d, err := v1.NewHash(text)
		if err != nil {
			return req, nil, fmt.Errorf("digest %q: %w", text, err)
		}
		if len(others) < maxDigests {
			others = append(others, d)
		}
	}
	req.Parents = others
	req.Source, err = c.Source(req.Repository)
	return req, others, err
}

// Untag removes the names of refused images from the storage. What is undecided
// keeps its names: an outage must not take images away. Containers that run go
// on. An image without names stays until "podman image prune" or rmi; until then
// it can be run by its ID, and by a digest that it was pulled by.
func (c Config) Untag(ctx context.Context, r *Report) {
	for k := range r.Images {
		i := &r.Images[k]
		if i.Outcome != gate.OutcomeRefused || len(i.Names) == 0 {
			continue
		}
		if err := c.Storage.Untag(ctx, i.ID, i.Names); err != nil {
			i.UntagError = err.Error()
			continue
		}
		i.Untagged = i.Names
	}
}
