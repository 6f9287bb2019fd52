package gate

import (
	"context"
	"crypto"
	"fmt"
	"slices"
	"time"

	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/verify"
)

// decideByDigest applies what the site says of this very digest, which needs no
// request at all, or of an index that is known to list it. A revocation comes
// first: nothing overrides it.
func (j *judgement) decideByDigest(ctx context.Context) bool {
	site := j.policies.Enforcement
	digests := []string{j.req.Digest.String()}
	for _, parent := range j.req.Parents {
		if !j.siteKnows(parent.String()) {
			continue
		}
		// Nothing is taken on the caller's word.
		listed, err := j.lists(ctx, parent)
		if err != nil {
			j.undecided(problemCode(ctx, err), err)
			return true
		}
		if listed {
			digests = append(digests, parent.String())
		}
	}
	for _, digest := range digests {
		r := site.RevocationOf(digest)
		if r == nil {
			continue
		}
		j.decideRevoked(r)
		return true
	}
	for _, digest := range digests {
		if e := site.ExceptionFor(j.req.Repository, digest, j.now); e != nil {
			j.until = e.Expires
			j.verdict.Grant = &Grant{Reason: e.Reason, By: e.By, Expires: e.Expires.UTC()}
			j.admit(CodeException, fmt.Sprintf("allowed by an exception of %s until %s", e.By, e.Expires.UTC().Format(time.RFC3339))+because(e.Reason))
			return true
		}
		if p := site.PinFor(j.req.Repository, digest); p != nil {
			j.verdict.Grant = &Grant{Reason: p.Reason, By: p.By, Review: p.Review.UTC()}
			j.admit(CodePinned, "this digest is pinned"+because(p.Reason))
			return true
		}
	}
	return false
}

func (j *judgement) decideRevoked(r *policy.Revocation) {
	reason := fmt.Sprintf("%s was revoked", r.Digest) + because(r.Reason)
	if j.policies.Enforcement.Mode == policy.Observe {
		j.admit(CodeObserved, "admitted, because the site only observes; enforcing would have refused: "+reason)
	} else {
		j.refuse(CodeRevoked, reason)
	}
}

// decideByPlatforms refuses an index that lists a revoked image: some clients ask
// about the index alone, and then run the image. It costs a request, and is
// not asked where the site grants without any. What the caller says of the
// media type does not save it: it may be the registry's word.
func (j *judgement) decideByPlatforms(ctx context.Context) bool {
	site := j.policies.Enforcement
	if !slices.ContainsFunc(site.Revocations, func(r policy.Revocation) bool { return r.Digest != "" }) {
		return false
	}
	listed, err := j.listedBy(ctx, j.req.Digest)
	if err != nil {
		j.undecided(problemCode(ctx, err), err)
		return true
	}
	for _, child := range listed {
		if r := site.RevocationOf(child.Digest.String()); r != nil {
			j.decideRevoked(r)
			return true
		}
	}
	return false
}

// siteKnows reports whether the site says anything of a digest.
func (j *judgement) siteKnows(digest string) bool {
	site := j.policies.Enforcement
	return site.RevocationOf(digest) != nil || site.ExceptionFor(j.req.Repository, digest, j.now) != nil || site.PinFor(j.req.Repository, digest) != nil
}

// because adds a reason to a sentence, if there is one.
func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + plain(reason)
}

// decideUnmatched applies the rule for images that no policy is about.
func (j *judgement) decideUnmatched() {
	site := j.policies.Enforcement
	reason := fmt.Sprintf("no policy is about %s", j.req.Repository)
	switch {
	case site.Unmatched.InsecureAdmit:
		j.admit(CodeUnmatched, reason+", and the site admits such images")
	case site.Unmatched.Mode == policy.Observe || site.Mode == policy.Observe:
		j.admit(CodeObserved, "admitted, because the site only observes; enforcing would have refused: "+reason)
	default:
		j.refuse(CodeNoPolicy, reason)
	}
}

// revoked says why an accepted signature does not count, or "".
func (j *judgement) revoked(result *verify.Result) string {
	for _, r := range j.policies.Enforcement.Revocations {
		switch {
		case r.Identity != nil:
			if result.Signer.Identity == nil || !r.Identity.Matches(*result.Signer.Identity) {
				continue
			}
		case r.Key != nil:
			if k, ok := r.Key.(interface{ Equal(crypto.PublicKey) bool }); !ok || !k.Equal(result.Key) {
				continue
			}
		default:
			continue
		}
		if withinRevocation(r, result.Times) {
			return fmt.Sprintf("signatures by %s were revoked", result.Signer) + because(r.Reason)
		}
	}
	return ""
}

// withinRevocation reports whether a signature that was made at these times is
// among the revoked ones. One that does not say when it was made is.
func withinRevocation(r policy.Revocation, times []verify.Time) bool {
	if len(times) == 0 {
		return true
	}
	for _, t := range times {
		if (r.From.IsZero() || !t.Time.Before(r.From)) && (r.Until.IsZero() || !t.Time.After(r.Until)) {
			return true
		}
	}
	return false
}
