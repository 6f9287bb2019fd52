package native

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/podman/policyjson"
)

// matchRepository is the identity that is demanded: cosign writes no tag.
func matchRepository() map[string]any {
	return map[string]any{"type": policyjson.MatchRepository}
}

// plain refuses what no requirement of policy.json can demand besides a
// signature.
func (c *compiler) plain(p *policy.Policy, a *policy.Authority) {
	if a.Format == bundle.FormBundle {
		c.refuse(p, a, "signatureFormat", "policy.json reads legacy signatures, and no bundles")
	}
	if len(a.Sources) > 0 {
		c.refuse(p, a, "source", "policy.json looks beside the image only")
	}
	if len(a.Attestations) > 0 {
		c.refuse(p, a, "attestations", "policy.json reads no attestations")
	}
	if a.RequireTimestamp {
		c.refuse(p, a, "rfc3161timestamp", "policy.json reads no timestamps")
	}
}

// keys compiles authorities that each have a key, of which any may sign.
func (c *compiler) keys(p *policy.Policy, ways []*policy.Authority) Rule {
	var datas [][]byte
	var logs [][]byte
	for i, a := range ways {
		c.plain(p, a)
		if a.Key == nil {
			c.refuse(p, a, "spec.authorities", "policy.json has alternatives among keys only; this authority is one of several")
			continue
		}
		if why := verifiable(a.Key, a.KeyHash); why != "" {
			c.refuse(p, a, "key", why)
			continue
		}
		der, err := x509.MarshalPKIXPublicKey(a.Key)
		if err != nil {
			c.refuse(p, a, "key", err.Error())
			continue
		}
		datas = append(datas, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
		var own [][]byte
		if a.RequireLog {
			own = c.logs(p, a)
		}
		if i > 0 && !slices.EqualFunc(own, logs, slices.Equal) {
			c.refuse(p, a, "ctlog", "policy.json demands the same log of all keys that are alternatives")
		}
		logs = own
	}
	requirement := map[string]any{"type": policyjson.SigstoreSigned, "signedIdentity": matchRepository()}
	put(requirement, "keyData", datas)
	put(requirement, "rekorPublicKeyData", logs)
	if len(c.problems) > 0 {
		return Rule{}
	}
	return Rule{Requirements: c.requirement(p, requirement), Attachments: true}
}

// put sets a member, or the one with an s behind its name if there are several
// values: clients of before 2025 know the single one only.
func put(requirement map[string]any, name string, values [][]byte) {
	switch len(values) {
	case 0:
	case 1:
		requirement[name] = values[0]
	default:
		requirement[name+"s"] = values
	}
}

// verifiable says why clients, which verify SHA-256 only, do not verify as we do
// with a key; "" if they do.
func verifiable(key crypto.PublicKey, hash crypto.Hash) string {
	if hash != 0 && hash != crypto.SHA256 {
		return fmt.Sprintf("policy.json verifies with SHA-256, and not with %s", hash)
	}
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() {
			return "policy.json verifies with SHA-256, which does not go with " + k.Params().Name
		}
	case *rsa.PublicKey, ed25519.PublicKey:
	default:
		return fmt.Sprintf("policy.json does not know keys of type %T", key)
	}
	return ""
}

// logs are the keys of the Rekor v1 logs of which one must hold the signature.
func (c *compiler) logs(p *policy.Policy, a *policy.Authority) [][]byte {
	field, name := "ctlog.trustRootRef", a.LogTrustRoot
	if name == "" {
		field, name = "keyless.trustRootRef", a.TrustRoot
	}
	root := c.root(p, a, field, name)
	if root == nil {
		return nil
	}
	var out [][]byte
	for _, l := range root.Logs {
		k, ok := l.Key.(*ecdsa.PublicKey)
		if !ok || a.LogURL != "" && l.BaseURL != a.LogURL {
			continue // its entries are not accepted, which is stricter
		}
		if !l.Window.End.IsZero() {
			continue // policy.json would go on accepting it
		}
		der, err := x509.MarshalPKIXPublicKey(k)
		if err != nil {
			c.refuse(p, a, "ctlog", err.Error())
			return nil
		}
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	}
	if len(out) == 0 {
		c.refuse(p, a, "ctlog", fmt.Sprintf("trust root %s has no log whose entries policy.json can verify: it takes ECDSA keys, without an end, of Rekor v1", root.Name))
	}
	return out
}

