package verify_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/sct"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/verify"
)

// forgery is a certificate that may be wrong in any one thing, with what its authority and its verifier make of it.
type forgery struct {
	template *x509.Certificate // its ExtraExtensions hold the identity
	ca       *coretest.CA
	key      crypto.Signer
	last     []pkix.Extension         // behind the list of promises
	list     func(list []byte) []byte // changes the value of the list
	der      func(der []byte) []byte  // changes the finished certificate
	root     func(root *trust.Root)   // changes what is trusted
}

// wrong is a way for a certificate to be wrong, and how it would be right.
type wrong struct {
	name       string
	code       verify.Code
	bad, right func(*forgery) // right is nil where the unchanged certificate is the twin
}

// TestA163_A161_WrongCertificates issues certificates that are wrong in one way each: rightly signed, promised, stamped and logged. Each has a twin that is admitted.
func TestA163_A161_A164_WrongCertificates(t *testing.T) {
	w := newWorld(t)
	all := slices.Concat(wrongUses(), wrongTimes(w), wrongNames(), wrongClaims(), wrongKeys(t), wrongPromises(), wrongEncodings(), wrongAuthorities(t, w))
	if len(all) < 100 {
		t.Errorf("%d wrong certificates, want 100", len(all))
	}
	names := map[string]bool{}
	for _, c := range all {
		if names[c.name] {
			t.Errorf("%s stands twice", c.name)
		}
		names[c.name] = true
		requireCode(t, c.name, w.forge(t, c.bad), c.code)
		if c.right == nil {
			c.right = func(*forgery) {}
		}
		requireCode(t, "the twin of: "+c.name, w.forge(t, c.right), "")
	}
	t.Logf("%d wrong certificates", len(all))
}

// forge asks about evidence with a changed certificate.
func (w *world) forge(t *testing.T, change func(*forgery)) verify.Input {
	t.Helper()
	extensions, err := alice.CertificateExtensions()
	if err != nil {
		t.Fatal(err)
	}
	now := w.Clock.Now()
	f := &forgery{ca: w.CA, key: coretest.NewKey(t), template: &x509.Certificate{
		SerialNumber: big.NewInt(7), NotBefore: now, NotAfter: now.Add(10 * time.Minute), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}, ExtraExtensions: extensions,
	}}
	change(f)
	poison := pkix.Extension{Id: sct.OIDPoison, Critical: true, Value: asn1.NullBytes}
	tbs := tbsOf(t, f.issue(t, poison, f.last))
	if _, err := sct.PrecertTBS(tbs); err != nil {
		tbs = tbsOf(t, f.issue(t, poison, nil)) // no log promises such a one
	}
	list, err := sct.MarshalList([]sct.SCT{w.CTLog.SCT(t, tbs, f.ca.Key.Public(), now)})
	if err != nil {
		t.Fatal(err)
	}
	if f.list != nil {
		list = f.list(list)
	}
	der := f.issue(t, pkix.Extension{Id: sct.OIDList, Value: list}, f.last)
	if f.der != nil {
		der = f.der(der)
	}
	e := &bundle.Evidence{
		Form: bundle.FormBundle, MediaType: bundle.MediaTypeV03, Certificates: [][]byte{der},
		Envelope: &bundle.Envelope{PayloadType: inToto, Payload: coretest.Statement(digest, "", "")},
	}
	e.Envelope.Signature = coretest.Signature(t, f.key, bundle.PAE(inToto, e.Envelope.Payload))
	e.Timestamps = [][]byte{w.TSA.Stamp(t, e.Envelope.Signature, now)}
	body := coretest.EntryBody(t, e, digest, w.CA.Key.Public(), false) // of a certificate's key nothing stands in it
	e.Entries = []bundle.Entry{w.V1.Add(t, body, now)}
	in := w.input(t, e)
	if f.root != nil {
		in.Root = w.Root()
		f.root(in.Root)
	}
	return in
}

