package trust_test

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/trust"
)

// TestA161_LIB26_Remembered holds the short way to check a chain against the long one: over authorities that are
// odd in one way each, leaves of several kinds and several times, both must agree. Where
// something in the chain constrains the leaf, nothing may be remembered.
func TestA161_A163_LIB26_Remembered(t *testing.T) {
	now := coretest.Start
	rootKey, key := coretest.NewKey(t), coretest.NewKey(t)
	template := func(name string) *x509.Certificate {
		return &x509.Certificate{
			Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
			KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true, MaxPathLen: -1,
		}
	}
	type odd = func(root, intermediate *x509.Certificate)
	unknown := pkix.Extension{Id: []int{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}
	policies := pkix.Extension{Id: []int{2, 5, 29, 36}, Critical: true, Value: []byte{0x30, 3, 0x80, 1, 0}} // requireExplicitPolicy 0
	agreed := 0
	for name, tt := range map[string]struct {
		change   odd
		remember bool
	}{
		"ordinary": {func(_, _ *x509.Certificate) {}, true},
		"code signing": {func(r, i *x509.Certificate) {
			r.ExtKeyUsage, i.ExtKeyUsage = usage(x509.ExtKeyUsageCodeSigning), usage(x509.ExtKeyUsageCodeSigning)
		}, true},
		"any usage": {func(r, i *x509.Certificate) {
			r.ExtKeyUsage, i.ExtKeyUsage = usage(x509.ExtKeyUsageAny), usage(x509.ExtKeyUsageAny)
		}, true},
		"a root for servers":                 {func(r, _ *x509.Certificate) { r.ExtKeyUsage = usage(x509.ExtKeyUsageServerAuth) }, false},
		"an intermediate for servers":        {func(_, i *x509.Certificate) { i.ExtKeyUsage = usage(x509.ExtKeyUsageServerAuth) }, false},
		"an intermediate for something else": {func(_, i *x509.Certificate) { i.UnknownExtKeyUsage = append(i.UnknownExtKeyUsage, []int{1, 2, 3}) }, false},
		"a root with a path of 1":            {func(r, _ *x509.Certificate) { r.MaxPathLen = 1 }, true},
		"a root with a path of 0":            {func(r, _ *x509.Certificate) { r.MaxPathLen, r.MaxPathLenZero = 0, true }, false},
		"an intermediate with a path of 0":   {func(_, i *x509.Certificate) { i.MaxPathLen, i.MaxPathLenZero = 0, true }, true},
		"a root for other addresses": {func(r, _ *x509.Certificate) {
			r.PermittedEmailAddresses, r.PermittedDNSDomainsCritical = []string{"evil.example"}, true
		}, false},
		"a root for these addresses": {func(r, _ *x509.Certificate) {
			r.PermittedEmailAddresses, r.PermittedDNSDomainsCritical = []string{"acme.example"}, true
		}, false},
		"an intermediate without these":       {func(_, i *x509.Certificate) { i.ExcludedEmailAddresses = []string{"acme.example"} }, false},
		"an intermediate for other hosts":     {func(_, i *x509.Certificate) { i.PermittedURIDomains = []string{"evil.example"} }, false},
		"a root with policies":                {func(r, _ *x509.Certificate) { r.ExtraExtensions = append(r.ExtraExtensions, policies) }, false},
		"an intermediate with policies":       {func(_, i *x509.Certificate) { i.ExtraExtensions = append(i.ExtraExtensions, policies) }, false},
		"a root with an unknown extension":    {func(r, _ *x509.Certificate) { r.ExtraExtensions = append(r.ExtraExtensions, unknown) }, false},
		"an intermediate with an unknown one": {func(_, i *x509.Certificate) { i.ExtraExtensions = append(i.ExtraExtensions, unknown) }, false},
		"a root that has ended":               {func(r, _ *x509.Certificate) { r.NotAfter = now.Add(-time.Minute) }, true},
		"an intermediate that has ended":      {func(_, i *x509.Certificate) { i.NotAfter = now.Add(-time.Minute) }, true},
		"an intermediate yet to begin":        {func(_, i *x509.Certificate) { i.NotBefore = now.Add(time.Minute) }, true},
	} {
		rootTemplate, template2 := template("root"), template("intermediate")
		tt.change(rootTemplate, template2)
		root := coretest.Issue(t, rootTemplate, nil, rootKey.Public(), rootKey)
		intermediate := coretest.Issue(t, template2, root, key.Public(), rootKey)
		authority, err := trust.FromPKI([]*x509.Certificate{intermediate, root})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := authority.TestingOnlyRemembers(); got != tt.remember {
			t.Errorf("%s: remembered %v, want %v", name, got, tt.remember)
		}
		long := trust.CertificateAuthority{Intermediates: authority.Intermediates, Root: authority.Root}
		for what, leaf := range leaves(t, root, intermediate, rootKey, key) {
			for _, at := range []time.Time{now, now.Add(-30 * time.Second), now.Add(-2 * time.Hour), now.Add(2 * time.Hour), intermediate.NotAfter, intermediate.NotBefore} {
				for _, times := range [][]time.Time{{at}, {now, at}, {at, now}} {
					a, errA := authority.Chain(leaf, times)
					b, errB := long.Chain(leaf, times)
					if (errA == nil) != (errB == nil) || !slices.Equal(a, b) {
						t.Errorf("%s, %s, at %v: %v with memory, %v without", name, what, times, errA, errB)
					}
					if errA == nil {
						agreed++
					}
				}
			}
		}
	}
	if agreed < 100 {
		t.Errorf("only %d chains were good", agreed)
	}
}

func usage(u x509.ExtKeyUsage) []x509.ExtKeyUsage { return []x509.ExtKeyUsage{u} }

// leaves are certificates of several kinds that an intermediate and its root issue.
func leaves(tb testing.TB, root, intermediate *x509.Certificate, rootKey, key crypto.Signer) map[string]*x509.Certificate {
	tb.Helper()
	leaf := func(parent *x509.Certificate, by crypto.Signer, change func(*x509.Certificate)) *x509.Certificate {
		c := &x509.Certificate{
			NotBefore: coretest.Start.Add(-90 * time.Minute), NotAfter: coretest.Start.Add(90 * time.Minute), EmailAddresses: []string{"alice@acme.example"},
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: usage(x509.ExtKeyUsageCodeSigning),
		}
		change(c)
		return coretest.Issue(tb, c, parent, coretest.NewKey(tb).Public(), by)
	}
	same := func(*x509.Certificate) {}
	renamed := *intermediate
	renamed.RawSubject = root.RawSubject
	otherKey := coretest.NewKey(tb)
	forged := *intermediate
	forged.PublicKey = otherKey.Public()
	return map[string]*x509.Certificate{
		"a leaf":                leaf(intermediate, key, same),
		"the root's":            leaf(root, rootKey, same),
		"under another name":    leaf(&renamed, key, same),
		"signed by another key": leaf(&forged, otherKey, same),
		"with a URI": leaf(intermediate, key, func(c *x509.Certificate) {
			c.EmailAddresses, c.URIs = nil, []*url.URL{{Scheme: "https", Host: "acme.example"}}
		}),
		"for servers":  leaf(intermediate, key, func(c *x509.Certificate) { c.ExtKeyUsage = usage(x509.ExtKeyUsageServerAuth) }),
		"for anything": leaf(intermediate, key, func(c *x509.Certificate) { c.ExtKeyUsage = nil }),
		"an authority": leaf(intermediate, key, func(c *x509.Certificate) {
			c.BasicConstraintsValid, c.IsCA, c.KeyUsage = true, true, x509.KeyUsageCertSign
		}),
		"that demands policies": leaf(intermediate, key, func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: []int{2, 5, 29, 36}, Critical: true, Value: []byte{0x30, 3, 0x80, 1, 0}}}
		}),
		"with an unknown extension": leaf(intermediate, key, func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: []int{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
		}),
	}
}

