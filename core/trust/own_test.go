package trust_test

import (
	"crypto/x509"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/tsp"
)

// brokenChains are trusted roots whose authorities did not issue each other's certificates, and what Check says of them.
func brokenChains(t *testing.T, s *coretest.Sigstore, foreign []byte) map[string]struct {
	text []byte
	want string
} {
	t.Helper()
	der := func(raw []byte) any { return map[string]any{"rawBytes": raw} }
	changed := func(path []any, change func(chain []any) []any) []byte {
		o := decode(t, s.TrustedRootJSON(t))
		chain := o.at(append(path, "certChain")...)
		chain["certificates"] = change(chain["certificates"].([]any))
		return encode(t, o)
	}
	type broken = struct {
		text []byte
		want string
	}
	return map[string]broken{
		"chain reversed": {
			changed(ca0, func(c []any) []any { return []any{c[1], c[0]} }),
			"trusted root test: certificateAuthorities[0].certChain: certificate 0 of its chain was not issued by certificate 1",
		},
		"another root of the same name": {
			changed(ca0, func(c []any) []any { return []any{c[0], der(foreign)} }),
			"trusted root test: certificateAuthorities[0].certChain: certificate 0 of its chain was not issued by certificate 1",
		},
		"a certificate beside the way": {
			changed(ca0, func(c []any) []any { return []any{c[0], der(foreign), c[1]} }),
			"trusted root test: certificateAuthorities[0].certChain: certificate 0 of its chain was not issued by certificate 1",
		},
		"a timestamp chain with a certificate beside the way": {
			changed(tsa0, func(c []any) []any { return []any{c[0], c[1], der(foreign), c[2]} }),
			"trusted root test: timestampAuthorities[0].certChain: certificate 1 of its chain was not issued by certificate 2",
		},
		"a timestamp chain with a gap": {
			changed(tsa0, func(c []any) []any { return []any{c[0], c[2]} }),
			"trusted root test: timestampAuthorities[0].certChain: certificate 0 of its chain was not issued by certificate 1",
		},
	}
}

// TestA036_TUF20_BrokenChains: a root whose authorities' chains are broken can be read, Check names the place, and whether or not it was called
// nothing is good under such an authority, in any copy of the root and in any goroutine.
func TestA036_TUF20_BrokenChains(t *testing.T) {
	s, other := coretest.New(t), coretest.New(t)
	times := []time.Time{coretest.Start}
	leaf, err := x509.ParseCertificate(s.Certificate(t, coretest.Email("alice@acme.example"), coretest.NewKey(t).Public()))
	if err != nil {
		t.Fatal(err)
	}
	message := []byte("a signature")
	token, err := tsp.Parse(s.TSA.Stamp(t, message, coretest.Start))
	if err != nil {
		t.Fatal(err)
	}
	use := func(root *trust.Root) (ca, tsa error) {
		_, ca = root.CertificateAuthorities[0].Chain(leaf, times)
		return ca, token.Verify(message, root.TimestampAuthorities[0].Authority)
	}
	good := s.TrustedRoot(t)
	if ca, tsa := use(good); ca != nil || tsa != nil || good.Check() != nil {
		t.Fatalf("the good root: %v, %v, %v", ca, tsa, good.Check())
	}
	for name, tt := range brokenChains(t, s, other.CA.Root.Raw) {
		read := func() *trust.Root {
			root, err := trust.Parse("test", tt.text)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			return root
		}
		require := func(root *trust.Root) {
			_, cause, _ := strings.Cut(tt.want, ".certChain: ")
			ca, tsa := use(root)
			bad, fine := ca, tsa
			if strings.Contains(tt.want, "timestampAuthorities") {
				bad, fine = tsa, ca
			}
			if bad == nil || !strings.Contains(bad.Error(), cause) || fine != nil {
				t.Errorf("%s: %v under the broken authority, want %q; %v under the other", name, bad, cause, fine)
			}
		}
		unchecked := read()
		require(unchecked)
		require(unchecked)
		if err := unchecked.Check(); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: Check says %v after use, want %q", name, err, tt.want)
		}
		root := read()
		var wait sync.WaitGroup
		for i := range 16 {
			wait.Go(func() {
				twin := *root
				twin.CertificateAuthorities = append([]trust.CertificateAuthority(nil), root.CertificateAuthorities...)
				if i%2 == 0 {
					if err := twin.Check(); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
						t.Errorf("%s: Check says %v, want %q", name, err, tt.want)
					}
				}
				require(&twin)
			})
		}
		wait.Wait()
	}
}

// TestCheckOfRootsMadeByHand: what was not read from a file is checked each time.
func TestCheckOfRootsMadeByHand(t *testing.T) {
	s, other := coretest.New(t), coretest.New(t)
	root := s.Root()
	if err := root.Check(); err != nil {
		t.Error(err)
	}
	root.CertificateAuthorities[0].Root = other.CA.Root
	if err := root.Check(); err == nil || !strings.Contains(err.Error(), "certificateAuthorities[0]") {
		t.Errorf("another root: %v", err)
	}
	root = s.TrustedRoot(t)
	if err := root.Check(); err != nil {
		t.Error(err)
	}
	root.TimestampAuthorities[0].Authority.Root = other.CA.Root
	if err := root.Check(); err == nil || !strings.Contains(err.Error(), "timestampAuthorities[0]") {
		t.Errorf("another root of timestamps: %v", err)
	}
}

// TestOnlyTheNamedAuthorityIsChecked: a chain is dear, so a certificate makes no work but for the authority whose name it bears.
func TestOnlyTheNamedAuthorityIsChecked(t *testing.T) {
	s := coretest.New(t)
	template := &x509.Certificate{NotBefore: coretest.Start.Add(-time.Hour), NotAfter: coretest.Start.Add(time.Hour), ExtKeyUsage: usage(x509.ExtKeyUsageCodeSigning)}
	key := coretest.NewKey(t)
	template.Subject.CommonName = "nobody's"
	leaf := coretest.Issue(t, template, nil, key.Public(), key)
	ca := s.TrustedRoot(t).CertificateAuthorities[0]
	_, err := ca.Chain(leaf, []time.Time{coretest.Start})
	if err == nil || err.Error() != "x509: certificate signed by unknown authority" {
		t.Errorf("a leaf of nobody's: %v", err)
	}
	if ca.TestingOnlyRemembers() {
		t.Error("the chain was checked for a leaf that another authority issued")
	}
}
