package verify_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"slices"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/identity"
	"github.com/touchmark/touchmark/core/sct"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/verify"
)

type spec = coretest.CertificateSpec

func change(f func(*spec)) []func(*spec) { return []func(*spec){f} }

// TestA163_LIB25_Profile issues certificates that are wrong in one thing.
func TestA163_LIB25_Profile(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		name   string
		change func(*x509.Certificate)
		want   verify.Code
	}{
		{"unchanged", func(*x509.Certificate) {}, ""},
		{"an unknown extension", func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Value: []byte{5, 0}})
		}, ""},
		{"an unknown critical extension", func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}})
		}, verify.CodeCertificate},
		{"CA:TRUE", func(c *x509.Certificate) { c.BasicConstraintsValid, c.IsCA = true, true }, verify.CodeCertificate},
		{"CA:TRUE with keyCertSign", func(c *x509.Certificate) {
			c.BasicConstraintsValid, c.IsCA, c.KeyUsage = true, true, c.KeyUsage|x509.KeyUsageCertSign
		}, verify.CodeCertificate},
		{"CA:FALSE", func(c *x509.Certificate) { c.BasicConstraintsValid = true }, ""},
		{"keyCertSign", func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign }, verify.CodeCertificate},
		{"cRLSign", func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCRLSign }, verify.CodeCertificate},
		{"no digitalSignature", func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }, verify.CodeCertificate},
		{"no key usage", func(c *x509.Certificate) { c.KeyUsage = 0 }, verify.CodeCertificate},
		{"no extended key usage", func(c *x509.Certificate) { c.ExtKeyUsage = nil }, verify.CodeCertificate},
		{"server authentication", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }, verify.CodeCertificate},
		{"any", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }, verify.CodeCertificate},
		{"code signing and any", func(c *x509.Certificate) {
			c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageAny)
		}, verify.CodeCertificate},
		{"code signing and timestamping", func(c *x509.Certificate) {
			c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageTimeStamping)
		}, verify.CodeCertificate},
		{"code signing and an unknown one", func(c *x509.Certificate) {
			c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 2, 3, 4}}
		}, verify.CodeCertificate},
		{"expired before it began", func(c *x509.Certificate) { c.NotAfter = c.NotBefore.Add(-time.Second) }, verify.CodeUntrustedCA},
		{"a common name", func(c *x509.Certificate) { c.Subject.CommonName = mallory.SAN.Value }, ""},
	} {
		for form, options := range forms(w) {
			options.Certificate = change(func(s *spec) { tt.change(s.Template) })
			requireCode(t, form+": "+tt.name, w.input(t, w.sign(t, options)), tt.want)
		}
	}
}

// TestA053_LIB19_LIB22_LIB23_Identity issues certificates whose identity is
// malformed, from a CA that lets everything through.
func TestA053_LIB19_LIB22_LIB23_Identity(t *testing.T) {
	w := newWorld(t)
	fulcio := func(arc int) asn1.ObjectIdentifier {
		return asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, arc}
	}
	set := func(id asn1.ObjectIdentifier, value []byte) func(*spec) {
		return func(s *spec) {
			exts := slices.Clone(s.Template.ExtraExtensions)
			for i := range exts {
				if exts[i].Id.Equal(id) {
					if exts[i].Value = value; value == nil {
						exts = slices.Delete(exts, i, i+1)
					}
					s.Template.ExtraExtensions = exts
					return
				}
			}
			s.Template.ExtraExtensions = append(exts, pkix.Extension{Id: id, Value: value})
		}
	}
	san := func(names ...asn1.RawValue) func(*spec) {
		value, err := asn1.Marshal(names)
		if err != nil {
			t.Fatal(err)
		}
		return set(asn1.ObjectIdentifier{2, 5, 29, 17}, value)
	}
	email := func(s string) asn1.RawValue {
		return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 1, Bytes: []byte(s)}
	}
	for _, tt := range []struct {
		name   string
		change func(*spec)
		want   verify.Code
	}{
		{"unchanged", func(*spec) {}, ""},
		{"a second name", san(email(alice.SAN.Value), email(mallory.SAN.Value)), verify.CodeCertificate},
		{"a second name in front", san(email(mallory.SAN.Value), email(alice.SAN.Value)), verify.CodeCertificate},
		{"newline in the name", san(email("alice@acme.example\n")), verify.CodeCertificate},
		{"NUL in the name", san(email("alice@acme.example\x00.evil.example")), verify.CodeCertificate},
		{"no name", set(asn1.ObjectIdentifier{2, 5, 29, 17}, nil), verify.CodeCertificate},
		{"DNS name", san(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 2, Bytes: []byte("acme.example")}), verify.CodeCertificate},
		{"e-mail in a URI's place", san(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte(alice.SAN.Value)}), verify.CodeCertificate},
		{"issuers disagree", set(fulcio(1), []byte("https://other.example")), verify.CodeCertificate},
		{"issuer not DER", set(fulcio(8), []byte(alice.Issuer)), verify.CodeCertificate},
		{"issuer with trailing byte", set(fulcio(8), append(append([]byte{12, byte(len(alice.Issuer))}, alice.Issuer...), 0)), verify.CodeCertificate},
		{"build trigger not DER", set(fulcio(20), []byte("push")), verify.CodeCertificate},
		{"build trigger", set(fulcio(20), append([]byte{12, 4}, "push"...)), ""},
	} {
		e := w.sign(t, coretest.SignOptions{Certificate: change(tt.change)})
		in := w.input(t, e)
		requireCode(t, tt.name, in, tt.want)
		in.Signer = verify.Keyless(matcher(t, identity.Spec{IssuerRegExp: ".*", SubjectRegExp: "(?s).*"}))
		requireCode(t, tt.name+", everybody wanted", in, tt.want)
	}
}

