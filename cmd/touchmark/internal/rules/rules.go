// Package rules is what a command is told about what is demanded of images, and by which
// trust roots: by flags ([Flags]), or by a host's configuration ([HostFlags], [HostRules]).
// It reads policies and trust roots, and gives a gate or its parts. Its errors have their
// exit statuses.
package rules

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"reflect"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/keyopen"
	"github.com/touchmark/touchmark/core/configfile"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/hostconfig"
	"github.com/touchmark/touchmark/core/identity"
	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/predicate"
	"github.com/touchmark/touchmark/core/trust"
)

// Flags say what is demanded of an image: a host's configuration, a policy file, or one signer.
type Flags struct {
	Policy             string // file or directory of policy documents
	IgnoreClusterMatch bool   // what only has a meaning in a cluster, in it
	Roots              RootFlags

	config                                         string
	identity, identityRegexp, issuer, issuerRegexp string
	key                                            string
	predicateType, caChain                         string
	timestamps                                     bool
	insecureIgnoreTlog, insecureIgnoreSCT          bool
}

// Register adds the flags to a command.
func (f *Flags) Register(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.config, "config", "", "`file` of a host's configuration, with its policies and trust roots (docs/agent.md); without any other rule it is /etc/touchmark/config.yaml, or the user's own")
	fl.StringVar(&f.Policy, "policy", "", "`file` of policy documents, or a directory of them (docs/policy.md)")
	fl.BoolVar(&f.IgnoreClusterMatch, "ignore-cluster-match", false, "with --policy, ignore what only has a meaning in a Kubernetes cluster, instead of refusing it")
	f.Roots.Register(cmd)
	fl.StringVar(&f.identity, "certificate-identity", "", "`identity` (e-mail address, URI) that must have signed")
	fl.StringVar(&f.identityRegexp, "certificate-identity-regexp", "", "regular `expression` that the whole identity must match")
	fl.StringVar(&f.issuer, "certificate-oidc-issuer", "", "`URL` of the OIDC issuer that must have vouched for the identity")
	fl.StringVar(&f.issuerRegexp, "certificate-oidc-issuer-regexp", "", "regular `expression` that the whole issuer must match")
	fl.StringVar(&f.key, "key", "", "public `key` that must have signed: a PEM file, or a key management system's URI")
	fl.StringVar(&f.predicateType, "type", "", "`type` of the attestation that must have been made, in the place of a signature: slsaprovenance1, spdxjson, cyclonedx, openvex, vuln, ... or a URI")
	fl.StringVar(&f.caChain, "certificate-chain", "", "PEM `file` of a certificate authority of your own, issuing certificate first and root last, in the place of the trusted root's")
	fl.BoolVar(&f.timestamps, "use-signed-timestamps", false, "demand an RFC 3161 timestamp of an authority of the trusted root")
	fl.BoolVar(&f.insecureIgnoreTlog, "insecure-ignore-tlog", false, "with --key, accept signatures that are in no log (then no trusted root is needed)")
	fl.BoolVar(&f.insecureIgnoreSCT, "insecure-ignore-sct", false, "accept certificates that are in no certificate log")
}

// Demand reports whether the flags say what is demanded.
func (f Flags) Demand() bool {
	return f.config+f.Policy+f.key+f.identity+f.identityRegexp != ""
}

// Gate loads everything and makes the gate. Every error is one of usage.
func (f Flags) Gate(ctx context.Context) (*gate.Gate, error) {
	set, roots, err := f.Load(ctx)
	if err != nil {
		return nil, err
	}
	return NewGate(set, roots)
}

// NewGate makes a gate. Every error is one of usage.
func NewGate(set *policy.Set, roots []*trust.Root) (*gate.Gate, error) {
	g, err := gate.New(gate.Config{Policy: set, Roots: roots})
	if err != nil {
		return nil, exit.Usage(err)
	}
	return g, nil
}

// Load reads the policies and the trust roots.
func (f Flags) Load(ctx context.Context) (*policy.Set, []*trust.Root, error) {
	if c, err := f.Host(); err != nil || c != nil {
		if err != nil {
			return nil, nil, err
		}
		rules, err := NewHostRules(c)
		if err != nil {
			return nil, nil, exit.Usage(err)
		}
		return rules.Load(ctx)
	}
	roots, err := f.Roots.Load()
	if err != nil {
		return nil, nil, err
	}
	set, err := f.set(ctx, roots)
	if err != nil {
		return nil, nil, exit.Usage(err)
	}
	if roots, err = WithPublicGood(roots, set); err != nil {
		return nil, nil, exit.Usage(err)
	}
	return set, roots, nil
}

