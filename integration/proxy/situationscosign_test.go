package proxy_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/integration/internal/lab"
	"github.com/touchmark/touchmark/integration/situations"
)

const (
	verifies = "The cosign claims were validated"
	nothing  = "no signatures found"
)

// verified is what cosign, which knows no policy, says when it is asked for alice's signature.
var verified = map[string]string{
	"bundle":                   verifies,
	"legacy":                   verifies,
	"revoked":                  verifies,
	"no-policy":                verifies,
	"signed-not-attested":      verifies,
	"provenance-for-signature": verifies,
	"rego-unsatisfied":         verifies,
	"rego-fails":               verifies,
	"among-too-many":           verifies,
	"another-signer":           `got "mallory@evil.example"`,
	"legacy-another-signer":    "got subjects [mallory@evil.example]",
	"damaged-signature":        "no matching attestations: ",
	"unsigned":                 nothing,
	"fallback-tag-unsigned":    nothing,
	"notation":                 nothing,
	"fail":                     nothing,
	"excepted":                 nothing,
	"pinned":                   nothing,
	"unmatched-observed":       nothing,
	"unmatched-admitted":       nothing,
}

// unread are verdicts of situations in which there is nothing that cosign could read, and why.
var unread = map[gate.Code]string{
	gate.CodeLookupFailed: "the registry is in trouble",
	gate.CodeForbidden:    "the registry lets nobody look",
	gate.CodeThrottled:    "the registry has no time",
	gate.CodeTimeout:      "the registry is silent",
	"":                    "there is no image",
}

// cosigns holds what cosign says of images through the proxy against what is right, and against what it says at the registry. Whoever wants to verify evidence
// can: it is served whatever the proxy thinks of the image.
func (f *fronts) cosigns(t *testing.T) {
	cosign := lab.Command{Program: lab.Tool(t, "cosign-v3.1.3")}
	verify := func(host string, i *situations.Image) (status int, says string) {
		args := []string{"verify", "--allow-http-registry", "--trusted-root", i.Site.Roots[0].File, "--certificate-identity", "alice@acme.example", "--certificate-oidc-issuer", coretest.Issuer}
		if i.Facts.Get("form") == "legacy" {
			args = append(args, "--new-bundle-format=false")
		}
		r := cosign.Run(t, append(args, host+strings.TrimPrefix(i.Repository, f.Registry)+"@"+i.Digest)...)
		return r.Status, strings.NewReplacer(host, "HOST", f.Registry, "HOST").Replace(r.Output()) // what was signed has the registry's name
	}
	var asked []*situations.Image
	codes := maps.Clone(unread)
	for _, i := range f.Images {
		if verified[i.Name] != "" {
			asked = append(asked, i)
			want, _ := i.At("proxy")
			codes[want.Code] = i.Name
		}
	}
	for _, i := range f.Images {
		if want, _ := i.At("proxy"); codes[want.Code] == "" {
			t.Errorf("cosign is asked about no situation with the verdict %s, such as %s", want.Code, i.Name)
		}
	}
	if len(asked) != len(verified) {
		t.Errorf("of %d situations there are %d", len(verified), len(asked))
	}
	each(t, asked, func(i *situations.Image) error {
		status, says := verify(f.hosts[i.Site], i)
		if (status == 0) != (verified[i.Name] == verifies) || !strings.Contains(says, verified[i.Name]) {
			return fmt.Errorf("status %d: %s; want it to say %q", status, says, verified[i.Name])
		}
		if direct, wants := verify(f.Registry, i); direct != status || wants != says {
			return fmt.Errorf("status %d: %s; at the registry %d: %s", status, says, direct, wants)
		}
		return nil
	})
}
