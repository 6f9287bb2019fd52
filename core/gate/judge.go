package gate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/gate/ask"
	"github.com/touchmark/touchmark/core/policy"
)

// judgement is one decision while it is being made.
type judgement struct {
	*rules
	req     Request
	source  attach.Source // req's, authenticated for its repository where several lookups are to be made
	now     time.Time
	verdict Verdict
	denied  string        // the message of a static authority that refuses
	spent   time.Duration // on verifying
	// lackingIn is where the evidence for a policy was looked for in vain.
	lackingIn map[*policy.Policy]group
	// attested are attestations where a signature is wanted, for advice.
	attested []attested
	// until is when something that the decision leans on ends; zero if nothing
	// does.
	until time.Time
}

// judge makes the decision about one image.
func (r *rules) judge(ctx context.Context, req Request, now time.Time) (v Verdict, until time.Time) {
	j := &judgement{rules: r, req: req, source: req.Source, now: now, lackingIn: make(map[*policy.Policy]group), verdict: newVerdict(req)}
	j.verdict.Roots = r.roots
	j.verdict.PolicyDigest = r.policyDigest()
	j.decide(ctx)
	return j.verdict, j.until
}

// decide goes from what costs nothing to what costs most: what the site says
// of this very digest, what a policy says of the repository, and only then the
// evidence in the registry.
func (j *judgement) decide(ctx context.Context) {
	if j.decideByDigest(ctx) {
		return
	}
	matching := j.policies.For(j.req.Repository)
	for _, p := range matching {
		j.verdict.Policies = append(j.verdict.Policies, PolicyResult{Name: p.Name, Mode: string(j.mode(p))})
	}
	if len(matching) == 0 {
		j.decideUnmatched()
		return
	}
	open := j.applyStatic(matching)
	var problem error
	if j.denied == "" && len(open) > 0 {
		open, problem = j.gather(ctx, open)
		if !slices.ContainsFunc(open, j.enforces) && j.decideByPlatforms(ctx) {
			return
		}
	}

	// THE decision: admitted if every policy that is about the image is
	// satisfied. (There is at least one, see above.)
	if len(open) == 0 {
		j.admit(CodeAdmitted, j.admissionReason())
		return
	}
	blocking := open[0]
	if i := slices.IndexFunc(open, j.enforces); i >= 0 {
		blocking = open[i]
	}
	code, reason := j.refusal(ctx, blocking, problem)
	switch {
	case !j.enforces(blocking):
		// Policies that only observe refuse nobody; the verdict says what enforcing
		// them would have done.
		j.admit(CodeObserved, fmt.Sprintf("admitted, because policy %s only observes; enforcing it would have refused: %s", blocking.Name, reason))
	case problem != nil:
		j.undecided(code, fmt.Errorf("%s", reason))
	default:
		j.refuse(code, reason)
	}
}

// mode is the policy's own, unless the whole site only observes.
func (j *judgement) mode(p *policy.Policy) policy.Mode {
	if j.policies.Enforcement.Mode == policy.Observe {
		return policy.Observe
	}
	return p.Mode
}

func (j *judgement) enforces(p *policy.Policy) bool { return j.mode(p) != policy.Observe }

// applyStatic settles the policies that need no evidence, and returns the
// others. A policy all of whose authorities are static and refuse can never be
// satisfied.
func (j *judgement) applyStatic(matching []*policy.Policy) (open []*policy.Policy) {
	for _, p := range matching {
		refusing, passing := 0, (*policy.Authority)(nil)
		for _, a := range p.Authorities {
			switch {
			case a.Static == nil:
			case a.Static.Pass:
				passing = a
			default:
				refusing++
				if refusing == len(p.Authorities) && j.enforces(p) && j.denied == "" {
					j.denied = fmt.Sprintf("policy %s refuses every image of %s", p.Name, j.req.Repository)
					if a.Static.Message != "" {
						j.denied += ": " + a.Static.Message
					}
				}
			}
		}
		if passing != nil && p.Predicate == nil {
			j.satisfied(p, passing)
			continue
		}
		open = append(open, p)
	}
	return open
}

// satisfied records which authority satisfied a policy.
func (j *judgement) satisfied(p *policy.Policy, a *policy.Authority) {
	if res := j.result(p); !res.Satisfied {
		res.Satisfied, res.Authority = true, a.Name
	}
}

func (j *judgement) result(p *policy.Policy) *PolicyResult {
	i := slices.IndexFunc(j.verdict.Policies, func(r PolicyResult) bool { return r.Name == p.Name })
	return &j.verdict.Policies[i]
}

