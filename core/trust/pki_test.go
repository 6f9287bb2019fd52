package trust_test

import (
	"crypto/x509"
	"testing"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/trust"
)

// TestFromPKI makes authorities of chains, as keyless.ca-cert brings them.
func TestFromPKI(t *testing.T) {
	ca, other := coretest.NewCA(t, coretest.Start), coretest.NewCA(t, coretest.Start)
	leaf := coretest.Issue(t, &x509.Certificate{Subject: ca.Root.Subject, NotAfter: ca.Root.NotAfter}, ca.Root, coretest.NewKey(t).Public(), ca.RootKey)
	for name, tt := range map[string]struct {
		chain []*x509.Certificate
		ok    bool
	}{
		"intermediate and root":    {[]*x509.Certificate{ca.Intermediate, ca.Root}, true},
		"root alone":               {[]*x509.Certificate{ca.Root}, true},
		"intermediate alone":       {[]*x509.Certificate{ca.Intermediate}, true},
		"none":                     {nil, false},
		"the wrong way round":      {[]*x509.Certificate{ca.Root, ca.Intermediate}, false},
		"another root of the name": {[]*x509.Certificate{ca.Intermediate, other.Root}, false},
		"a leaf":                   {[]*x509.Certificate{leaf, ca.Root}, false},
		"nine":                     {[]*x509.Certificate{ca.Root, ca.Root, ca.Root, ca.Root, ca.Root, ca.Root, ca.Root, ca.Root, ca.Root}, false},
	} {
		got, err := trust.FromPKI(tt.chain)
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil && (got.Root != tt.chain[len(tt.chain)-1] || len(got.Intermediates) != len(tt.chain)-1) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
