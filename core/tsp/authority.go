package tsp

import "crypto/x509"

// Authority is a trusted timestamp authority: the certificate that it signs with and the way from there to its root.
type Authority struct {
	// Leaf signs the tokens. It is required: an authority is never identified by what a token brings along.
	Leaf *x509.Certificate
	// Intermediates lie between Leaf and Root; nil when Root issued Leaf itself.
	Intermediates []*x509.Certificate
	// Root is required.
	Root *x509.Certificate
}
