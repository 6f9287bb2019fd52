package verify_test

import (
	"crypto/x509"
	"testing"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/identity"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/verify"
)

// TestOwnPKI verifies certificates of an authority that is not Fulcio: without an
// issuer, without certificate timestamps, under chains of several lengths.
func TestOwnPKI(t *testing.T) {
	w := newWorld(t)
	noIssuer := change(func(s *spec) {
		s.Template.ExtraExtensions = s.Template.ExtraExtensions[:1] // the name alone
		s.CTLogs = nil
	})
	byRoot := change(func(s *spec) {
		s.CA = &coretest.CA{Root: s.CA.Root, RootKey: s.CA.RootKey, Intermediate: s.CA.Root, Key: s.CA.RootKey}
	})
	direct := append(noIssuer, byRoot...)
	own := matcher(t, identity.Spec{NoIssuer: true, Subject: alice.SAN.Value})
	everybody := matcher(t, identity.Spec{IssuerRegExp: ".*", SubjectRegExp: ".*"})
	ca := w.CA
	ask := func(what string, e *bundle.Evidence, m *identity.Matcher, want verify.Code, chain ...*x509.Certificate) {
		t.Helper()
		authority, err := trust.FromPKI(chain)
		if err != nil {
			t.Fatal(err)
		}
		root := *w.root
		root.CertificateAuthorities = []trust.CertificateAuthority{authority}
		in := w.input(t, e)
		in.Root, in.Signer, in.InsecureIgnoreSCT = &root, verify.Keyless(m), true
		requireCode(t, what, in, want)
	}
	e := w.sign(t, coretest.SignOptions{Certificate: noIssuer})
	ask("an intermediate's", e, own, "", ca.Intermediate, ca.Root)
	ask("the intermediate alone is trusted", e, own, "", ca.Intermediate)
	ask("the root alone is trusted", e, own, verify.CodeUntrustedCA, ca.Root)
	ask("any issuer is not no issuer", e, everybody, verify.CodeIdentity, ca.Intermediate, ca.Root)
	ask("another subject", e, matcher(t, identity.Spec{NoIssuer: true, Subject: mallory.SAN.Value}), verify.CodeIdentity, ca.Intermediate, ca.Root)
	r := w.sign(t, coretest.SignOptions{Certificate: direct})
	ask("the root's own", r, own, "", ca.Root)
	ask("the root's own, beside an intermediate", r, own, "", ca.Intermediate, ca.Root)
	ask("Fulcio's, where none is wanted", w.sign(t, coretest.SignOptions{}), own, verify.CodeIdentity, ca.Intermediate, ca.Root)
	other := coretest.NewCA(t, coretest.Start)
	ask("another authority of the same names", e, own, verify.CodeUntrustedCA, other.Intermediate, other.Root)

	// The trust root, which the same names stand in, is not asked.
	in := w.input(t, e)
	in.Signer, in.InsecureIgnoreSCT = verify.Keyless(own), true
	requireCode(t, "under the trust root", in, "")
	in.InsecureIgnoreSCT = false
	requireCode(t, "where a certificate log is wanted", in, verify.CodeSCT)
}
