package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/identity"
	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/trust/publicgood"
)

// ruleFlags say what is demanded of an image: a policy file, or one signer.
type ruleFlags struct {
	policy                                         string
	roots                                          rootFlags
	identity, identityRegexp, issuer, issuerRegexp string
	key                                            string
	insecureIgnoreTlog, insecureIgnoreSCT          bool
}

func (f *ruleFlags) register(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.policy, "policy", "", "`file` of ClusterImagePolicy documents")
	f.roots.register(cmd)
	fl.StringVar(&f.identity, "certificate-identity", "", "`identity` (e-mail address, URI) that must have signed")
	fl.StringVar(&f.identityRegexp, "certificate-identity-regexp", "", "regular `expression` that the whole identity must match")
	fl.StringVar(&f.issuer, "certificate-oidc-issuer", "", "`URL` of the OIDC issuer that must have vouched for the identity")
	fl.StringVar(&f.issuerRegexp, "certificate-oidc-issuer-regexp", "", "regular `expression` that the whole issuer must match")
	fl.StringVar(&f.key, "key", "", "PEM `file` of the public key that must have signed")
	fl.BoolVar(&f.insecureIgnoreTlog, "insecure-ignore-tlog", false, "with --key, accept signatures that are in no log (then no trusted root is needed)")
	fl.BoolVar(&f.insecureIgnoreSCT, "insecure-ignore-sct", false, "accept certificates that are in no certificate log")
}

// gate loads everything and makes the gate. Every error is one of usage.
func (f ruleFlags) gate(ctx context.Context) (*gate.Gate, error) {
	roots, err := f.roots.load()
	if err != nil {
		return nil, err
	}
	set, err := f.set(ctx)
	if err != nil {
		return nil, usageError(err)
	}
	if roots, err = withPublicGood(roots, set); err != nil {
		return nil, usageError(err)
	}
	g, err := gate.New(gate.Config{Policy: set, Roots: roots})
	if err != nil {
		if len(roots) == 0 {
			err = fmt.Errorf("%w; give --trusted-root", err)
		}
		return nil, usageError(err)
	}
	return g, nil
}

func (f ruleFlags) set(ctx context.Context) (*policy.Set, error) {
	signer := f.identity + f.identityRegexp + f.issuer + f.issuerRegexp
	ways := 0
	for _, given := range []bool{f.policy != "", signer != "", f.key != ""} {
		if given {
			ways++
		}
	}
	switch {
	case ways != 1:
		return nil, errors.New("say what is demanded with exactly one of --policy, --certificate-identity (with --certificate-oidc-issuer) and --key")
	case f.policy != "" && (f.insecureIgnoreTlog || f.insecureIgnoreSCT):
		return nil, errors.New("--insecure-ignore-tlog and --insecure-ignore-sct don't go with --policy; the policy says it itself")
	case f.policy != "":
		return policy.Load(ctx, f.policy, policy.Options{})
	case f.key != "":
		pub, err := keys.LoadPublic(f.key)
		if err != nil {
			return nil, fmt.Errorf("--key: %w", err)
		}
		return policy.Any(&policy.Authority{Name: f.key, Key: pub, RequireLog: !f.insecureIgnoreTlog}), nil
	}
	m, err := identity.NewMatcher(identity.Spec{
		Issuer: f.issuer, IssuerRegExp: f.issuerRegexp, Subject: f.identity, SubjectRegExp: f.identityRegexp,
	})
	if err != nil {
		return nil, fmt.Errorf("--certificate-oidc-issuer is the issuer, --certificate-identity the subject: %w", err)
	}
	return policy.Any(&policy.Authority{Name: "flags", Identities: []*identity.Matcher{m}, InsecureIgnoreSCT: f.insecureIgnoreSCT}), nil
}

// withPublicGood adds the embedded root of Sigstore's public-good instance if a policy names it and no other root has its name.
func withPublicGood(roots []*trust.Root, set *policy.Set) ([]*trust.Root, error) {
	for _, root := range roots {
		if root.Name == publicgood.Name {
			return roots, nil
		}
	}
	for _, p := range set.Policies {
		for _, a := range p.Authorities {
			if a.TrustRoot == publicgood.Name {
				root, err := publicgood.Root(publicgood.Name)
				return append(roots, root), err
			}
		}
	}
	return roots, nil
}

// rootFlags name trusted_root.json files.
type rootFlags struct {
	files []string
}

func (f *rootFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.files, "trusted-root", nil, "`file` (or NAME=FILE, for a policy's trustRootRef) of a trusted_root.json, or public-good for Sigstore's own, as of "+publicgood.Date+"; may be repeated")
}

// defaultRoot is the name of a trust root that is given without one.
const defaultRoot = "default"

func (f rootFlags) load() ([]*trust.Root, error) {
	var roots []*trust.Root
	for _, file := range f.files {
		rootName := defaultRoot
		if file == publicgood.Name {
			rootName = publicgood.Name
		}
		if before, after, found := strings.Cut(file, "="); found && !strings.Contains(before, "/") {
			rootName, file = before, after
		}
		root, err := loadRoot(rootName, file)
		if err != nil {
			return nil, usageError(fmt.Errorf("--trusted-root: %w", err))
		}
		roots = append(roots, root)
	}
	return roots, nil
}

// loadRoot reads a file, or takes the embedded root that has a name in the place of one.
func loadRoot(name, file string) (*trust.Root, error) {
	if file == publicgood.Name {
		return publicgood.Root(name)
	}
	return trust.Load(name, file)
}
