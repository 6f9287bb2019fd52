package proxyfailures_test

import (
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/coretest"
)

// flavour is a place where evidence lies, and the policy that has it looked for there.
type flavour struct {
	artifacts
	name     string
	upstream *images
	policy   func(source string) string
	source   *images // another registry with the evidence; nil for none
	parts    map[string]string
}

// flavours makes one of each.
func flavours(t *testing.T) (all []*flavour, root []byte) {
	s := coretest.New(t)
	api, plain, apart := newImages(t, s, true), newImages(t, s, false), newImages(t, s, true)
	for _, f := range []*flavour{
		{name: "referrers API", upstream: api, artifacts: artifacts{repository: "app"}},
		{name: "referrers tag", upstream: plain, artifacts: artifacts{repository: "fallback"}},
		{name: "cosign 2", upstream: plain, artifacts: artifacts{repository: "legacy"}},
		{name: "attestation", upstream: plain, artifacts: artifacts{repository: "attested"}},
		{name: "elsewhere", upstream: api, source: apart, artifacts: artifacts{repository: "elsewhere"}},
	} {
		f.good, f.bad = f.upstream.push(t, f.repository, "good", "fine", 100_000), f.upstream.push(t, f.repository, "bad", canary, 100_000)
		dash := strings.Replace(f.good.index, ":", "-", 1)
		f.policy = func(string) string { return policyFor(f.repository, "") }
		content, tag := coretest.DSSE, ""
		switch f.name {
		case "cosign 2":
			content, tag = coretest.SimpleSigning, ":"+dash+".sig"
		case "attestation":
			content, tag = coretest.LegacyAttestation, ":"+dash+".att"
			f.policy = func(string) string {
				return policyFor(f.repository, "    attestations: [{name: built, predicateType: \""+provenance+"\"}]\n")
			}
		case "elsewhere":
			f.policy = func(source string) string {
				return policyFor(f.repository, "    source: [{oci: "+source+"/evidence}]\n")
			}
		}
		if f.source == nil {
			f.upstream.sign(t, f.repository, f.good.index, content)
			f.upstream.find(t, f.repository, &f.good, tag)
		} else {
			f.source.sign(t, "evidence", f.good.index, content)
			other := f.good
			f.source.find(t, "evidence", &other, "")
			f.parts = map[string]string{other.evidence: "evidence manifest", other.evidenceBlob: "evidence blob"}
		}
		all = append(all, f)
	}
	return all, s.TrustedRootJSON(t)
}

// names says what each digest of it is.
func (f *flavour) names() map[string]string {
	parts := map[string]string{}
	for _, a := range []artifact{f.good, f.bad} {
		for digest, name := range map[string]string{
			a.index: "index", a.manifest: "child manifest", a.config: "config", a.layer: "layer", a.evidence: "evidence manifest", a.evidenceBlob: "evidence blob",
		} {
			parts[digest] = name
		}
	}
	for digest, name := range f.parts {
		parts[digest] = name
	}
	delete(parts, "")
	return parts
}