// issue signs the certificate, and does not read it again: much of what is wrong crypto/x509 would not read.
func (f *forgery) issue(t *testing.T, list pkix.Extension, last []pkix.Extension) []byte {
	t.Helper()
	template := *f.template
	template.ExtraExtensions = append(append(slices.Clone(template.ExtraExtensions), list), last...)
	der, err := x509.CreateCertificate(rand.Reader, &template, f.ca.Intermediate, f.key.Public(), f.ca.Key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func tbsOf(t *testing.T, der []byte) []byte {
	t.Helper()
	in := cryptobyte.String(der)
	var certificate, tbs cryptobyte.String
	if !in.ReadASN1(&certificate, cbasn1.SEQUENCE) || !certificate.ReadASN1Element(&tbs, cbasn1.SEQUENCE) {
		t.Fatal("not a certificate")
	}
	return tbs
}

// template is a change of the certificate's template.
func template(change func(*x509.Certificate)) func(*forgery) {
	return func(f *forgery) { change(f.template) }
}

// extended adds extensions.
func extended(extensions ...pkix.Extension) func(*forgery) {
	return func(f *forgery) { f.last = append(f.last, extensions...) }
}

func wrongUses() (all []wrong) {
	for _, bit := range []x509.KeyUsage{
		0, x509.KeyUsageContentCommitment, x509.KeyUsageKeyEncipherment, x509.KeyUsageDataEncipherment, x509.KeyUsageKeyAgreement, x509.KeyUsageCertSign,
		x509.KeyUsageCRLSign, x509.KeyUsageEncipherOnly, x509.KeyUsageDecipherOnly,
	} {
		all = append(all, wrong{fmt.Sprintf("key usage %b alone", bit), verify.CodeCertificate, template(func(c *x509.Certificate) { c.KeyUsage = bit }), nil})
	}
	for _, bit := range []x509.KeyUsage{x509.KeyUsageCertSign, x509.KeyUsageCRLSign, x509.KeyUsageCertSign | x509.KeyUsageCRLSign} {
		all = append(all, wrong{fmt.Sprintf("signatures and key usage %b", bit), verify.CodeCertificate, template(func(c *x509.Certificate) { c.KeyUsage |= bit }),
			template(func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageContentCommitment })})
	}
	for use := x509.ExtKeyUsageAny; use <= x509.ExtKeyUsageMicrosoftKernelCodeSigning; use++ {
		if use == x509.ExtKeyUsageCodeSigning {
			continue
		}
		all = append(all,
			wrong{fmt.Sprintf("extended key usage %d alone", use), verify.CodeCertificate, template(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{use} }), nil},
			wrong{fmt.Sprintf("code signing and extended key usage %d", use), verify.CodeCertificate, template(func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, use) }), nil},
		)
	}
	return append(all,
		wrong{"no extended key usage", verify.CodeCertificate, template(func(c *x509.Certificate) { c.ExtKeyUsage = nil }), nil},
		wrong{"an unknown extended key usage", verify.CodeCertificate, template(func(c *x509.Certificate) {
			c.ExtKeyUsage, c.UnknownExtKeyUsage = nil, []asn1.ObjectIdentifier{{1, 2, 3}}
		}), nil},
		wrong{"code signing twice", verify.CodeCertificate, template(func(c *x509.Certificate) {
			c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageCodeSigning)
		}), nil},
		wrong{"an authority", verify.CodeCertificate, template(func(c *x509.Certificate) { c.BasicConstraintsValid, c.IsCA = true, true }),
			template(func(c *x509.Certificate) { c.BasicConstraintsValid = true })},
		wrong{"an authority of nobody", verify.CodeCertificate, template(func(c *x509.Certificate) {
			c.BasicConstraintsValid, c.IsCA, c.MaxPathLenZero = true, true, true
		}), nil},
	)
}

