// Package native compiles policies to what policy.json can express itself, so
// that clients enforce them with no agent.
//
// policy.json knows keys, one exact e-mail address of one issuer in a Rekor v1
// log, and OpenPGP keyrings; it reads legacy signatures in .sig tags and
// OpenPGP signatures in a lookaside. [Compile] translates what that covers.
// Everything else is an [*Error] that names the policy, the authority and the
// field: a rule is never left out, and never becomes weaker.
//
// Some of what looks expressible is not:
//
//   - A scope of policy.json is about a repository and all below it, so a policy
//     has to be about both: the globs "registry.example/app" and
//     "registry.example/app/**" together make a scope.
//   - policy.json does not check certificate timestamps (SCTs). An identity is
//     compiled only if its authority says insecureIgnoreSCT.
//   - Its "pki" checks certificates at the present time and allows no log, where an
//     authority with a ca-cert demands a log entry or a timestamp.
//   - It has no end of a log's or an authority's key, and verifies with SHA-256.
//   - Of a multi-platform image it judges the platform's own manifest.
package native

import (
	"cmp"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/podman/install"
	"github.com/touchmark/touchmark/podman/policyjson"
	"github.com/touchmark/touchmark/podman/registriesd"
)

// Rule is what is compiled for one scope.
type Rule struct {
	// Requirements must all be met; none means that anything is accepted that was
	// before.
	Requirements []policyjson.Requirement
	// Attachments says that signatures lie in .sig tags.
	Attachments bool
	// Lookaside is where OpenPGP signatures lie; "" if there are none.
	Lookaside string
}

// Error says what policy.json cannot express.
type Error struct {
	Policy    string // "" if it is about the site's Enforcement
	Authority string // "" if it is about the policy as a whole
	Field     string // as it is written in the document
	Problem   string
}

func (e *Error) Error() string {
	at := "Enforcement"
	if e.Policy != "" {
		at = "policy " + e.Policy
	}
	if e.Authority != "" {
		at += ", authority " + e.Authority
	}
	return fmt.Sprintf("%s: %s: %s", at, e.Field, e.Problem)
}

// Compile translates a set of policies, by scope. The error joins an [*Error] for
// everything that cannot be translated.
func Compile(set *policy.Set, roots []*trust.Root) (map[string]Rule, error) {
	c := compiler{roots: append(slices.Clone(set.Roots), roots...)}
	c.enforcement(set.Enforcement)
	compiled := map[string][]Rule{}
	for _, p := range set.Policies {
		scopes := c.scopes(p)
		rule := c.policy(p)
		for _, s := range scopes {
			compiled[s] = append(compiled[s], rule)
		}
	}
	if len(c.problems) > 0 {
		return nil, fmt.Errorf("compiling to policy.json: %w", errors.Join(c.problems...))
	}
	out := map[string]Rule{}
	for scope := range compiled {
		// All policies that are about a scope count, those of wider scopes too.
		var all Rule
		for _, outer := range slices.Sorted(maps.Keys(compiled)) {
			if !registriesd.Within(scope, outer) {
				continue
			}
			for _, r := range compiled[outer] {
				if all.Lookaside != "" && r.Lookaside != "" && r.Lookaside != all.Lookaside {
					return nil, fmt.Errorf("compiling to policy.json: scope %s: OpenPGP signatures in two lookasides; policy.json has one", scope)
				}
				all.Requirements = append(all.Requirements, r.Requirements...)
				all.Attachments = all.Attachments || r.Attachments
				all.Lookaside = cmp.Or(all.Lookaside, r.Lookaside)
			}
		}
		out[scope] = all
	}
	return out, nil
}

// compiler collects what cannot be expressed.
type compiler struct {
	roots    []*trust.Root
	problems []error
}

func (c *compiler) refuse(p *policy.Policy, a *policy.Authority, field, problem string) {
	e := &Error{Field: field, Problem: problem}
	if p != nil {
		e.Policy = p.Name
	}
	if a != nil {
		e.Authority = a.Name
	}
	c.problems = append(c.problems, e)
}

