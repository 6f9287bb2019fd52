package gate

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/verify"
)

// maxText bounds each text that a verdict repeats from evidence, in bytes: a
// bundle may hold a mebibyte of it, and verdicts are kept, logged and shown.
const maxText = 1024

// plain makes text that may be an attacker's fit to be shown: it is cut, and
// what is not printable is replaced.
func plain(s string) string {
	if len(s) > maxText {
		s = s[:maxText] + "..."
	}
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// admissionReason says who signed, in one sentence.
func (j *judgement) admissionReason() string {
	for _, sig := range j.verdict.Signatures {
		for _, a := range sig.Attempts {
			if !a.Accepted || a.Signer == nil {
				continue
			}
			reason := "signed by " + a.Signer.String()
			if a.Attestation != "" {
				reason = "attested by " + a.Signer.String()
			}
			if len(a.Entries) > 0 {
				reason += fmt.Sprintf(", log index %d", a.Entries[0].Index)
			}
			return reason + ", as policy " + a.Policy + " demands"
		}
	}
	return fmt.Sprintf("policy %s admits every image of %s", j.verdict.Policies[0].Name, j.req.Repository)
}

// refusal says in one sentence, and by a code, why a policy is not satisfied.
func (j *judgement) refusal(ctx context.Context, p *policy.Policy, problem error) (Code, string) {
	switch {
	case problem != nil:
		return problemCode(ctx, problem), plain(problem.Error())
	case j.denied != "":
		return CodeDenied, j.denied
	case j.result(p).Lacking != "":
		return CodePredicate, fmt.Sprintf("what was found does not satisfy policy %s: %s", p.Name, j.result(p).Lacking)
	}
	what, found := j.foundFor(p)
	others := j.othersFor(p)
	switch {
	case len(found) == 0 && len(others) > 0:
		return CodeForeign, fmt.Sprintf("%s carries a %s, which Touchmark does not verify; policy %s wants %s", what, others[0].Name, p.Name, j.wants(p))
	case len(found) == 0:
		return CodeUnsigned, fmt.Sprintf("%s is not signed; policy %s wants %s", what, p.Name, j.wants(p))
	}
	best := furthest(p, found)
	switch {
	case best == nil:
		return CodeNotAcceptable, fmt.Sprintf("policy %s does not accept its signature: %s", p.Name, unreadable(found))
	case best.Code == AttemptPredicate:
		return CodePredicate, fmt.Sprintf("policy %s does not accept its attestation %s: %s", p.Name, best.Attestation, best.Reason)
	case best.Accepted || best.Code == verify.CodePredicate && best.Attestation != "":
		return CodeNoAttestation, fmt.Sprintf("%s carries no attestation of %s; policy %s wants %s", what, strings.Join(missing(p, found), " and of "), p.Name, j.wants(p))
	case best.Code == verify.CodePredicate && len(j.attested) > 0:
		j.adviseAttestations(p)
		return CodeAttestationOnly, fmt.Sprintf("%s carries an attestation of type %s, but no signature; policy %s wants %s", what, plain(j.attested[0].predicateType), p.Name, j.wants(p))
	}
	return CodeNotAcceptable, fmt.Sprintf("policy %s does not accept its signature: %s", p.Name, best.Reason)
}

// foundFor is the evidence that was found where it would have counted for a
// policy, and what to call that place in a sentence.
func (j *judgement) foundFor(p *policy.Policy) (what string, found []SignatureResult) {
	g := j.lackingIn[p]
	for _, sig := range j.verdict.Signatures {
		if g.has(sig.Subject) {
			found = append(found, sig)
		}
	}
	if own := j.req.Digest; len(g) > 0 && !g.has(own.String()) {
		if g[0].parent {
			return fmt.Sprintf("the index of %s", j.req.Repository), found
		}
		return fmt.Sprintf("%s, which %s lists,", g[0].digest, j.req.Repository), found
	}
	return j.req.Repository, found
}

func (j *judgement) othersFor(p *policy.Policy) []Other {
	return slices.DeleteFunc(slices.Clone(j.verdict.Others), func(o Other) bool { return !j.lackingIn[p].has(o.Subject) })
}

// furthest is the attempt for a policy that passed the most checks.
func furthest(p *policy.Policy, found []SignatureResult) *Attempt {
	var best *Attempt
	passed := -1
	for i := range found {
		for k := range found[i].Attempts {
			a := &found[i].Attempts[k]
			n := 0
			for _, c := range a.Checks {
				if c.Passed {
					n++
				}
			}
			if a.Policy == p.Name && n > passed {
				best, passed = a, n
			}
		}
	}
	return best
}

// unreadable says what could not be read.
func unreadable(found []SignatureResult) string {
	for _, sig := range found {
		if sig.Unreadable != "" {
			return "it cannot be read: " + sig.Unreadable
		}
	}
	return "it is of a form that no authority wants"
}

// missing are the predicate types that the first authority with attestations
// lacks.
func missing(p *policy.Policy, found []SignatureResult) []string {
	accepted := make(map[string]bool) // by authority and attestation
	for _, sig := range found {
		for _, a := range sig.Attempts {
			if a.Accepted && a.Policy == p.Name {
				accepted[a.Authority+"/"+a.Attestation] = true
			}
		}
	}
	for _, a := range p.Authorities {
		var missing []string
		for _, att := range a.Attestations {
			if !accepted[a.Name+"/"+att.Name] {
				missing = append(missing, "type "+att.PredicateType)
			}
		}
		if len(missing) > 0 {
			return missing
		}
	}
	return nil
}

// wants lists what would satisfy a policy.
func (j *judgement) wants(p *policy.Policy) string {
	var wants []string
	for _, a := range p.Authorities {
		if a.Static == nil {
			wants = append(wants, j.expected[a].want)
		}
	}
	if len(wants) == 0 {
		return "nothing that a signature could give"
	}
	return strings.Join(wants, ", or ")
}