func wrongTimes(w *world) []wrong {
	now := w.Clock.Now()
	valid := func(from, to time.Duration) func(*forgery) {
		return template(func(c *x509.Certificate) { c.NotBefore, c.NotAfter = now.Add(from), now.Add(to) })
	}
	return []wrong{
		{"ended a second before", verify.CodeUntrustedCA, valid(-time.Minute, -time.Second), valid(-time.Minute, 0)},
		{"begins a second later", verify.CodeUntrustedCA, valid(time.Second, time.Minute), valid(0, time.Minute)},
		{"ends before it begins", verify.CodeUntrustedCA, valid(time.Minute, -time.Minute), valid(0, 0)},
		{"ended years before", verify.CodeUntrustedCA, valid(-9e16, -8e16), nil},
		{"begins years later", verify.CodeUntrustedCA, valid(8e16, 9e16), nil},
	}
}

// oidSAN and fulcioArc name extensions.
var oidSAN = asn1.ObjectIdentifier{2, 5, 29, 17}

func fulcioArc(arc int) asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, arc}
}

// setExtension replaces the value of an extension, or adds it.
func setExtension(id asn1.ObjectIdentifier, value []byte) func(*forgery) {
	return func(f *forgery) {
		for i, e := range f.template.ExtraExtensions {
			if e.Id.Equal(id) {
				f.template.ExtraExtensions[i].Value = value
				return
			}
		}
		f.template.ExtraExtensions = append(f.template.ExtraExtensions, pkix.Extension{Id: id, Value: value})
	}
}

// generalNames is the value of a subject alternative name with names of the given tags.
func generalNames(names ...asn1.RawValue) func(*forgery) {
	for i := range names {
		names[i].Class = asn1.ClassContextSpecific
	}
	der, err := asn1.Marshal(names)
	if err != nil {
		panic(err) // the tables below are constant
	}
	return setExtension(oidSAN, der)
}

func wrongNames() []wrong {
	text := func(tag int, value string) asn1.RawValue { return asn1.RawValue{Tag: tag, Bytes: []byte(value)} }
	good := alice.SAN.Value
	return []wrong{
		{"no name at all", verify.CodeCertificate, func(f *forgery) {
			f.template.ExtraExtensions = slices.DeleteFunc(f.template.ExtraExtensions, func(e pkix.Extension) bool { return e.Id.Equal(oidSAN) })
		}, nil},
		{"no names in the extension", verify.CodeCertificate, generalNames(), generalNames(text(1, good))},
		{"two names", verify.CodeCertificate, generalNames(text(1, good), text(1, mallory.SAN.Value)), nil},
		{"two names, the other first", verify.CodeCertificate, generalNames(text(1, mallory.SAN.Value), text(1, good)), nil},
		{"the same name twice", verify.CodeCertificate, generalNames(text(1, good), text(1, good)), nil},
		{"a mail address and a URI", verify.CodeCertificate, generalNames(text(1, good), text(6, "https://acme.example")), nil},
		{"the extension twice", verify.CodeCertificate, extended(pkix.Extension{Id: oidSAN, Value: []byte{0x30, 0}}), nil},
		{"a host name", verify.CodeCertificate, generalNames(text(2, "acme.example")), nil},
		{"the address as a host name", verify.CodeCertificate, generalNames(text(2, good)), nil},
		{"the address as a URI", verify.CodeCertificate, generalNames(text(6, good)), nil},
		{"another person's address", verify.CodeIdentity, generalNames(text(1, mallory.SAN.Value)), nil},
		{"the address in capitals", verify.CodeIdentity, generalNames(text(1, strings.ToUpper(good))), nil},
		{"an IP address", verify.CodeCertificate, generalNames(text(7, "\x7f\x00\x00\x01")), nil},
		{"a registered ID", verify.CodeCertificate, generalNames(text(8, "\x2a\x03")), nil},
		{"an empty name", verify.CodeCertificate, generalNames(text(1, "")), nil},
		{"an address without domain", verify.CodeCertificate, generalNames(text(1, "alice")), nil},
		{"a NUL in the address", verify.CodeCertificate, generalNames(text(1, good+"\x00")), nil},
		{"a line break in the address", verify.CodeCertificate, generalNames(text(1, good+"\n")), nil},
		{"an address that is no UTF-8", verify.CodeCertificate, generalNames(text(1, "\xff"+good)), nil},
		{"an address of 5,000 bytes", verify.CodeCertificate, generalNames(text(1, strings.Repeat("a", 5000)+good)), nil},
		{"another's otherName", verify.CodeCertificate, generalNames(asn1.RawValue{Tag: 0, IsCompound: true, Bytes: []byte{6, 2, 0x2a, 3, 0xa0, 2, 12, 0}}), nil},
		{"something behind the names", verify.CodeCertificate, func(f *forgery) {
			generalNames(text(1, good))(f)
			for i, e := range f.template.ExtraExtensions {
				if e.Id.Equal(oidSAN) {
					f.template.ExtraExtensions[i].Value = append(bytes.Clone(e.Value), 0)
				}
			}
		}, nil},
	}
}