// TestRememberedIsWhatIsThere: who changes an authority changes what it vouches for.
func TestRememberedIsWhatIsThere(t *testing.T) {
	s, other := coretest.New(t), coretest.New(t)
	root, foreign := s.TrustedRoot(t), other.TrustedRoot(t)
	leaf, err := x509.ParseCertificate(s.Certificate(t, coretest.Email("alice@acme.example"), coretest.NewKey(t).Public()))
	if err != nil {
		t.Fatal(err)
	}
	times := []time.Time{coretest.Start}
	good := root.CertificateAuthorities[0]
	if _, err := good.Chain(leaf, times); err != nil || !good.TestingOnlyRemembers() {
		t.Fatalf("remembered %v, %v", good.TestingOnlyRemembers(), err)
	}
	theirs := foreign.CertificateAuthorities[0]
	for name, change := range map[string]func(*trust.CertificateAuthority){
		"another root":         func(ca *trust.CertificateAuthority) { ca.Root = theirs.Root },
		"another intermediate": func(ca *trust.CertificateAuthority) { ca.Intermediates = theirs.Intermediates },
		"no intermediate":      func(ca *trust.CertificateAuthority) { ca.Intermediates = nil },
		"another window":       func(ca *trust.CertificateAuthority) { ca.Window.End = coretest.Start.Add(-time.Second) },
	} {
		ca := good
		change(&ca)
		if _, err := ca.Chain(leaf, times); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
