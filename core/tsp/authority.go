package tsp

import "crypto/x509"

// Authority is a timestamp authority's certificates, as the trust root names
// them.
type Authority struct {
	Leaf          *x509.Certificate   // the certificate that signs tokens
	Intermediates []*x509.Certificate // may be empty
	Root          *x509.Certificate
}