func wrongClaims() []wrong {
	utf8 := func(text string) []byte { return append([]byte{12, byte(len(text))}, text...) }
	all := []wrong{
		{"issuers that disagree", verify.CodeCertificate, setExtension(fulcioArc(1), []byte("https://other.example")), setExtension(fulcioArc(1), []byte(coretest.Issuer))},
		{"another issuer", verify.CodeIdentity, func(f *forgery) {
			setExtension(fulcioArc(1), []byte("https://other.example"))(f)
			setExtension(fulcioArc(8), utf8("https://other.example"))(f)
		}, nil},
		{"no issuer", verify.CodeCertificate, func(f *forgery) {
			f.template.ExtraExtensions = slices.DeleteFunc(f.template.ExtraExtensions, func(e pkix.Extension) bool { return e.Id.Equal(fulcioArc(1)) || e.Id.Equal(fulcioArc(8)) })
			setExtension(fulcioArc(20), utf8("push"))(f)
		}, setExtension(fulcioArc(20), utf8("push"))},
		{"issuer as a PrintableString", verify.CodeCertificate, setExtension(fulcioArc(8), append([]byte{19, byte(len(coretest.Issuer))}, coretest.Issuer...)), nil},
		{"issuer with a line break", verify.CodeCertificate, setExtension(fulcioArc(1), []byte(coretest.Issuer+"\n")), nil},
		{"issuer empty", verify.CodeCertificate, setExtension(fulcioArc(8), utf8("")), nil},
		{"issuer twice", verify.CodeCertificate, extended(pkix.Extension{Id: fulcioArc(8), Value: utf8(coretest.Issuer)}), nil},
	}
	for arc := 9; arc <= 24; arc++ {
		all = append(all,
			wrong{fmt.Sprintf("claim %d that is not DER", arc), verify.CodeCertificate, setExtension(fulcioArc(arc), []byte("push")), setExtension(fulcioArc(arc), utf8("push"))},
		)
	}
	for name, value := range map[string][]byte{
		"an octet string": {4, 1, 'x'}, "with a byte behind it": {12, 1, 'x', 0}, "with a long length": {12, 0x81, 1, 'x'}, "empty": {12, 0}, "with an escape": {12, 1, 0x1b},
	} {
		all = append(all, wrong{"a claim " + name, verify.CodeCertificate, setExtension(fulcioArc(20), value), setExtension(fulcioArc(20), utf8("x"))})
	}
	return all
}