// gather looks for evidence until every open policy is satisfied, or there is
// no more. It returns the policies that are not satisfied, and what kept it
// from looking everywhere.
func (j *judgement) gather(ctx context.Context, open []*policy.Policy) ([]*policy.Policy, error) {
	if len(j.req.Parents) > 0 {
		// One handshake for all the lookups. If it fails, the first of them says why.
		if source, err := attach.Connect(ctx, j.req.Source, transport.PullScope); err == nil {
			j.source = source
		}
	}
	groups, err := j.groups(ctx)
	if err != nil {
		return open, err
	}
	var lacking []*policy.Policy
	var problem error
	for _, g := range groups {
		s := newSearch(j, open)
		err := s.run(ctx, g)
		for _, p := range s.open {
			if !slices.Contains(lacking, p) {
				lacking = append(lacking, p)
				j.lackingIn[p] = g
			}
		}
		if len(s.open) > 0 && err != nil && problem == nil {
			problem = err
		}
	}
	for _, p := range lacking {
		res := j.result(p)
		res.Satisfied, res.Authority = false, ""
	}
	if problem == nil && len(lacking) > 0 && len(j.verdict.Signatures) == 0 && len(j.verdict.Others) == 0 {
		problem = j.checkSeen(ctx, lacking)
	}
	return lacking, problem
}

// errUnseen says that "nothing is attached" means nothing.
var errUnseen = errors.New("the registry does not have the image itself, so it can't tell what is attached to it: it hides the repository, or is not the one that has it")

// checkSeen makes sure, where nothing was found beside an image, that the image
// is seen in its repository: a registry that hides what one may not see, a
// mirror without the repository, and a proxy without a backend say "not found"
// of everything. It is one HEAD request, which registries don't count.
func (j *judgement) checkSeen(ctx context.Context, lacking []*policy.Policy) error {
	asked := slices.ContainsFunc(lacking, func(p *policy.Policy) bool {
		return slices.ContainsFunc(p.Authorities, func(a *policy.Authority) bool {
			return slices.ContainsFunc(placesOf(a), func(pl place) bool { return pl.lookaside == "" && pl.source.Repository == "" })
		})
	})
	if !asked {
		return nil
	}
	there, err := attach.Has(ctx, j.source, j.req.Digest)
	if err == nil && !there {
		err = &attach.LookupError{URL: j.source.Repository.Name() + "@" + j.req.Digest.String(), Status: 404, Err: errUnseen}
	}
	return err
}

func newVerdict(req Request) Verdict {
	return Verdict{Repository: req.Repository, Digest: req.Digest.String()}
}

func (j *judgement) admit(code Code, reason string)  { j.verdict.say(OutcomeAdmitted, code, reason) }
func (j *judgement) refuse(code Code, reason string) { j.verdict.say(OutcomeRefused, code, reason) }

func (j *judgement) undecided(code Code, err error) {
	u := undecided(j.req, code, err)
	j.verdict.say(u.Outcome, u.Code, u.Reason)
}

func undecided(req Request, code Code, err error) Verdict {
	v := newVerdict(req)
	v.say(OutcomeUndecided, code, ask.CannotDecide(req.Repository, req.Digest.String())+fmt.Sprint(err))
	return v
}

func (v *Verdict) say(outcome Outcome, code Code, reason string) {
	v.Outcome, v.Code, v.Reason = outcome, code, reason
}

func (v Verdict) at(now time.Time) Verdict {
	v.DecidedAt = now.UTC()
	return v
}

// problemCode says what kind of outage kept the gate from deciding.
func problemCode(ctx context.Context, err error) Code {
	var lookup *attach.LookupError
	switch {
	case ctx.Err() != nil: // by our own time limit: the caller's end is not waited for
		return CodeTimeout
	case errors.Is(err, errParentUnknown):
		return CodeParentUnknown
	case errors.Is(err, errRootEnded):
		return CodeStaleRoot
	case errors.Is(err, errPredicate):
		return CodePredicateFail
	case errors.Is(err, errSlowEvidence):
		return CodeSlowEvidence
	case errors.Is(err, attach.ErrTooMany):
		return CodeTooMuch
	case errors.As(err, &lookup) && (lookup.Status == 401 || lookup.Status == 403):
		return CodeForbidden
	case errors.As(err, &lookup) && lookup.Status == 429:
		return CodeThrottled
	}
	return CodeLookupFailed
}