// TestA056_LIB26_Chains is about who issued the certificate. All authorities of
// coretest have the same names: only keys tell them apart.
func TestA056_LIB26_Chains(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	now := coretest.Start
	second := &coretest.CA{RootKey: w.CA.RootKey, Root: w.CA.Root, Key: coretest.NewKey(t)}
	second.Intermediate = coretest.Issue(t, w.CA.Intermediate, w.CA.Root, second.Key.Public(), w.CA.RootKey)
	both := func(r *trust.Root) {
		r.CertificateAuthorities[0].Intermediates = []*x509.Certificate{second.Intermediate, w.CA.Intermediate}
	}
	byCA := func(ca *coretest.CA) []func(*spec) { return change(func(s *spec) { s.CA = ca }) }
	expired := *w.CA
	expired.Intermediate = reissue(t, w.CA, func(c *x509.Certificate) { c.NotBefore, c.NotAfter = now.Add(-2*time.Hour), now.Add(-time.Hour) })
	leafCA := &coretest.CA{RootKey: w.CA.RootKey, Root: w.CA.Root, Key: coretest.NewKey(t)} // an intermediate that may not issue
	leafCA.Intermediate = coretest.Issue(t, &x509.Certificate{
		Subject: w.CA.Intermediate.Subject, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}, BasicConstraintsValid: true,
	}, w.CA.Root, leafCA.Key.Public(), w.CA.RootKey)
	tlsCA := &coretest.CA{RootKey: w.CA.RootKey, Root: w.CA.Root, Key: w.CA.Key,
		Intermediate: reissue(t, w.CA, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })}
	for _, tt := range []struct {
		name    string
		options coretest.SignOptions
		root    func(*trust.Root)
		want    verify.Code
	}{
		{"the authority", coretest.SignOptions{}, nil, ""},
		{"another authority of the same names", coretest.SignOptions{Certificate: byCA(other.CA)}, nil, verify.CodeUntrustedCA},
		{"two intermediates of one name, the first", coretest.SignOptions{}, both, ""},
		{"two intermediates of one name, the second", coretest.SignOptions{Certificate: byCA(second)}, both, ""},
		{"an intermediate that is not in the root", coretest.SignOptions{Certificate: byCA(second)}, nil, verify.CodeUntrustedCA},
		{"the intermediate without its root", coretest.SignOptions{}, func(r *trust.Root) { r.CertificateAuthorities[0].Root = other.CA.Root }, verify.CodeUntrustedCA},
		{"an expired intermediate", coretest.SignOptions{}, func(r *trust.Root) {
			r.CertificateAuthorities[0].Intermediates = []*x509.Certificate{expired.Intermediate}
		}, verify.CodeUntrustedCA},
		{"an intermediate that may not issue", coretest.SignOptions{Certificate: byCA(leafCA)}, func(r *trust.Root) {
			r.CertificateAuthorities[0].Intermediates = []*x509.Certificate{leafCA.Intermediate}
		}, verify.CodeUntrustedCA},
		{"an intermediate for servers", coretest.SignOptions{}, func(r *trust.Root) {
			r.CertificateAuthorities[0].Intermediates = []*x509.Certificate{tlsCA.Intermediate}
		}, verify.CodeUntrustedCA},
		{"two authorities, the second issued it", coretest.SignOptions{}, func(r *trust.Root) {
			r.CertificateAuthorities = []trust.CertificateAuthority{other.root.CertificateAuthorities[0], r.CertificateAuthorities[0]}
		}, ""},
		{"the chain of one authority, the window of another", coretest.SignOptions{}, func(r *trust.Root) {
			retired := r.CertificateAuthorities[0]
			retired.Window.End = now.Add(-time.Second)
			r.CertificateAuthorities = []trust.CertificateAuthority{retired, other.root.CertificateAuthorities[0]}
		}, verify.CodeUntrustedCA},
		{"no authority", coretest.SignOptions{}, func(r *trust.Root) { r.CertificateAuthorities = nil }, verify.CodeUntrustedCA},
	} {
		in := w.input(t, w.sign(t, tt.options))
		if tt.root != nil {
			in.Root = w.Root()
			tt.root(in.Root)
		}
		requireCode(t, tt.name, in, tt.want)
	}

	// The rest of a chain that comes with the evidence is never read: it neither
	// helps nor harms.
	e := w.sign(t, coretest.SignOptions{})
	e.Certificates = append(e.Certificates, other.CA.Intermediate.Raw, other.CA.Root.Raw, []byte("garbage"))
	requireAccepted(t, "a foreign chain behind the leaf", w.input(t, e))
	e = w.sign(t, coretest.SignOptions{Certificate: byCA(other.CA)})
	e.Certificates = append(e.Certificates, other.CA.Intermediate.Raw, other.CA.Root.Raw)
	requireCode(t, "an authority brought along", w.input(t, e), verify.CodeUntrustedCA)
	e.Certificates = slices.Insert(e.Certificates, 1, w.CA.Intermediate.Raw, w.CA.Root.Raw)
	requireCode(t, "the true chain behind a foreign leaf", w.input(t, e), verify.CodeUntrustedCA)
	e = w.sign(t, coretest.SignOptions{})
	e.Certificates = [][]byte{w.CA.Intermediate.Raw, e.Certificates[0]}
	requireCode(t, "a chain in the wrong order", w.input(t, e), verify.CodeCertificate)
	e.Certificates[0] = []byte("garbage")
	requireCode(t, "garbage for a leaf", w.input(t, e), verify.CodeCertificate)
}

