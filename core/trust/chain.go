package trust

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"slices"
	"time"
)

// Chain checks that the authority issued a code-signing certificate, and that
// the authority and every certificate of the chain were valid at all the times,
// of which there must be one. It returns the chain, the leaf first.
//
// The own chain of an authority that comes from a file or from [FromPKI] is
// checked when it is first needed, and remembered: if its certificates did
// not issue each other, nothing under it is good; if they did, only the leaf's
// signature is left to check. Where anything in the chain constrains what is
// below it, or the fields were changed since, everything is checked anew.
func (ca *CertificateAuthority) Chain(untrustedLeaf *x509.Certificate, times []time.Time) ([]*x509.Certificate, error) {
	for _, t := range times {
		if !ca.Window.Contains(t) {
			return nil, fmt.Errorf("%s is trusted %s, but the signature is of %s", ca.URI, ca.Window, t.Format(time.RFC3339))
		}
		if !validAt(untrustedLeaf, t) {
			return nil, fmt.Errorf("the signer's certificate was valid %s, but the signature is of %s", validity(untrustedLeaf), t.Format(time.RFC3339))
		}
	}
	chain, err := ca.issued(untrustedLeaf, times[0])
	if err != nil {
		return nil, err
	}
	for _, c := range chain[1:] {
		for _, t := range times {
			if !validAt(c, t) {
				return nil, fmt.Errorf("the authority's certificate %q was valid %s, but the signature is of %s", c.Subject, validity(c), t.Format(time.RFC3339))
			}
		}
	}
	return chain, nil
}

// issued is the chain of a leaf that the authority issued.
func (ca *CertificateAuthority) issued(leaf *x509.Certificate, at time.Time) ([]*x509.Certificate, error) {
	if !ca.isOwn() {
		return ca.buildChain(leaf, at)
	}
	// A chain is dear to check, and a trust root may have many.
	if !slices.ContainsFunc(ca.own.certificates, func(c *x509.Certificate) bool { return bytes.Equal(c.RawSubject, leaf.RawIssuer) }) {
		return nil, x509.UnknownAuthorityError{Cert: leaf}
	}
	if err := ca.Check(); err != nil {
		return nil, fmt.Errorf("certificate authority %s: %w", ca.URI, err)
	}
	if chain := ca.knownChain(leaf); chain != nil {
		return chain, nil
	}
	return ca.buildChain(leaf, at)
}

// chain is the authority's own.
func (ca *CertificateAuthority) chain() []*x509.Certificate {
	return slices.Concat(ca.Intermediates, []*x509.Certificate{ca.Root})
}

func validAt(c *x509.Certificate, t time.Time) bool {
	return !t.Before(c.NotBefore) && !t.After(c.NotAfter)
}

// validity is a certificate's validity for people.
func validity(c *x509.Certificate) Window { return Window{Start: c.NotBefore, End: c.NotAfter} }

// buildChain checks everything at one time: signatures and constraints do not
// depend on it.
func (ca *CertificateAuthority) buildChain(leaf *x509.Certificate, at time.Time) ([]*x509.Certificate, error) {
	opts := x509.VerifyOptions{
		Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(),
		CurrentTime: at,
		KeyUsages:   []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	}
	opts.Roots.AddCert(ca.Root)
	for _, c := range ca.Intermediates {
		opts.Intermediates.AddCert(c)
	}
	chains, err := leaf.Verify(opts)
	if err != nil {
		return nil, err
	}
	return chains[0], nil
}

// knownChain is the chain of a leaf that the first certificate of a simple chain
// issued; nil if that cannot be said so simply. The chain has been checked.
func (ca *CertificateAuthority) knownChain(leaf *x509.Certificate) []*x509.Certificate {
	known := ca.own.certificates
	if !ca.own.simple || isConstraining(leaf) || !allowsCodeSigning(leaf) || !bytes.Equal(leaf.RawIssuer, known[0].RawSubject) || leaf.CheckSignatureFrom(known[0]) != nil {
		return nil
	}
	return append([]*x509.Certificate{leaf}, known...)
}

// constraining are the extensions with which a certificate restricts what is below
// it: name constraints, policy mappings and constraints, and "inhibit any
// policy" (RFC 5280 section 4.2.1).
var constraining = []asn1.ObjectIdentifier{{2, 5, 29, 30}, {2, 5, 29, 33}, {2, 5, 29, 36}, {2, 5, 29, 54}}

func isConstraining(c *x509.Certificate) bool {
	if len(c.UnhandledCriticalExtensions) > 0 {
		return true
	}
	for _, ext := range c.Extensions {
		if slices.ContainsFunc(constraining, ext.Id.Equal) {
			return true
		}
	}
	return false
}

// allowsCodeSigning reports whether a certificate may stand in a code signer's
// chain. One without any extended key usage may.
func allowsCodeSigning(c *x509.Certificate) bool {
	return len(c.ExtKeyUsage) == 0 && len(c.UnknownExtKeyUsage) == 0 ||
		slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageCodeSigning) || slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny)
}
