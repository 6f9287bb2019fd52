package gate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/verify"
)

// search looks for evidence beside the manifests of one group, for policies
// that each must be satisfied by what lies there.
type search struct {
	*judgement
	open []*policy.Policy // not yet satisfied, in the order of the file
	// found says which attestations of an authority were found.
	found map[*policy.Authority][]bool
	// matches is what satisfied the authorities of policies with a predicate of
	// their own.
	matches map[*policy.Policy]authorityMatches
}

func newSearch(j *judgement, open []*policy.Policy) *search {
	s := &search{
		judgement: j, open: slices.Clone(open),
		found: make(map[*policy.Authority][]bool), matches: make(map[*policy.Policy]authorityMatches),
	}
	for _, p := range open {
		for _, a := range p.Authorities {
			s.found[a] = make([]bool, len(a.Attestations))
			if p.Predicate != nil && a.Static != nil && a.Static.Pass {
				s.match(p, a).Static = true
			}
		}
	}
	return s
}

// run looks beside one manifest of the group after another while a policy is
// open. What was found before an error is tried too: more evidence can't make
// less acceptable.
func (s *search) run(ctx context.Context, g group) error {
	var problem error
	for _, subject := range g {
		if len(s.open) == 0 {
			break
		}
		if err := s.lookBeside(ctx, subject); problem == nil {
			problem = err
		}
	}
	if err := s.evaluatePolicies(ctx); problem == nil {
		problem = err
	}
	return problem
}

// lookBeside finds the evidence beside one manifest and tries it. Of a parent
// it first makes sure that it lists the image: nothing is taken on the caller's
// word.
func (s *search) lookBeside(ctx context.Context, subject subject) error {
	if subject.parent {
		if listed, err := s.lists(ctx, subject.digest); err != nil || !listed {
			return err
		}
	}
	var problem error
	for _, place := range s.places() {
		if err := s.lookAt(ctx, place, subject.digest); problem == nil {
			problem = err
		}
	}
	return problem
}

// place is where authorities want their evidence to lie. The zero value is the
// image's own repository.
type place struct {
	source    policy.Source
	lookaside string // of OpenPGP signatures
}

func placesOf(a *policy.Authority) []place {
	switch {
	case a.Static != nil:
		return nil
	case a.OpenPGP != nil:
		return []place{{lookaside: a.OpenPGP.Lookaside}}
	case len(a.Sources) == 0:
		return []place{{}}
	}
	var places []place
	for _, source := range a.Sources {
		places = append(places, place{source: source})
	}
	return places
}

// places are those of the open policies, each once.
func (s *search) places() []place {
	var all []place
	for _, p := range s.open {
		for _, a := range p.Authorities {
			for _, pl := range placesOf(a) {
				if !slices.Contains(all, pl) {
					all = append(all, pl)
				}
			}
		}
	}
	return all
}

// wantAttestations reports whether an open authority that looks at this place
// wants attestations.
func (s *search) wantAttestations(pl place) bool {
	return slices.ContainsFunc(s.open, func(p *policy.Policy) bool {
		return slices.ContainsFunc(p.Authorities, func(a *policy.Authority) bool {
			return len(a.Attestations) > 0 && slices.Contains(placesOf(a), pl)
		})
	})
}

// errSlowEvidence ends a decision that would cost too much.
var errSlowEvidence = fmt.Errorf("verifying its signatures takes longer than %s", maxVerifying)

func (s *search) lookAt(ctx context.Context, pl place, digest v1.Hash) error {
	found, err := s.find(ctx, pl, digest)
	s.verdict.Lookups = append(s.verdict.Lookups, found.Lookups...)
	s.verdict.ManifestRequests += found.ManifestRequests
	for _, o := range found.Other {
		s.verdict.Others = append(s.verdict.Others, Other{
			Subject: digest.String(), Manifest: o.Manifest.String(), ArtifactType: plain(o.ArtifactType), Name: o.Name,
		})
	}
	turns := s.turns.of(s.req.Source)
	select {
	case turns <- struct{}{}:
		defer func() { <-turns }()
	case <-ctx.Done():
		return cmp.Or(err, context.Cause(ctx))
	}
	for _, located := range found.Evidence {
		if s.spent > maxVerifying {
			return errSlowEvidence
		}
		if tryErr := s.try(ctx, pl, located, digest); err == nil {
			err = tryErr
		}
	}
	return err
}

