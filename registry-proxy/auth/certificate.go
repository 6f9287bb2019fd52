package auth

import (
	"crypto/x509"
	"strings"
)

// certificateName is the name that a verified client certificate is for: its first URI, e-mail address or DNS name, else
// its common name. It is empty if none of them is a name.
func certificateName(c *x509.Certificate) string {
	var names []string
	for _, u := range c.URIs {
		names = append(names, u.String())
	}
	names = append(append(append(names, c.EmailAddresses...), c.DNSNames...), c.Subject.CommonName)
	name := names[0]
	if len(name) > maxName || strings.ContainsFunc(name, unprintable) {
		return ""
	}
	return name
}