// reissue makes the intermediate again, changed, with the same key.
func reissue(tb testing.TB, ca *coretest.CA, change func(*x509.Certificate)) *x509.Certificate {
	tb.Helper()
	c := *ca.Intermediate
	c.SerialNumber = nil
	change(&c)
	return coretest.Issue(tb, &c, ca.Root, ca.Key.Public(), ca.RootKey)
}

// TestA055_LIB27_LIB28_SCT is about the certificate log's promises.
func TestA055_LIB27_LIB28_SCT(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	second := coretest.NewCTLog(t)
	// Each certificate has a serial number of its own, so these promises are
	// about another certificate.
	foreign := sctsOf(t, w.sign(t, coretest.SignOptions{}))
	list := func(f func([]sct.SCT) []sct.SCT) []func(*spec) { return change(func(s *spec) { s.SCTs = f }) }
	otherIssuer := change(func(s *spec) {
		s.SCTs = func([]sct.SCT) []sct.SCT {
			tbs := coretest.Issue(t, s.Template, s.CA.Intermediate, s.CA.Key.Public(), s.CA.Key).RawTBSCertificate
			return []sct.SCT{w.CTLog.SCT(t, tbs, other.CA.Key.Public(), coretest.Start)}
		}
	})
	at := func(d time.Duration) []func(*spec) {
		return change(func(s *spec) { s.SCTTime = coretest.Start.Add(d) })
	}
	for _, tt := range []struct {
		name    string
		options coretest.SignOptions
		root    func(*trust.Root)
		want    verify.Code
	}{
		{"one promise", coretest.SignOptions{}, nil, ""},
		{"none", coretest.SignOptions{Certificate: []func(*spec){coretest.PromisedBy()}}, nil, verify.CodeSCT},
		{"of an unknown log", coretest.SignOptions{Certificate: []func(*spec){coretest.PromisedBy(other.CTLog)}}, nil, verify.CodeSCT},
		{"of an unknown log and a known one", coretest.SignOptions{Certificate: []func(*spec){coretest.PromisedBy(other.CTLog, w.CTLog)}}, nil, ""},
		{"of two known logs", coretest.SignOptions{Certificate: []func(*spec){coretest.PromisedBy(w.CTLog, second)}}, func(r *trust.Root) {
			r.CTLogs = append(r.CTLogs, trust.Log{BaseURL: "https://second.example", ID: second.ID, Key: second.Key.Public(), Window: r.CTLogs[0].Window})
		}, ""},
		{"for another certificate", coretest.SignOptions{Certificate: list(func([]sct.SCT) []sct.SCT { return foreign })}, nil, verify.CodeSCT},
		{"for another certificate, and the right one", coretest.SignOptions{Certificate: list(func(s []sct.SCT) []sct.SCT { return append(s, foreign...) })}, nil, ""},
		{"for another issuer", coretest.SignOptions{Certificate: otherIssuer}, nil, verify.CodeSCT},
		{"with another time", coretest.SignOptions{Certificate: list(func(s []sct.SCT) []sct.SCT { s[0].Timestamp++; return s })}, nil, verify.CodeSCT},
		{"with other extensions", coretest.SignOptions{Certificate: list(func(s []sct.SCT) []sct.SCT { s[0].Extensions = nil; return s })}, nil, verify.CodeSCT},
		{"with a broken signature", coretest.SignOptions{Certificate: list(func(s []sct.SCT) []sct.SCT { s[0].Signature[9] ^= 1; return s })}, nil, verify.CodeSCT},
		{"under the ID of another log", coretest.SignOptions{Certificate: list(func(s []sct.SCT) []sct.SCT { s[0].LogID = other.CTLog.ID; return s })}, nil, verify.CodeSCT},
		{"by a signature log's ID", coretest.SignOptions{Certificate: list(func(s []sct.SCT) []sct.SCT { s[0].LogID = w.V1.ID; return s })}, nil, verify.CodeSCT},
		{"malformed list", coretest.SignOptions{Certificate: change(func(s *spec) { s.SCTList = []byte("garbage") })}, nil, verify.CodeSCT},
		{"empty list", coretest.SignOptions{Certificate: change(func(s *spec) { s.SCTList = []byte{4, 2, 0, 0} })}, nil, verify.CodeSCT},
		{"no certificate log is trusted", coretest.SignOptions{}, func(r *trust.Root) { r.CTLogs = nil }, verify.CodeSCT},
		{"made before the log's window", coretest.SignOptions{Certificate: at(-48 * time.Hour)}, nil, verify.CodeSCT},
		{"made after the log's window", coretest.SignOptions{}, func(r *trust.Root) { r.CTLogs[0].Window.End = coretest.Start.Add(-time.Second) }, verify.CodeSCT},
		{"made at the end of the log's window", coretest.SignOptions{}, func(r *trust.Root) { r.CTLogs[0].Window.End = coretest.Start }, ""},
		{"made with the certificate's last second", coretest.SignOptions{Certificate: at(10 * time.Minute)}, nil, ""},
		{"made after the certificate's end", coretest.SignOptions{Certificate: at(10*time.Minute + time.Second)}, nil, verify.CodeSCT},
		{"made in the year 292278994", coretest.SignOptions{Certificate: list(func(s []sct.SCT) []sct.SCT { s[0].Timestamp = 1<<64 - 1; return s })}, nil, verify.CodeSCT},
	} {
		in := w.input(t, w.sign(t, tt.options))
		if tt.root != nil {
			in.Root = w.Root()
			tt.root(in.Root)
		}
		requireCode(t, "certificate timestamp "+tt.name, in, tt.want)
		in.InsecureIgnoreSCT = true
		requireAccepted(t, "certificate timestamp "+tt.name+", ignored", in)
	}
}

func sctsOf(tb testing.TB, e *bundle.Evidence) []sct.SCT {
	tb.Helper()
	scts, err := sct.FromCertificate(parseCertificate(tb, e.Certificates[0]))
	if err != nil || len(scts) == 0 {
		tb.Fatalf("no certificate timestamps (%v)", err)
	}
	return scts
}