// wrongKeys are keys that no signature is accepted of.
func wrongKeys(t *testing.T) []wrong {
	t.Helper()
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey := func(bits int) crypto.Signer {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	with := func(key crypto.Signer) func(*forgery) { return func(f *forgery) { f.key = key } }
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	small := make(ed25519.PublicKey, ed25519.PublicKeySize) // of order 4: whatever signature verifies over one message of four
	return []wrong{
		{"a key on P-224", verify.CodeCertificate, with(p224), with(p384)},
		{"an RSA key of 1024 bits", verify.CodeCertificate, with(rsaKey(1024)), with(rsaKey(2048))},
		{"an RSA key of 2056 bits", verify.CodeCertificate, with(rsaKey(2056)), nil},
		{"an Ed25519 key of small order", verify.CodeCertificate, with(anonymous{small}), nil},
	}
}

// anonymous signs for a key that has no private one.
type anonymous struct{ public ed25519.PublicKey }

func (a anonymous) Public() crypto.PublicKey { return a.public }
func (a anonymous) Sign(_ io.Reader, _ []byte, _ crypto.SignerOpts) ([]byte, error) {
	return make([]byte, ed25519.SignatureSize), nil
}

func wrongPromises() []wrong {
	list := func(change func([]byte) []byte) func(*forgery) { return func(f *forgery) { f.list = change } }
	// The list is an OCTET STRING of more than 127 bytes: a length, and of each promise a length, version, log ID, time, extensions and signature.
	const header, version, id, time = 3, 3 + 4, 3 + 5, 3 + 5 + 32
	flip := func(at int) func(*forgery) {
		return list(func(b []byte) []byte {
			b = bytes.Clone(b)
			b[at] ^= 1
			return b
		})
	}
	return []wrong{
		{"list of promises that is empty", verify.CodeSCT, list(func([]byte) []byte { return []byte{4, 2, 0, 0} }), nil},
		{"list of promises cut off", verify.CodeSCT, list(func(b []byte) []byte { return b[:len(b)-1] }), nil},
		{"list of promises with a byte behind it", verify.CodeSCT, list(func(b []byte) []byte { return append(bytes.Clone(b), 0) }), nil},
		{"list of promises as a SEQUENCE", verify.CodeSCT, list(func(b []byte) []byte { return append([]byte{0x30}, b[1:]...) }), nil},
		{"list of promises that isn't wrapped", verify.CodeSCT, list(func(b []byte) []byte { return b[header:] }), nil},
		{"promise of version 2", verify.CodeSCT, flip(version), nil},
		{"promise of another log", verify.CodeSCT, flip(id), nil},
		{"promise of another time", verify.CodeSCT, flip(time + 7), nil},
		{"list of promises twice", verify.CodeCertificate, extended(pkix.Extension{Id: sct.OIDList, Value: []byte{4, 2, 0, 0}}), nil},
		{"a precertificate", verify.CodeCertificate, extended(pkix.Extension{Id: sct.OIDPoison, Critical: true, Value: asn1.NullBytes}), nil},
	}
}

func wrongEncodings() []wrong {
	der := func(change func([]byte) []byte) func(*forgery) { return func(f *forgery) { f.der = change } }
	critical := func(id ...int) func(*forgery) {
		return extended(pkix.Extension{Id: id, Critical: true, Value: asn1.NullBytes})
	}
	unknown := extended(pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Value: asn1.NullBytes})
	return []wrong{
		{"an unknown critical extension", verify.CodeCertificate, critical(1, 2, 3), unknown},
		{"a critical extension of Sigstore's that nobody knows", verify.CodeCertificate, critical(1, 3, 6, 1, 4, 1, 57264, 1, 999), nil},
		{"a critical policy constraint", verify.CodeCertificate, critical(2, 5, 29, 36), nil},
		{"an unknown extension twice", verify.CodeCertificate, extended(
			pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Value: asn1.NullBytes}, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Value: asn1.NullBytes}), unknown},
		{"a byte behind it", verify.CodeCertificate, der(func(b []byte) []byte { return append(bytes.Clone(b), 0) }), nil},
		{"cut off", verify.CodeCertificate, der(func(b []byte) []byte { return b[:len(b)-1] }), nil},
		{"PEM", verify.CodeCertificate, der(func(b []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: b}) }), nil},
		{"two certificates", verify.CodeCertificate, der(func(b []byte) []byte { return slices.Concat(b, b) }), nil},
		{"indefinite length", verify.CodeCertificate, der(func(b []byte) []byte { return slices.Concat([]byte{0x30, 0x80}, b[4:], []byte{0, 0}) }), nil},
		{"length with a leading zero", verify.CodeCertificate, der(func(b []byte) []byte { return slices.Concat([]byte{0x30, 0x83, 0}, b[2:]) }), nil},
		{"a bare key", verify.CodeCertificate, func(f *forgery) {
			f.der = func([]byte) []byte {
				spki, err := x509.MarshalPKIXPublicKey(f.key.Public())
				if err != nil {
					panic(err) // the key is an ECDSA key
				}
				return spki
			}
		}, nil},
		{"a broken signature", verify.CodeUntrustedCA, der(func(b []byte) []byte {
			b = bytes.Clone(b)
			b[len(b)-1] ^= 1
			return b
		}), nil},
		{"another serial number than was signed", verify.CodeUntrustedCA, der(func(b []byte) []byte { return bytes.Replace(b, []byte{2, 1, 7}, []byte{2, 1, 8}, 1) }), nil},
	}
}