// root is a trust root by its name; without one, the only one.
func (c *compiler) root(p *policy.Policy, a *policy.Authority, field, name string) *trust.Root {
	if name == "" && len(c.roots) == 1 {
		return c.roots[0]
	}
	for _, r := range c.roots {
		if name != "" && r.Name == name {
			return r
		}
	}
	c.refuse(p, a, field, fmt.Sprintf("there is no trust root %q", name))
	return nil
}

// keyless compiles one identity.
func (c *compiler) keyless(p *policy.Policy, a *policy.Authority) Rule {
	c.plain(p, a)
	if len(a.CACert) > 0 {
		c.refuse(p, a, "keyless.ca-cert", "policy.json accepts certificates of such an authority without any log, at the present time; this policy demands a log entry or a timestamp")
		return Rule{}
	}
	if len(a.Identities) != 1 {
		c.refuse(p, a, "keyless.identities", fmt.Sprintf("policy.json takes one identity, these are %d", len(a.Identities)))
		return Rule{}
	}
	id := a.Identities[0].Spec()
	switch {
	case id.NoIssuer || id.IssuerRegExp != "":
		c.refuse(p, a, "keyless.identities[0].issuerRegExp", "policy.json compares the issuer exactly")
	case id.SubjectRegExp != "":
		c.refuse(p, a, "keyless.identities[0].subjectRegExp", "policy.json compares the subject exactly")
	case !strings.Contains(id.Subject, "@") || strings.ContainsAny(id.Subject, ":/"):
		c.refuse(p, a, "keyless.identities[0].subject", "policy.json knows e-mail addresses only, and no URIs such as those of CI systems")
	}
	if !a.InsecureIgnoreSCT {
		c.refuse(p, a, "keyless.insecureIgnoreSCT", "policy.json does not check certificate timestamps (SCTs), which this policy demands; set it to true to do without them everywhere")
	}
	root := c.root(p, a, "keyless.trustRootRef", a.TrustRoot)
	if root == nil {
		return Rule{}
	}
	issuing := c.issuing(p, a, root)
	logs := c.logs(p, a)
	if len(c.problems) > 0 {
		return Rule{}
	}
	requirement := map[string]any{
		"type": policyjson.SigstoreSigned, "signedIdentity": matchRepository(),
		"fulcio": map[string]any{"caData": certificates(issuing...), "oidcIssuer": id.Issuer, "subjectEmail": id.Subject},
	}
	put(requirement, "rekorPublicKeyData", logs)
	return Rule{Requirements: c.requirement(p, requirement), Attachments: true}
}

// issuing are the certificates that issue those of signers. They and not their
// root are what policy.json is to trust: under a root it would accept
// intermediates that the trust root does not name.
func (c *compiler) issuing(p *policy.Policy, a *policy.Authority, root *trust.Root) []*x509.Certificate {
	var out []*x509.Certificate
	for _, ca := range root.CertificateAuthorities {
		if a.CAURL != "" && ca.URI != a.CAURL || !ca.Window.End.IsZero() {
			continue // policy.json would go on accepting one that has ended
		}
		cert := ca.Root
		if len(ca.Intermediates) > 0 {
			cert = ca.Intermediates[0]
		}
		if cert.MaxPathLen != 0 || !cert.MaxPathLenZero {
			c.refuse(p, a, "keyless.trustRootRef", fmt.Sprintf("the certificate of %q in trust root %s may issue further authorities, which policy.json would accept", cert.Subject, root.Name))
			continue
		}
		out = append(out, cert)
	}
	if len(out) == 0 {
		c.refuse(p, a, "keyless.trustRootRef", fmt.Sprintf("trust root %s has no certificate authority without an end that policy.json can be told of", root.Name))
	}
	return out
}

// openPGP compiles a keyring.
func (c *compiler) openPGP(p *policy.Policy, a *policy.Authority) Rule {
	c.plain(p, a)
	if a.OpenPGP.Lookaside == "" {
		c.refuse(p, a, "openpgp.lookaside", "is empty, and registries.d needs one")
	}
	if len(c.problems) > 0 {
		return Rule{}
	}
	return Rule{
		Requirements: c.requirement(p, map[string]any{
			"type": policyjson.SignedBy, "keyType": "GPGKeys", "keyData": a.OpenPGP.Keyring, "signedIdentity": matchRepository(),
		}),
		Lookaside: a.OpenPGP.Lookaside,
	}
}
