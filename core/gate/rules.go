package gate

import (
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"slices"
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
	turns      turns
	// storedUnder is the rules' name in a [Store]; "" if they have none.
	storedUnder string
	// expected is what core/verify is to expect for each authority that verifies
	// signatures, and the trust roots to hold evidence against.
	expected map[*policy.Authority]expectation
}

// expectation is an authority in core/verify's words.
type expectation struct {
	signer             verify.Expected
	root               *trust.Root // nil for a key that needs no log
	rootName           string      // as it was loaded
	logRoot, stampRoot *trust.Root // nil: root
	require            verify.Requirements
	ignoreLog          bool
	want               string // for people
}

func newRules(set *policy.Set, roots []*trust.Root, now time.Time) (*rules, error) {
	switch {
	case set == nil || set.Enforcement == nil:
		return nil, errors.New("there is no policy")
	case len(set.Policies) == 0 && reflect.ValueOf(*set.Enforcement).IsZero():
		return nil, errors.New("there is no policy, and the site says nothing either")
	}
	roots = slices.Concat(roots, set.Roots)
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
			e, err := expect(a, roots, set.Enforcement)
			if err != nil {
				return nil, fmt.Errorf("policy %s, authority %s: %w", p.Name, a.Name, err)
			}
			r.expected[a] = e
		}
	}
	return r, nil
}

// expect translates an authority for core/verify.
func expect(a *policy.Authority, roots []*trust.Root, site *policy.Enforcement) (expectation, error) {
	e := expectation{ignoreLog: a.Key != nil && !a.RequireLog}
	e.require.Witnesses, e.require.Quorum = site.Witnesses.Witnesses, site.Witnesses.N
	if a.RequireTimestamp {
		e.require.Timestamps = 1
		e.require.InsecureNoLog = a.Key == nil && !a.RequireLog
	}
	switch {
	case a.OpenPGP != nil:
		e.want = "an OpenPGP signature of " + a.Name
		return e, nil
	case a.Key != nil:
		e.signer = verify.Keyed(verify.Key{Name: a.Name, Public: a.Key, Hash: a.KeyHash})
		e.want = "a signature by key " + a.Name
	default:
		var wants []string
		for _, m := range a.Identities {
			wants = append(wants, m.String())
		}
		e.signer = verify.Keyless(a.Identities...)
		e.want = "a signature by " + strings.Join(wants, " or ")
	}
	if len(a.Attestations) > 0 {
		var types []string
		for _, att := range a.Attestations {
			types = append(types, att.PredicateType)
		}
		e.want = strings.Replace(e.want, "a signature", "attestations of "+strings.Join(types, " and of "), 1)
	}
	return e, e.selectRoots(a, roots)
}

// selectRoots finds the trust roots that an authority names, or the only one
// there is. If the authority names a certificate authority or a log too, the
// root is narrowed to these: a part of a policy that constrained nothing would
// be worse than none (CVE-2026-48815).
func (e *expectation) selectRoots(a *policy.Authority, roots []*trust.Root) error {
	needed := a.Key == nil || a.RequireLog || a.RequireTimestamp || e.require.Quorum > 0
	if !needed {
		return nil
	}
	named, err := rootByName(a.TrustRoot, roots)
	if err != nil {
		return err
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
			return fmt.Errorf("keyless.url %s is no certificate authority of the trust root %q", a.CAURL, root.Name)
		}
		root.Name += ", of which " + a.CAURL + " alone is wanted"
	}
	if len(a.CACert) > 0 {
		own, err := trust.FromPKI(a.CACert)
		if err != nil {
			return fmt.Errorf("keyless.ca-cert: %w", err)
		}
		root.CertificateAuthorities = []trust.CertificateAuthority{own}
		root.Name += ", with the authority of the policy's ca-cert in the place of its own"
	}
	e.root, e.rootName = &root, named.Name
	if a.TimestampTrustRoot != "" {
		if e.stampRoot, err = rootByName(a.TimestampTrustRoot, roots); err != nil {
			return fmt.Errorf("rfc3161timestamp: %w", err)
		}
	}
	logs := named
	if a.LogTrustRoot != "" {
		if logs, err = rootByName(a.LogTrustRoot, roots); err != nil {
			return fmt.Errorf("ctlog: %w", err)
		}
		e.logRoot = logs
	}
	if a.LogURL != "" {
		narrowed := *logs
		narrowed.Logs = nil
		for _, log := range logs.Logs {
			if sameURL(log.BaseURL, a.LogURL) {
				narrowed.Logs = append(narrowed.Logs, log)
			}
		}
		if len(narrowed.Logs) == 0 {
			return fmt.Errorf("ctlog.url %s is no log of the trust root %q", a.LogURL, logs.Name)
		}
		narrowed.Name += ", of which " + a.LogURL + " alone is wanted"
		e.logRoot = &narrowed
	}
	return nil
}

// errRootEnded is why a trust root is not used any more.
var errRootEnded = errors.New("the trust root is out of date")

// ended says which of the trust roots must not be used any more.
func (e *expectation) ended(now time.Time) error {
	for _, root := range []*trust.Root{e.root, e.logRoot, e.stampRoot} {
		if root != nil && !root.Until.IsZero() && !now.Before(root.Until) {
			return fmt.Errorf("%w: what vouches for %q ended for good at %s", errRootEnded, root.Name, root.Until.UTC().Format(time.RFC3339))
		}
	}
	return nil
}

// earlier is the earlier of two times, of which zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func rootByName(name string, roots []*trust.Root) (*trust.Root, error) {
	if name == "" {
		switch len(roots) {
		case 0:
			return nil, errors.New("no trust root is loaded: put one into trust.dir of config.yaml, name it under trust in proxy.yaml, or give it by --trusted-root FILE")
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
	loaded := "none is"
	if len(roots) > 0 {
		var names []string
		for _, root := range roots {
			names = append(names, root.Name)
		}
		loaded = "loaded are " + strings.Join(names, ", ")
	}
	return nil, fmt.Errorf("trustRootRef %q names a trust root that is not loaded (%s): put it into trust.dir of config.yaml, name it under trust in proxy.yaml, or give it by --trusted-root %s=FILE", name, loaded, name)
}

func sameURL(a, b string) bool { return strings.TrimSuffix(a, "/") == strings.TrimSuffix(b, "/") }
