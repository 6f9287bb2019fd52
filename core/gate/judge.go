package gate

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/verify"
)

// judge makes the decision about one image.
func (r *rules) judge(ctx context.Context, req Request, now time.Time) Verdict {
	j := &judgement{rules: r, req: req, now: now, verdict: newVerdict(req)}
	j.verdict.Roots = r.roots
	for _, p := range r.policies.For(req.Repository) {
		j.open = append(j.open, p)
		j.verdict.Policies = append(j.verdict.Policies, PolicyResult{Name: p.Name, Mode: string(p.Mode)})
	}
	if len(j.open) == 0 {
		return j.refuse(CodeNoPolicy, fmt.Sprintf("no policy is about %s", req.Repository))
	}
	j.applyStatic()

	// Evidence beside the image itself first; what is still missing may lie
	// beside an index that lists it.
	err := j.lookup(ctx, req.Digest)
	for _, parent := range req.Parents {
		if len(j.open) == 0 || j.denied != "" {
			break
		}
		if parentErr := j.lookupParent(ctx, parent); err == nil {
			err = parentErr
		}
	}

	// THE decision: admitted if every policy that is about the image is
	// satisfied. (There is at least one, see above.)
	if len(j.open) == 0 {
		return j.admit(CodeAdmitted, j.admissionReason())
	}
	// Policies that only observe refuse nobody; the verdict says what enforcing
	// them would have done.
	if !slices.ContainsFunc(j.open, enforces) {
		return j.admit(CodeObserved, fmt.Sprintf("admitted, because policy %s only observes; enforcing it would have refused: %s", j.open[0].Name, j.refusalReason(err)))
	}
	if err != nil {
		return j.undecided(ctx, err)
	}
	if j.denied != "" {
		return j.refuse(CodeDenied, j.denied)
	}
	if len(j.verdict.Signatures) == 0 {
		return j.refuse(CodeUnsigned, j.refusalReason(nil))
	}
	return j.refuse(CodeNotAcceptable, j.refusalReason(nil))
}

func enforces(p *policy.Policy) bool { return p.Mode != policy.Observe }

// judgement is one decision while it is being made.
type judgement struct {
	*rules
	req     Request
	now     time.Time
	verdict Verdict
	open    []*policy.Policy // not yet satisfied, in the order of the file
	denied  string           // the message of a static authority that refuses
	spent   time.Duration    // on verifying
}

// applyStatic settles the policies that need no evidence. A policy all of whose
// authorities are static and refuse can never be satisfied.
func (j *judgement) applyStatic() {
	for _, p := range slices.Clone(j.open) {
		refusing := 0
		for _, a := range p.Authorities {
			switch {
			case a.Static == nil:
			case a.Static.Pass:
				j.satisfy(p, a)
			default:
				refusing++
				if refusing == len(p.Authorities) && enforces(p) && j.denied == "" {
					j.denied = fmt.Sprintf("policy %s refuses every image of %s", p.Name, j.req.Repository)
					if a.Static.Message != "" {
						j.denied += ": " + a.Static.Message
					}
				}
			}
		}
	}
}

// satisfy records that an authority satisfied its policy.
func (j *judgement) satisfy(p *policy.Policy, a *policy.Authority) {
	j.open = slices.DeleteFunc(j.open, func(o *policy.Policy) bool { return o == p })
	for i := range j.verdict.Policies {
		if res := &j.verdict.Policies[i]; res.Name == p.Name && !res.Satisfied {
			res.Satisfied, res.Authority = true, a.Name
		}
	}
}

