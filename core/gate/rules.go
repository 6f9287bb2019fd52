package gate

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/verify"
)

// rules are policies and the trust roots that they refer to, as they were at
// one moment. One decision sees one rules value.
type rules struct {
	policies *policy.Set
	roots    []RootInfo
	// generation counts the gate's reloads; a verdict is cached under it, so
	// that none is given again after one.
	generation uint64
	verifying  chan struct{} // see [Gate]
	// expected is what core/verify is to expect for each authority that is not
	// static, and the trust root to hold evidence against.
	expected map[*policy.Authority]expectation
}

type expectation struct {
	signer verify.Expected
	root   *trust.Root // nil for a key that needs no log
	want   string      // for people
}

func newRules(set *policy.Set, roots []*trust.Root, now time.Time) (*rules, error) {
	if set == nil || len(set.Policies) == 0 {
		return nil, errors.New("there is no policy")
	}
	r := &rules{policies: set, expected: make(map[*policy.Authority]expectation)}
	seen := make(map[string]bool)
	for _, root := range roots {
		if seen[root.Name] {
			return nil, fmt.Errorf("two trust roots have the name %q", root.Name)
		}
		seen[root.Name] = true
		r.roots = append(r.roots, RootInfo{Name: root.Name, Digest: hex.EncodeToString(root.Digest[:]), Loaded: now.UTC()})
	}
	for _, p := range set.Policies {
		for _, a := range p.Authorities {
			if a.Static != nil {
				continue
			}
			e, err := expect(a, roots)
			if err != nil {
				return nil, fmt.Errorf("policy %s, authority %s: %w", p.Name, a.Name, err)
			}
			r.expected[a] = e
		}
	}
	return r, nil
}

// expect translates an authority for core/verify.
func expect(a *policy.Authority, roots []*trust.Root) (expectation, error) {
	if a.Key != nil {
		e := expectation{signer: verify.Keyed(verify.Key{Name: a.Name, Public: a.Key}), want: "a signature by key " + a.Name}
		if !a.RequireLog {
			return e, nil
		}
		var err error
		e.root, err = selectRoot(a, roots)
		return e, err
	}
	var wants []string
	for _, m := range a.Identities {
		wants = append(wants, m.String())
	}
	root, err := selectRoot(a, roots)
	return expectation{signer: verify.Keyless(a.Identities...), root: root, want: "a signature by " + strings.Join(wants, " or ")}, err
}

// selectRoot finds the trust root that an authority names, or the only one
// there is. If the authority names a certificate authority or a log too, the
// root is narrowed to these: a part of a policy that constrained nothing would
// be worse than none (CVE-2026-48815).
func selectRoot(a *policy.Authority, roots []*trust.Root) (*trust.Root, error) {
	named, err := rootByName(a.TrustRoot, roots)
	if err != nil {
		return nil, err
	}
	root := *named
	if a.CAURL != "" {
		root.CertificateAuthorities = nil
		for _, ca := range named.CertificateAuthorities {
			if sameURL(ca.URI, a.CAURL) {
				root.CertificateAuthorities = append(root.CertificateAuthorities, ca)
			}
		}
		if len(root.CertificateAuthorities) == 0 {
			return nil, fmt.Errorf("keyless.url %s is no certificate authority of the trust root %q", a.CAURL, root.Name)
		}
	}
	if a.LogURL != "" {
		root.Logs = nil
		for _, log := range named.Logs {
			if sameURL(log.BaseURL, a.LogURL) {
				root.Logs = append(root.Logs, log)
			}
		}
		if len(root.Logs) == 0 {
			return nil, fmt.Errorf("ctlog.url %s is no log of the trust root %q", a.LogURL, root.Name)
		}
	}
	return &root, nil
}

func rootByName(name string, roots []*trust.Root) (*trust.Root, error) {
	if name == "" {
		switch len(roots) {
		case 0:
			return nil, errors.New("no trust root is loaded")
		case 1:
			return roots[0], nil
		}
		return nil, fmt.Errorf("%d trust roots are loaded; name one in trustRootRef", len(roots))
	}
	for _, root := range roots {
		if root.Name == name {
			return root, nil
		}
	}
	return nil, fmt.Errorf("trustRootRef %q names a trust root that is not loaded", name)
}

func sameURL(a, b string) bool { return strings.TrimSuffix(a, "/") == strings.TrimSuffix(b, "/") }
