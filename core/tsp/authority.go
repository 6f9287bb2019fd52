package tsp

import (
	"crypto/x509"
	"fmt"
	"slices"
	"sync"
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

	own *ownChain // see Remember
}

// ownChain is what an authority's chain was found to be, at its first use. The copies of an authority share it.
type ownChain struct {
	certificates []*x509.Certificate // as they were when Remember was called

	once sync.Once
	err  error // the certificates did not issue each other
	// from and to are when all certificates are valid, both included, if good says that the chain is good at any such time.
	good     bool
	from, to time.Time
}

// Remember returns an authority whose chain is checked once, when it is first used, for it and its copies; they may be used by many goroutines.
// [Token.Verify] then need not check the chain for every token. If the certificates did not issue each other in their order, it refuses all of the authority's.
// At times at which not all certificates are valid, and when a field is changed afterwards, the chain is checked as without it.
func (a Authority) Remember() Authority {
	a.own = nil
	if a.Leaf != nil && a.Root != nil {
		a.own = &ownChain{certificates: a.certificates()}
	}
	return a
}

// Check checks that each certificate was issued by the one above it, whether or not the way from Leaf to Root needs it. A remembered authority's is checked but once.
func (a Authority) Check() error {
	if !a.isOwn() {
		return checkLinks(a.certificates())
	}
	a.own.once.Do(a.own.check)
	return a.own.err
}

// check is the dear part.
func (o *ownChain) check() {
	a := o.authority()
	o.from, o.to = a.Leaf.NotBefore, a.Leaf.NotAfter
	for _, c := range o.certificates {
		if c.NotBefore.After(o.from) {
			o.from = c.NotBefore
		}
		if c.NotAfter.Before(o.to) {
			o.to = c.NotAfter
		}
	}
	// What x509 checks depends on the time by the certificates' validity alone. No certificate may lie beside the way.
	if !o.to.Before(o.from) {
		chains, err := a.verifyChain(o.from)
		o.good = err == nil && slices.ContainsFunc(chains, func(chain []*x509.Certificate) bool { return slices.Equal(chain, o.certificates) })
	}
	// A good chain's signatures have all been checked. Of others it is to be known which one is wrong.
	if !o.good {
		o.err = checkLinks(o.certificates)
	}
}

// authority is the one that was remembered.
func (o *ownChain) authority() Authority {
	last := len(o.certificates) - 1
	return Authority{Leaf: o.certificates[0], Intermediates: o.certificates[1:last], Root: o.certificates[last]}
}

func checkLinks(chain []*x509.Certificate) error {
	for i := range len(chain) - 1 {
		if err := chain[i].CheckSignatureFrom(chain[i+1]); err != nil {
			return fmt.Errorf("certificate %d of its chain was not issued by certificate %d: %w", i, i+1, err)
		}
	}
	return nil
}

func (a Authority) certificates() []*x509.Certificate {
	return slices.Concat([]*x509.Certificate{a.Leaf}, a.Intermediates, []*x509.Certificate{a.Root})
}

// isOwn reports whether the certificates are still those that are remembered.
func (a Authority) isOwn() bool {
	if a.own == nil {
		return false
	}
	last := len(a.own.certificates) - 1
	return a.own.certificates[0] == a.Leaf && a.own.certificates[last] == a.Root && slices.Equal(a.own.certificates[1:last], a.Intermediates)
}

// checkChain checks the way from leaf to root at a time.
func (a Authority) checkChain(at time.Time) error {
	if a.isOwn() {
		if err := a.Check(); err != nil {
			return err
		}
		if o := a.own; o.good && !at.Before(o.from) && !at.After(o.to) {
			return nil
		}
	}
	_, err := a.verifyChain(at)
	return err
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