// Host is the configuration that --config names or, where nothing at all is said of what is demanded, that of this host or user, if there is one.
func (f Flags) Host() (*hostconfig.Config, error) {
	said := f
	said.config, said.IgnoreClusterMatch = "", false
	demanded := !reflect.DeepEqual(said, Flags{})
	switch {
	case f.config != "" && demanded:
		return nil, exit.Usage(errors.New("--config says itself what is demanded, and by which trust roots; leave the other flags away"))
	case f.config == "" && demanded:
		return nil, nil
	}
	c, err := HostFlags{Config: f.config}.Find().Load()
	if f.config == "" && errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return c, err
}

func (f Flags) set(ctx context.Context, roots []*trust.Root) (*policy.Set, error) {
	signer := f.identity + f.identityRegexp + f.issuer + f.issuerRegexp
	ways := 0
	for _, given := range []bool{f.Policy != "", signer != "", f.key != ""} {
		if given {
			ways++
		}
	}
	switch {
	case ways != 1:
		return nil, errors.New("say what is demanded with exactly one of --config, --policy, --certificate-identity (with --certificate-oidc-issuer) and --key")
	case f.Policy != "" && (f.insecureIgnoreTlog || f.insecureIgnoreSCT || f.timestamps || f.predicateType != "" || f.caChain != ""):
		return nil, errors.New("--insecure-ignore-tlog, --insecure-ignore-sct, --use-signed-timestamps, --type and --certificate-chain don't go with --policy; the policy says it itself")
	case f.Policy != "":
		return policy.Load(ctx, f.Policy, PolicyOptions(f.IgnoreClusterMatch))
	case f.IgnoreClusterMatch:
		return nil, errors.New("--ignore-cluster-match goes with --policy only")
	}
	a, err := f.authority(ctx)
	if err != nil {
		return nil, err
	}
	// With flags, a signer that any one of several trust roots vouches for will do.
	var authorities []*policy.Authority
	for _, root := range roots {
		one := *a
		one.TrustRoot = root.Name
		if len(roots) > 1 {
			one.Name += " under " + root.Name
		}
		authorities = append(authorities, &one)
	}
	if len(authorities) == 0 {
		authorities = []*policy.Authority{a}
	}
	return policy.Any(authorities...), nil
}

// authority is who must have signed or attested, by the flags.
func (f Flags) authority(ctx context.Context) (*policy.Authority, error) {
	a := &policy.Authority{Name: "flags", RequireTimestamp: f.timestamps, InsecureIgnoreSCT: f.insecureIgnoreSCT}
	if f.predicateType != "" {
		uri, err := predicate.TypeURI(f.predicateType)
		if err != nil {
			return nil, fmt.Errorf("--type: %w", err)
		}
		a.Attestations = []policy.Attestation{{Name: f.predicateType, PredicateType: uri}}
	}
	if f.key != "" {
		pub, err := keys.OpenPublic(ctx, f.key, keyopen.Public())
		if err != nil {
			return nil, fmt.Errorf("--key: %w", err)
		}
		a.Name, a.Key, a.RequireLog = keys.Redact(f.key), pub, !f.insecureIgnoreTlog // a name stands in verdicts, a PIN must not
		return a, nil
	}
	m, err := MatchSigner(identity.Spec{
		Issuer: f.issuer, IssuerRegExp: f.issuerRegexp, Subject: f.identity, SubjectRegExp: f.identityRegexp,
		NoIssuer: f.caChain != "" && f.issuer+f.issuerRegexp == "", // an authority of one's own may know its subjects without one
	})
	if err != nil {
		return nil, err
	}
	// A timestamp beside the log entry, not in its place.
	a.Identities, a.RequireLog = []*identity.Matcher{m}, true
	if f.caChain != "" {
		if a.CACert, err = readCertificates(f.caChain); err != nil {
			return nil, fmt.Errorf("--certificate-chain: %w", err)
		}
	}
	return a, nil
}

// MatchSigner makes the matcher of a signer that is given by flags, and says which flag is missing.
func MatchSigner(s identity.Spec) (*identity.Matcher, error) {
	switch {
	case s.Subject+s.SubjectRegExp == "":
		return nil, errors.New("--certificate-identity is missing: whom the issuer vouches for")
	case s.Issuer+s.IssuerRegExp == "" && !s.NoIssuer:
		return nil, errors.New("--certificate-oidc-issuer is missing: who vouches for the identity")
	}
	m, err := identity.NewMatcher(s)
	if err != nil {
		return nil, fmt.Errorf("--certificate-oidc-issuer is the issuer, --certificate-identity the subject: %w", err)
	}
	return m, nil
}

// maxChain bounds a file of certificates, in bytes.
const maxChain = 256 << 10

func readCertificates(path string) ([]*x509.Certificate, error) {
	data, err := configfile.Read(path, maxChain)
	if err != nil {
		return nil, err
	}
	var chain []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if block.Type != "CERTIFICATE" || err != nil {
			return nil, fmt.Errorf("%s: PEM block %d is not a certificate", path, len(chain)+1)
		}
		chain = append(chain, cert)
	}
	if len(chain) == 0 {
		return nil, fmt.Errorf("%s: holds no PEM certificate", path)
	}
	return chain, nil
}
