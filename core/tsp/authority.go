package tsp

import (
	"crypto/x509"
	"slices"
	"time"
)

// Authority is a trusted timestamp authority: the certificate that it signs with and the way from there to its root.
type Authority struct {
	// Leaf signs the tokens. It is required: an authority is never identified by what a token brings along.
	Leaf *x509.Certificate
	// Intermediates lie between Leaf and Root; nil when Root issued Leaf itself.
	Intermediates []*x509.Certificate
	// Root is required.
	Root *x509.Certificate

	known *knownChain // see Remember
}

// knownChain is a chain that is good at every time between two.
type knownChain struct {
	certificates []*x509.Certificate
	from, to     time.Time // when all of them are valid, both included
}

// Remember returns the authority with the knowledge that its chain is good, so that [Token.Verify] need not check it for every token. Where that isn't
// so, at times at which not all certificates are valid, and when a field is changed afterwards, the chain is checked as without it.
func (a Authority) Remember() Authority {
	a.known = nil
	if a.Leaf == nil || a.Root == nil {
		return a
	}
	known := &knownChain{certificates: a.certificates(), from: a.Leaf.NotBefore, to: a.Leaf.NotAfter}
	for _, c := range known.certificates {
		if c.NotBefore.After(known.from) {
			known.from = c.NotBefore
		}
		if c.NotAfter.Before(known.to) {
			known.to = c.NotAfter
		}
	}
	if known.to.Before(known.from) {
		return a
	}
	// What x509 checks depends on the time by the certificates' validity alone. No certificate may lie beside the way.
	chains, err := a.verifyChain(known.from)
	if err == nil && slices.ContainsFunc(chains, func(chain []*x509.Certificate) bool { return slices.Equal(chain, known.certificates) }) {
		a.known = known
	}
	return a
}

// Remembered reports whether anything is remembered.
func (a Authority) Remembered() bool { return a.known != nil }

func (a Authority) certificates() []*x509.Certificate {
	return slices.Concat([]*x509.Certificate{a.Leaf}, a.Intermediates, []*x509.Certificate{a.Root})
}

// checkChain checks the way from leaf to root at a time.
func (a Authority) checkChain(at time.Time) error {
	if k := a.known; k != nil && !at.Before(k.from) && !at.After(k.to) && a.isKnown() {
		return nil
	}
	_, err := a.verifyChain(at)
	return err
}

// isKnown reports whether the certificates are still those that are remembered.
func (a Authority) isKnown() bool {
	last := len(a.known.certificates) - 1
	return a.known.certificates[0] == a.Leaf && a.known.certificates[last] == a.Root && slices.Equal(a.known.certificates[1:last], a.Intermediates)
}

func (a Authority) verifyChain(at time.Time) ([][]*x509.Certificate, error) {
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(a.Root)
	for _, c := range a.Intermediates {
		intermediates.AddCert(c)
	}
	return a.Leaf.Verify(x509.VerifyOptions{
		Roots:         roots,
		Intermediates: intermediates,
		CurrentTime:   at,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping},
	})
}