func (s *search) find(ctx context.Context, pl place, digest v1.Hash) (attach.Found, error) {
	source := s.source
	if pl.lookaside != "" {
		return attach.FindLookaside(ctx, source.Elsewhere, pl.lookaside, s.req.Repository, digest)
	}
	if pl.source.Repository != "" {
		repo, err := name.NewRepository(pl.source.Repository)
		if err != nil {
			return attach.Found{}, fmt.Errorf("source %q: %w", pl.source.Repository, err)
		}
		source = attach.Source{Repository: repo, Transport: source.Elsewhere, Elsewhere: source.Elsewhere, Keychain: source.Keychain, UserAgent: source.UserAgent}
	}
	source.TagPrefix = pl.source.TagPrefix
	if s.wantAttestations(pl) {
		return attach.FindWithAttestations(ctx, source, digest)
	}
	return attach.Find(ctx, source, digest)
}

// try verifies one piece of evidence for every policy that is still open.
func (s *search) try(ctx context.Context, pl place, located attach.Located, digest v1.Hash) error {
	res := SignatureResult{
		Subject: digest.String(), Where: located.Where, Manifest: located.Manifest.String(), Layer: located.Layer,
	}
	defer func() { s.verdict.Signatures = append(s.verdict.Signatures, res) }()
	if located.Err != nil {
		res.Unreadable = plain(located.Err.Error())
		return nil
	}
	res.Format = string(located.Evidence.Form)
	var problem error
	for _, p := range slices.Clone(s.open) {
		for _, a := range p.Authorities {
			if !slices.Contains(placesOf(a), pl) {
				continue
			}
			if s.spent > maxVerifying {
				return errSlowEvidence
			}
			attempts, err := s.tryAuthority(ctx, located, digest, p, a)
			res.Attempts = append(res.Attempts, attempts...)
			if problem == nil {
				problem = err
			}
			if !slices.Contains(s.open, p) {
				break
			}
		}
	}
	return problem
}

// tryAuthority verifies one piece of evidence for one authority: as a signature
// of the image or, where the authority wants attestations, as each of those
// that was not found yet.
func (s *search) tryAuthority(ctx context.Context, located attach.Located, digest v1.Hash, p *policy.Policy, a *policy.Authority) ([]Attempt, error) {
	e := s.expected[a]
	if err := e.ended(s.now); err != nil {
		return nil, err
	}
	for _, root := range []*trust.Root{e.root, e.logRoot, e.stampRoot} {
		if root != nil {
			s.until = earlier(s.until, root.Until)
		}
	}
	wanted := a.Attestations
	if len(wanted) == 0 {
		attempt, result := s.attempt(located, digest, p, a, nil)
		switch {
		case attempt.Accepted:
			s.accept(p, a, located, result, nil)
		case attempt.Code == verify.CodePredicate && len(s.judgement.attested) < maxAttested:
			s.judgement.attested = append(s.judgement.attested, attested{located, digest, verify.ClaimedPredicateType(located.Evidence)})
		}
		return []Attempt{attempt}, nil
	}
	var attempts []Attempt
	var problem error
	for i := range wanted {
		if s.found[a][i] && p.Predicate == nil {
			continue
		}
		attempt, result := s.attempt(located, digest, p, a, &wanted[i])
		if attempt.Accepted && wanted[i].Predicate != nil {
			err := wanted[i].Predicate.Evaluate(ctx, result.Statement)
			if err != nil {
				attempt.Accepted, attempt.Code, attempt.Reason = false, AttemptPredicate, plain(err.Error())
				if !errors.Is(err, policy.ErrUnsatisfied) {
					problem = fmt.Errorf("%w of attestation %s in policy %s: %w", errPredicate, wanted[i].Name, p.Name, err)
				}
			}
		}
		attempts = append(attempts, attempt)
		if attempt.Accepted {
			s.found[a][i] = true
			s.accept(p, a, located, result, &wanted[i])
		}
	}
	return attempts, problem
}
