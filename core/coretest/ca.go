package coretest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/identity"
	"github.com/touchmark/touchmark/core/sct"
)

// CA is a certificate authority for code signing.
type CA struct {
	RootKey, Key       *ecdsa.PrivateKey // Key is the intermediate's, which issues
	Root, Intermediate *x509.Certificate
}

// NewCA makes an authority that is valid around now. All of them have the same names: only keys tell them apart.
func NewCA(tb testing.TB, now time.Time) *CA {
	tb.Helper()
	ca := &CA{RootKey: NewKey(tb), Key: NewKey(tb)}
	ca.Root = Issue(tb, authorityTemplate("root", now), nil, ca.RootKey.Public(), ca.RootKey)
	ca.Intermediate = Issue(tb, authorityTemplate("intermediate", now, x509.ExtKeyUsageCodeSigning), ca.Root, ca.Key.Public(), ca.RootKey)
	return ca
}

// CTLog is a certificate log; it only promises.
type CTLog struct {
	Key *ecdsa.PrivateKey
	ID  [32]byte
}

// NewCTLog makes a certificate log.
func NewCTLog(tb testing.TB) *CTLog {
	tb.Helper()
	key := NewKey(tb)
	id, err := sct.LogID(&key.PublicKey)
	if err != nil {
		tb.Fatal(err)
	}
	return &CTLog{Key: key, ID: id}
}

// SCT returns the log's promise for the certificate whose raw TBSCertificate is given, with or without poison.
func (l *CTLog) SCT(tb testing.TB, rawTBS []byte, issuer crypto.PublicKey, at time.Time) sct.SCT {
	tb.Helper()
	tbs, err := sct.PrecertTBS(rawTBS)
	if err != nil {
		tb.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(issuer)
	if err != nil {
		tb.Fatal(err)
	}
	s, err := sct.Sign(l.Key, uint64(at.UnixMilli()), sct.LeafIndexExtension(7), sha256.Sum256(spki), tbs)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// CertificateSpec describes a leaf certificate. [Sigstore.Certificate] fills it in rightly and then lets the test change it.
type CertificateSpec struct {
	// Template has all but the public key. Its ExtraExtensions hold the identity.
	Template *x509.Certificate
	CA       *CA
	// CTLogs promise the certificate; none: no SCT list.
	CTLogs  []*CTLog
	SCTTime time.Time
	// SCTs, when not nil, replaces the promises just made.
	SCTs func([]sct.SCT) []sct.SCT
	// SCTList, when not nil, replaces the value of the SCT list extension.
	SCTList []byte
}

// ValidFor sets the certificate's validity.
func ValidFor(notBefore, notAfter time.Time) func(*CertificateSpec) {
	return func(c *CertificateSpec) { c.Template.NotBefore, c.Template.NotAfter = notBefore, notAfter }
}

// PromisedBy sets the certificate logs whose promises are embedded: none with no argument.
func PromisedBy(logs ...*CTLog) func(*CertificateSpec) {
	return func(c *CertificateSpec) { c.CTLogs = logs }
}

// WithExtension adds an extension behind those of the identity.
func WithExtension(extension pkix.Extension) func(*CertificateSpec) {
	return func(c *CertificateSpec) { c.Template.ExtraExtensions = append(c.Template.ExtraExtensions, extension) }
}

// Certificate issues a DER leaf certificate for an identity and a public key, as Fulcio does: ten minutes from now, code signing, one
// embedded promise. Each change may make it wrong.
func (s *Sigstore) Certificate(tb testing.TB, id identity.Identity, pub crypto.PublicKey, changes ...func(*CertificateSpec)) []byte {
	tb.Helper()
	extensions, err := id.CertificateExtensions()
	if err != nil {
		tb.Fatal(err)
	}
	now := s.Clock.Now()
	spec := CertificateSpec{
		Template: &x509.Certificate{
			SerialNumber:    big.NewInt(now.UnixNano()),
			NotBefore:       now,
			NotAfter:        now.Add(10 * time.Minute),
			KeyUsage:        x509.KeyUsageDigitalSignature,
			ExtKeyUsage:     []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
			ExtraExtensions: extensions,
		},
		CA:      s.CA,
		CTLogs:  []*CTLog{s.CTLog},
		SCTTime: now,
	}
	for _, change := range changes {
		change(&spec)
	}
	return spec.issue(tb, pub)
}

// issue makes the precertificate, has it promised and makes the certificate.
func (c CertificateSpec) issue(tb testing.TB, pub crypto.PublicKey) []byte {
	tb.Helper()
	sign := func(last pkix.Extension) *x509.Certificate {
		template := *c.Template
		template.ExtraExtensions = append(slices.Clone(template.ExtraExtensions), last)
		return Issue(tb, &template, c.CA.Intermediate, pub, c.CA.Key)
	}
	precert := sign(pkix.Extension{Id: sct.OIDPoison, Critical: true, Value: asn1.NullBytes})
	var scts []sct.SCT
	for _, log := range c.CTLogs {
		scts = append(scts, log.SCT(tb, precert.RawTBSCertificate, c.CA.Key.Public(), c.SCTTime))
	}
	if c.SCTs != nil {
		scts = c.SCTs(scts)
	}
	list := c.SCTList
	if list == nil {
		if len(scts) == 0 {
			return Issue(tb, c.Template, c.CA.Intermediate, pub, c.CA.Key).Raw
		}
		var err error
		if list, err = sct.MarshalList(scts); err != nil {
			tb.Fatal(err)
		}
	}
	return sign(pkix.Extension{Id: sct.OIDList, Value: list}).Raw
}