// lookup finds the evidence beside one manifest and tries it. What was found
// before an error is tried too: more evidence can't make less acceptable.
func (j *judgement) lookup(ctx context.Context, digest v1.Hash) error {
	if len(j.open) == 0 || j.denied != "" {
		return nil
	}
	found, err := attach.Find(ctx, j.req.Source, digest)
	j.verdict.Lookups = append(j.verdict.Lookups, found.Lookups...)
	select {
	case j.verifying <- struct{}{}:
		defer func() { <-j.verifying }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	for _, located := range found.Evidence {
		if j.spent > maxVerifying {
			return fmt.Errorf("verifying its signatures takes longer than %s", maxVerifying)
		}
		start := time.Now()
		j.try(located, digest)
		j.spent += time.Since(start)
	}
	return err
}

// lookupParent looks beside an index, after making sure that it lists the
// image: nothing is taken on the caller's word.
func (j *judgement) lookupParent(ctx context.Context, parent v1.Hash) error {
	children, lookups, err := attach.Children(ctx, j.req.Source, parent)
	j.verdict.Lookups = append(j.verdict.Lookups, lookups...)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(children, func(d v1.Descriptor) bool { return d.Digest == j.req.Digest }) {
		return nil
	}
	return j.lookup(ctx, parent)
}

// try verifies one piece of evidence for every policy that is still open.
func (j *judgement) try(located attach.Located, subject v1.Hash) {
	res := SignatureResult{
		Subject: subject.String(), Where: located.Where, Manifest: located.Manifest.String(), Layer: located.Layer,
	}
	if located.Err != nil {
		res.Unreadable = plain(located.Err.Error())
	} else {
		res.Format = string(located.Evidence.Form)
		for _, p := range slices.Clone(j.open) {
			for _, a := range p.Authorities {
				if a.Static != nil {
					continue
				}
				attempt := j.attempt(located, subject, p, a)
				res.Attempts = append(res.Attempts, attempt)
				if attempt.Accepted {
					j.satisfy(p, a)
					break
				}
			}
		}
	}
	j.verdict.Signatures = append(j.verdict.Signatures, res)
}

func (j *judgement) attempt(located attach.Located, subject v1.Hash, p *policy.Policy, a *policy.Authority) Attempt {
	e := j.expected[a]
	out := Attempt{Policy: p.Name, Authority: a.Name}
	if e.root != nil {
		out.Root = e.root.Name
	}
	var sum [32]byte
	if _, err := hex.Decode(sum[:], []byte(subject.Hex)); err != nil {
		out.Code, out.Reason = verify.CodeMalformed, err.Error()
		return out
	}
	result, err := verify.Verify(verify.Input{
		Evidence: located.Evidence, Artifact: verify.SHA256(sum), Signer: e.signer, Root: e.root,
		Now: j.now, InsecureIgnoreSCT: a.InsecureIgnoreSCT, InsecureIgnoreLog: a.Key != nil && !a.RequireLog,
	})
	var refused *verify.Error
	switch {
	case err == nil:
		out.Accepted = true
		out.Checks, out.Signer = result.Checks, &result.Signer
		out.Entries, out.Times = result.Entries, result.Times
	case errors.As(err, &refused):
		out.Code, out.Reason, out.Checks, out.Signer = refused.Code, plain(refused.Error()), refused.Checks, refused.Signer
	default:
		out.Code, out.Reason = verify.CodeUnsupported, plain(err.Error())
	}
	for i := range out.Checks {
		out.Checks[i].Value, out.Checks[i].Want = plain(out.Checks[i].Value), plain(out.Checks[i].Want)
	}
	return out
}

func newVerdict(req Request) Verdict {
	return Verdict{Repository: req.Repository, Digest: req.Digest.String()}
}

func (j *judgement) admit(code Code, reason string) Verdict {
	j.verdict.Outcome, j.verdict.Code, j.verdict.Reason = OutcomeAdmitted, code, reason
	return j.verdict
}

func (j *judgement) refuse(code Code, reason string) Verdict {
	j.verdict.Outcome, j.verdict.Code, j.verdict.Reason = OutcomeRefused, code, reason
	return j.verdict
}

func (j *judgement) undecided(ctx context.Context, err error) Verdict {
	code := CodeLookupFailed
	if ctx.Err() != nil {
		code = CodeCancelled
	}
	u := undecided(j.req, code, err)
	j.verdict.Outcome, j.verdict.Code, j.verdict.Reason = u.Outcome, u.Code, u.Reason
	return j.verdict
}

func undecided(req Request, code Code, err error) Verdict {
	v := newVerdict(req)
	v.Outcome, v.Code = OutcomeUndecided, code
	v.Reason = fmt.Sprintf("cannot decide about %s@%s: %v", req.Repository, req.Digest, err)
	return v
}

func (v Verdict) at(now time.Time) Verdict {
	v.DecidedAt = now.UTC()
	return v
}
