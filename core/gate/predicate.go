package gate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/verify"
)

// errPredicate says that a predicate gave no answer, which is not the same as
// no.
var errPredicate = errors.New("evaluating the predicate")

// authorityMatches is what satisfied which authority of a policy, by name: the
// document on which the policy's own predicate is evaluated. Its form is
// policy-controller's PolicyResult.
type authorityMatches map[string]*authorityMatch

type authorityMatch struct {
	Signatures   []matchedSignature              `json:"signatures,omitempty"`
	Attestations map[string][]matchedAttestation `json:"attestations,omitempty"`
	Static       bool                            `json:"static,omitempty"`
}

type matchedSignature struct {
	ID      string `json:"id,omitempty"` // digest of the manifest that holds it
	Subject string `json:"subject,omitempty"`
	Issuer  string `json:"issuer,omitempty"`

	// As GitHub's certificates say it in the extensions that took the place of
	// those that had these names.
	WorkflowTrigger string `json:"githubWorkflowTrigger,omitempty"`
	WorkflowSHA     string `json:"githubWorkflowSha,omitempty"`
	WorkflowRepo    string `json:"githubWorkflowRepo,omitempty"`
	WorkflowRef     string `json:"githubWorkflowRef,omitempty"`
}

// githubIssuer is the issuer of GitHub Actions' tokens.
const githubIssuer = "https://token.actions.githubusercontent.com"

type matchedAttestation struct {
	matchedSignature
	PredicateType string `json:"predicateType,omitempty"`
	Digest        string `json:"digest,omitempty"`
}

// match is the record of an authority's matches.
func (s *search) match(p *policy.Policy, a *policy.Authority) *authorityMatch {
	if s.matches[p] == nil {
		s.matches[p] = make(authorityMatches)
	}
	if s.matches[p][a.Name] == nil {
		s.matches[p][a.Name] = &authorityMatch{}
	}
	return s.matches[p][a.Name]
}

func (m *authorityMatch) add(located attach.Located, result *verify.Result, wanted *policy.Attestation) {
	sig := matchedSignature{ID: located.Manifest.String()}
	if id := result.Signer.Identity; id != nil {
		sig.Subject, sig.Issuer = id.SAN.Value, id.Issuer
		if ext := id.Extensions; id.Issuer == githubIssuer {
			sig.WorkflowTrigger, sig.WorkflowSHA, sig.WorkflowRef = ext.BuildTrigger, ext.SourceRepositoryDigest, ext.SourceRepositoryRef
			sig.WorkflowRepo = strings.TrimPrefix(ext.SourceRepositoryURI, "https://github.com/")
		}
	}
	if wanted == nil {
		m.Signatures = append(m.Signatures, sig)
		return
	}
	if m.Attestations == nil {
		m.Attestations = make(map[string][]matchedAttestation)
	}
	m.Attestations[wanted.Name] = append(m.Attestations[wanted.Name], matchedAttestation{sig, wanted.PredicateType, located.Manifest.String()})
}

// evaluatePolicies settles the policies with a predicate of their own: at least
// one authority must be satisfied, and the predicate by what was found.
func (s *search) evaluatePolicies(ctx context.Context) error {
	var problem error
	for _, p := range slices.Clone(s.open) {
		if p.Predicate == nil {
			continue
		}
		var first *policy.Authority
		matched := make(authorityMatches)
		for _, a := range p.Authorities {
			m := s.matches[p][a.Name]
			if m == nil || slices.Contains(s.found[a], false) {
				continue
			}
			matched[a.Name] = m
			if first == nil {
				first = a
			}
		}
		if first == nil {
			continue
		}
		err := s.evaluate(ctx, p.Predicate, matched)
		switch {
		case err == nil:
			s.settle(p, first)
		case errors.Is(err, policy.ErrUnsatisfied):
			s.result(p).Lacking = plain(err.Error())
		case isLookup(err):
			problem = err
		default:
			s.result(p).Lacking = plain(err.Error())
			problem = fmt.Errorf("%w of policy %s: %w", errPredicate, p.Name, err)
		}
	}
	return problem
}

// evaluate evaluates a policy's own predicate on what satisfied its
// authorities.
func (s *search) evaluate(ctx context.Context, p *policy.Predicate, matched authorityMatches) error {
	document := map[string]any{"authorityMatches": matched}
	if p.WantsConfig {
		configs, err := s.configs(ctx)
		if err != nil {
			return err
		}
		document["config"] = configs
	}
	text, err := json.Marshal(document)
	if err != nil {
		return err
	}
	return p.Evaluate(ctx, text)
}

func isLookup(err error) bool {
	var lookup *attach.LookupError
	return errors.As(err, &lookup)
}
