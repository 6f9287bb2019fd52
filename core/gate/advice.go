package gate

import (
	"fmt"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/policy"
)

// maxAttested bounds the attestations that are verified once more for advice.
const maxAttested = 8

// attested is an attestation that was found where a signature is wanted.
type attested struct {
	located       attach.Located
	subject       v1.Hash
	predicateType string // as it claims
}

// adviseAttestations writes the attestations block that would admit an image
// about which an authority attested something, but which it did not sign.
func (j *judgement) adviseAttestations(p *policy.Policy) {
	for _, a := range p.Authorities {
		if a.Static != nil || a.OpenPGP != nil || len(a.Attestations) > 0 {
			continue
		}
		var types []string
		for _, f := range j.attested {
			if f.predicateType != plain(f.predicateType) {
				continue // nobody should write that into a policy
			}
			result, err := j.verify(f.located, f.subject, a, f.predicateType)
			if err == nil && j.revoked(result) == "" && !slices.Contains(types, f.predicateType) {
				types = append(types, f.predicateType)
			}
		}
		if len(types) == 0 {
			continue
		}
		advice := fmt.Sprintf("# policy %s, authority %s: admit by what it attests, instead of a signature\nattestations:\n", p.Name, a.Name)
		for i, t := range types {
			advice += fmt.Sprintf("- name: attestation-%d\n  predicateType: %q\n", i+1, t)
		}
		j.verdict.Advice = strings.TrimSuffix(advice, "\n")
		return
	}
}
