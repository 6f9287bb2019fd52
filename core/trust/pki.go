package trust

import (
	"crypto/x509"
	"errors"
)

// FromPKI makes a certificate authority of a chain of one's own: the certificate
// that issues first, its root last; one certificate is both. It is an error if
// the chain does not hold together or does not begin with an authority's
// certificate. The authority has no window but its certificates' own.
func FromPKI(chain []*x509.Certificate) (CertificateAuthority, error) {
	if err := checkLength(len(chain)); err != nil {
		return CertificateAuthority{}, err
	}
	if !chain[0].IsCA {
		return CertificateAuthority{}, errors.New("the first certificate is not a certificate authority's")
	}
	last := len(chain) - 1
	ca := CertificateAuthority{Intermediates: chain[:last:last], Root: chain[last]}
	ca.own = &ownChain{certificates: ca.chain()}
	if err := ca.Check(); err != nil {
		return CertificateAuthority{}, err
	}
	return ca, nil
}
