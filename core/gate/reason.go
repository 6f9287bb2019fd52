package gate

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/touchmark/touchmark/core/policy"
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
			if len(a.Entries) > 0 {
				reason += fmt.Sprintf(", log index %d", a.Entries[0].Index)
			}
			return reason + ", as policy " + a.Policy + " demands"
		}
	}
	return fmt.Sprintf("policy %s admits every image of %s", j.verdict.Policies[0].Name, j.req.Repository)
}

// refusalReason says in one sentence why the first open policy is not
// satisfied: what came of the signature that got furthest.
func (j *judgement) refusalReason(lookup error) string {
	p := j.open[0]
	if lookup != nil {
		return lookup.Error()
	}
	best, passed := "", -1
	for _, sig := range j.verdict.Signatures {
		if sig.Unreadable != "" && passed < 0 {
			best = "its signature cannot be read: " + sig.Unreadable
		}
		for _, a := range sig.Attempts {
			n := 0
			for _, c := range a.Checks {
				if c.Passed {
					n++
				}
			}
			if a.Policy == p.Name && !a.Accepted && n > passed {
				best, passed = a.Reason, n
			}
		}
	}
	if best == "" {
		return fmt.Sprintf("%s is not signed; policy %s wants %s", j.req.Repository, p.Name, j.wants(p))
	}
	return fmt.Sprintf("policy %s does not accept its signature: %s", p.Name, best)
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
