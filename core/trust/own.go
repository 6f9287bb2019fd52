package trust

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"slices"
	"sync"
)

// ownChain is what an authority's own chain was found to be, at its first use.
// The copies of an authority share it.
type ownChain struct {
	certificates []*x509.Certificate // as they were read

	once sync.Once
	err  error // the certificates did not issue each other
	// simple says that building a chain through them can fail for no other
	// reason than the leaf and the time.
	simple bool
}

// Check checks that the certificates of every authority issued each other, and
// names the first place where they did not. [Parse] leaves that until an
// authority is first used, because it is dear (0.7 ms for a P-384 certificate) and one
// verification uses one or two authorities. Whoever keeps a root, or hands it on, calls Check to
// learn of a mistake at once. Nothing is ever admitted under an authority that
// Check refuses.
func (r *Root) Check() error {
	for i := range r.CertificateAuthorities {
		if err := r.CertificateAuthorities[i].Check(); err != nil {
			return fmt.Errorf("trusted root %s: certificateAuthorities[%d].certChain: %w", r.Name, i, err)
		}
	}
	for i := range r.TimestampAuthorities {
		if err := r.TimestampAuthorities[i].Authority.Check(); err != nil {
			return fmt.Errorf("trusted root %s: timestampAuthorities[%d].certChain: %w", r.Name, i, err)
		}
	}
	return nil
}

// Check checks that each certificate of the authority was issued by the one
// above it. That of an authority from a file or from [FromPKI] is done but once.
func (ca *CertificateAuthority) Check() error {
	if !ca.isOwn() {
		return checkLinks(ca.chain())
	}
	ca.own.once.Do(ca.own.check)
	return ca.own.err
}

// isOwn reports whether the certificates are still those that were read.
func (ca *CertificateAuthority) isOwn() bool {
	if ca.own == nil {
		return false
	}
	last := len(ca.own.certificates) - 1
	return ca.own.certificates[last] == ca.Root && slices.Equal(ca.own.certificates[:last], ca.Intermediates)
}

// check makes the checks that x509.Certificate.Verify makes of a chain.
func (o *ownChain) check() {
	if o.err = checkLinks(o.certificates); o.err != nil {
		return
	}
	for i, c := range o.certificates {
		switch {
		case isConstraining(c), !allowsCodeSigning(c), !c.BasicConstraintsValid, !c.IsCA:
			return
		case c.MaxPathLen >= 0 && i > c.MaxPathLen:
			return
		case i > 0 && !bytes.Equal(o.certificates[i-1].RawIssuer, c.RawSubject):
			return
		}
	}
	o.simple = true
}

func checkLinks(chain []*x509.Certificate) error {
	for i := range len(chain) - 1 {
		if err := chain[i].CheckSignatureFrom(chain[i+1]); err != nil {
			return fmt.Errorf("certificate %d of its chain was not issued by certificate %d: %w", i, i+1, err)
		}
	}
	return nil
}