// enforcement refuses everything that a site demands or excepts of all images.
func (c *compiler) enforcement(e *policy.Enforcement) {
	for _, f := range []struct {
		said  bool
		field string
		why   string
	}{
		{e.Mode == policy.Observe, "spec.mode", "policy.json cannot observe"},
		{e.Unmatched.InsecureAdmit, "spec.unmatched.action", "policy.json refuses what no policy is about; see --keep-default"},
		{e.Unmatched.Mode == policy.Observe, "spec.unmatched.mode", "policy.json cannot observe"},
		{e.Index == policy.IndexOnly || e.Index == policy.IndexAndPlatform, "spec.index", "policy.json judges the platform's own manifest, never the index"},
		{e.Witnesses.N > 0, "spec.witnesses", "policy.json knows no checkpoints"},
		{e.MaxSignatureAge > 0, "spec.maxSignatureAge", "policy.json does not look at a signature's age"},
		{len(e.Revocations) > 0, "spec.revocations", "policy.json has none"},
		{len(e.Exceptions) > 0, "spec.exceptions", "policy.json has none that end"},
		{len(e.Pins) > 0, "spec.pins", "policy.json sees digests only of images that are pulled by digest"},
	} {
		if f.said {
			c.refuse(nil, nil, f.field, f.why)
		}
	}
}

// scopes are those that a policy's globs stand for exactly.
func (c *compiler) scopes(p *policy.Policy) []string {
	below, itself := map[string]bool{}, map[string]bool{}
	var out []string
	for i, glob := range p.Globs {
		field := fmt.Sprintf("spec.images[%d].glob", i)
		scope, err := install.ScopeOf(glob)
		if err != nil {
			c.refuse(p, nil, field, fmt.Sprintf("%q: %v", glob, err))
			continue
		}
		switch {
		case strings.HasSuffix(glob, "/**"):
			below[scope] = true
		case strings.HasSuffix(glob, "/*"):
			c.refuse(p, nil, field, fmt.Sprintf("%q is about one level; a scope of policy.json is about all below it, as %q is", glob, glob+"*"))
			continue
		default:
			itself[scope] = true
		}
		if !slices.Contains(out, scope) {
			out = append(out, scope)
		}
	}
	for _, scope := range out {
		switch {
		case !below[scope]:
			c.refuse(p, nil, "spec.images", fmt.Sprintf("the scope %s of policy.json is about everything below it, too; add the glob %q", scope, scope+"/**"))
		case !itself[scope] && strings.Contains(scope, "/"):
			c.refuse(p, nil, "spec.images", fmt.Sprintf("the scope %s of policy.json is about the repository of that name, too; add the glob %q", scope, scope))
		}
	}
	return out
}

// policy compiles one policy. Any one of its authorities satisfies it, where
// policy.json knows alternatives only among keys.
func (c *compiler) policy(p *policy.Policy) Rule {
	if p.Mode == policy.Observe {
		c.refuse(p, nil, "spec.mode", "policy.json cannot observe")
	}
	if p.Predicate != nil {
		c.refuse(p, nil, "spec.policy", "policy.json evaluates no predicates")
	}
	var ways []*policy.Authority
	for _, a := range p.Authorities {
		if a.Static == nil {
			ways = append(ways, a)
		} else if a.Static.Pass {
			return Rule{} // whatever the others say
		}
	}
	switch {
	case len(ways) == 0: // all of them refuse
		return Rule{Requirements: []policyjson.Requirement{policyjson.Plain(policyjson.Reject)}}
	case ways[0].Key != nil:
		return c.keys(p, ways)
	case len(ways) > 1:
		c.refuse(p, ways[1], "spec.authorities", "policy.json has alternatives among keys only; this authority is one of several")
		return Rule{}
	case ways[0].OpenPGP != nil:
		return c.openPGP(p, ways[0])
	}
	return c.keyless(p, ways[0])
}

// requirement checks a requirement as clients will read it.
func (c *compiler) requirement(p *policy.Policy, members map[string]any) []policyjson.Requirement {
	text, err := json.Marshal(members)
	if err == nil {
		var r policyjson.Requirement
		if r, err = policyjson.ParseRequirement("requirement", text); err == nil {
			return []policyjson.Requirement{r}
		}
	}
	c.refuse(p, nil, "spec.authorities", err.Error())
	return nil
}

// certificates are PEM.
func certificates(certs ...*x509.Certificate) []byte {
	var out []byte
	for _, cert := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
	}
	return out
}