func wrongAuthorities(t *testing.T, w *world) []wrong {
	t.Helper()
	// under is an intermediate below the same root, made otherwise, and trusted.
	under := func(change func(*x509.Certificate)) func(*forgery) {
		parent := w.CA.Intermediate
		made := &x509.Certificate{
			Subject: parent.Subject, NotBefore: parent.NotBefore, NotAfter: parent.NotAfter, KeyUsage: parent.KeyUsage, ExtKeyUsage: parent.ExtKeyUsage,
			BasicConstraintsValid: true, IsCA: true,
		}
		change(made)
		ca := *w.CA
		ca.Intermediate = coretest.Issue(t, made, ca.Root, ca.Key.Public(), ca.RootKey)
		return func(f *forgery) {
			f.ca = &ca
			f.root = func(r *trust.Root) { r.CertificateAuthorities[0].Intermediates = []*x509.Certificate{ca.Intermediate} }
		}
	}
	same := under(func(*x509.Certificate) {})
	other := coretest.NewCA(t, coretest.Start)
	return []wrong{
		{"an authority that nobody trusts", verify.CodeUntrustedCA, func(f *forgery) { f.ca = other }, same},
		{"an authority that had ended", verify.CodeUntrustedCA, under(func(c *x509.Certificate) { c.NotAfter = coretest.Start.Add(-time.Second) }), same},
		{"an authority that had not begun", verify.CodeUntrustedCA, under(func(c *x509.Certificate) { c.NotBefore = coretest.Start.Add(time.Second) }), same},
		{"an authority that is none", verify.CodeUntrustedCA, under(func(c *x509.Certificate) { c.IsCA = false }), same},
		{"an authority that must not sign certificates", verify.CodeUntrustedCA, under(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign }), same},
		{"an authority for servers", verify.CodeUntrustedCA, under(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), same},
		{"an authority for timestamps", verify.CodeUntrustedCA, under(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping} }), same},
		{"an authority for other mail addresses", verify.CodeUntrustedCA, under(func(c *x509.Certificate) {
			c.PermittedDNSDomainsCritical, c.PermittedEmailAddresses = true, []string{"other.example"}
		}), under(func(c *x509.Certificate) {
			c.PermittedDNSDomainsCritical, c.PermittedEmailAddresses = true, []string{"acme.example"}
		})},
		{"an authority for another person", verify.CodeUntrustedCA, under(func(c *x509.Certificate) {
			c.PermittedDNSDomainsCritical, c.PermittedEmailAddresses = true, []string{mallory.SAN.Value}
		}), under(func(c *x509.Certificate) {
			c.PermittedDNSDomainsCritical, c.PermittedEmailAddresses = true, []string{alice.SAN.Value}
		})},
		{"an authority that excludes the domain", verify.CodeUntrustedCA, under(func(c *x509.Certificate) {
			c.PermittedDNSDomainsCritical, c.ExcludedEmailAddresses = true, []string{"acme.example"}
		}), under(func(c *x509.Certificate) {
			c.PermittedDNSDomainsCritical, c.ExcludedEmailAddresses = true, []string{"other.example"}
		})},
		{"an authority with an unknown critical extension", verify.CodeUntrustedCA, under(func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: asn1.NullBytes}}
		}), under(func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Value: asn1.NullBytes}}
		})},
		{"an authority of another name", verify.CodeUntrustedCA, func(f *forgery) {
			ca := *w.CA
			named := *ca.Intermediate
			named.RawSubject = slices.Clone(named.RawSubject)
			named.RawSubject[len(named.RawSubject)-1] ^= 1
			ca.Intermediate, f.ca = &named, &ca
		}, same},
	}
}
