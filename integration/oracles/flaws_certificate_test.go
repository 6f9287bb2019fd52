package oracles

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"time"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/sct"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/verify"
)

// certified is a flaw of the certificate, all else being made for it.
func certified(change func(d *draft, c *coretest.CertificateSpec)) func(*draft) {
	return func(d *draft) { d.recertify(func(c *coretest.CertificateSpec) { change(d, c) }) }
}

const profile = "sigstore-go leaves the profile to the authority: crypto/x509 asks for code signing and a chain, no more"

var certificateFlaws = []flaw{
	{"certificate of an authority", verify.CodeCertificate, keyless, certified(func(_ *draft, c *coretest.CertificateSpec) {
		c.Template.IsCA, c.Template.BasicConstraintsValid = true, true
	}), profile},
	{"no use for signatures", verify.CodeCertificate, keyless, certified(func(_ *draft, c *coretest.CertificateSpec) {
		c.Template.KeyUsage = x509.KeyUsageKeyEncipherment
	}), profile},
	{"use for certificates", verify.CodeCertificate, keyless, certified(func(_ *draft, c *coretest.CertificateSpec) {
		c.Template.KeyUsage |= x509.KeyUsageCertSign
	}), profile},
	{"use for revocation lists", verify.CodeCertificate, keyless, certified(func(_ *draft, c *coretest.CertificateSpec) {
		c.Template.KeyUsage |= x509.KeyUsageCRLSign
	}), profile},
	{"no extended use", verify.CodeCertificate, keyless, certified(func(_ *draft, c *coretest.CertificateSpec) { c.Template.ExtKeyUsage = nil }), profile},
	{"another extended use", verify.CodeCertificate, keyless, certified(func(d *draft, c *coretest.CertificateSpec) {
		uses := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageEmailProtection, x509.ExtKeyUsageTimeStamping, x509.ExtKeyUsageOCSPSigning}
		c.Template.ExtKeyUsage = uses[d.random.IntN(len(uses)):][:1]
	}), ""},
	{"any extended use", verify.CodeCertificate, keyless, certified(func(_ *draft, c *coretest.CertificateSpec) {
		c.Template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny}
	}), profile},
	{"one extended use too many", verify.CodeCertificate, keyless, certified(func(_ *draft, c *coretest.CertificateSpec) {
		c.Template.ExtKeyUsage = append(c.Template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}), profile},
	{"unknown extended use too many", verify.CodeCertificate, keyless, certified(func(_ *draft, c *coretest.CertificateSpec) {
		c.Template.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 2, 3}}
	}), profile},
	{"unknown critical extension", verify.CodeCertificate, keyless, certified(func(d *draft, c *coretest.CertificateSpec) {
		coretest.WithExtension(pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3, 1 + d.random.IntN(99)}, Critical: true, Value: []byte{5, 0}})(c)
	}), ""},

	{"certificate of another authority", verify.CodeUntrustedCA, keyless, func(d *draft) {
		d.s.CA = d.cast.foreign.CA
		d.recertify()
	}, ""},
	{"certificate by the right name, signed with another key", verify.CodeUntrustedCA, keyless, certified(func(d *draft, c *coretest.CertificateSpec) {
		other := *c.CA
		other.Key = d.cast.foreign.CA.Key
		wrong := *other.Intermediate
		wrong.PublicKey = other.Key.Public() // crypto/x509 checks what it signs
		other.Intermediate = &wrong
		c.CA = &other
	}), ""},
	{"certificate expired before", verify.CodeUntrustedCA, keyless, func(d *draft) {
		now := d.s.Clock.Now()
		d.recertify(coretest.ValidFor(now.Add(-2*time.Hour), now.Add(-d.some())))
	}, ""},
	{"certificate not valid yet", verify.CodeUntrustedCA, keyless, func(d *draft) {
		now := d.s.Clock.Now()
		d.recertify(coretest.ValidFor(now.Add(d.some()), now.Add(2*time.Hour)))
	}, ""},
	{"authority trusted later only", verify.CodeUntrustedCA, keyless, func(d *draft) {
		d.trusting(func(r *trust.Root) { r.CertificateAuthorities[0].Window.Start = d.s.Clock.Now().Add(d.some()) })
	}, ""},
	{"authority trusted before only", verify.CodeUntrustedCA, keyless, func(d *draft) {
		d.trusting(func(r *trust.Root) { r.CertificateAuthorities[0].Window.End = d.s.Clock.Now().Add(-d.some()) })
	}, ""},
	{"no authority trusted", verify.CodeUntrustedCA, keyless, func(d *draft) {
		d.trusting(func(r *trust.Root) { r.CertificateAuthorities = nil })
	}, ""},
	{"another authority of the same name trusted", verify.CodeUntrustedCA, keyless, func(d *draft) {
		d.trusting(func(r *trust.Root) { r.CertificateAuthorities = d.cast.foreign.Root().CertificateAuthorities })
	}, ""},
	{"intermediate not in the trust root", verify.CodeUntrustedCA, keyless, func(d *draft) {
		d.trusting(func(r *trust.Root) { r.CertificateAuthorities[0].Intermediates = nil })
	}, ""},

	{"no promise of a certificate log", verify.CodeSCT, keyless, func(d *draft) { d.recertify(coretest.PromisedBy()) }, ""},
	{"promise of an unknown certificate log", verify.CodeSCT, keyless, func(d *draft) { d.recertify(coretest.PromisedBy(d.cast.foreign.CTLog)) }, ""},
	{"promise under the right log's ID by another key", verify.CodeSCT, keyless, func(d *draft) {
		d.recertify(coretest.PromisedBy(&coretest.CTLog{Key: d.cast.foreign.CTLog.Key, ID: d.s.CTLog.ID}), sameID(d))
	}, ""},
	{"promise of another certificate", verify.CodeSCT, keyless, func(d *draft) {
		other := d.s.CTLog.SCT(d.tb, d.s.CA.Intermediate.RawTBSCertificate, d.s.CA.Key.Public(), d.s.Clock.Now())
		d.recertify(func(c *coretest.CertificateSpec) { c.SCTs = func([]sct.SCT) []sct.SCT { return []sct.SCT{other} } })
	}, ""},
	{"promise for another issuer of the same name", verify.CodeSCT, keyless, certified(func(d *draft, c *coretest.CertificateSpec) {
		c.SCTs = func([]sct.SCT) []sct.SCT {
			precert := coretest.Issue(d.tb, c.Template, c.CA.Intermediate, d.key.Public(), c.CA.Key)
			return []sct.SCT{d.s.CTLog.SCT(d.tb, precert.RawTBSCertificate, d.cast.foreign.CA.Key.Public(), d.s.Clock.Now())}
		}
	}), ""},
	{"promise with a flipped bit", verify.CodeSCT, keyless, certified(func(d *draft, c *coretest.CertificateSpec) {
		c.SCTs = func(scts []sct.SCT) []sct.SCT {
			scts[0].Signature = d.flip(scts[0].Signature)
			return scts
		}
	}), ""},
	{"promise of another time", verify.CodeSCT, keyless, certified(func(d *draft, c *coretest.CertificateSpec) {
		c.SCTs = func(scts []sct.SCT) []sct.SCT {
			scts[0].Timestamp -= uint64(1 + d.random.IntN(1e6))
			return scts
		}
	}), ""},
	{"malformed list of promises", verify.CodeSCT, keyless, certified(func(d *draft, c *coretest.CertificateSpec) { c.SCTList = []byte{4, 3, 0, 1, byte(d.random.IntN(256))} }), ""},
	{"certificate log trusted later only", verify.CodeSCT, keyless, func(d *draft) {
		d.trusting(func(r *trust.Root) { r.CTLogs[0].Window.Start = d.s.Clock.Now().Add(d.some()) })
	}, ""},
	{"certificate log trusted before only", verify.CodeSCT, keyless, func(d *draft) {
		d.trusting(func(r *trust.Root) { r.CTLogs[0].Window.End = d.s.Clock.Now().Add(-d.some()) })
	}, ""},
	{"no certificate log trusted", verify.CodeSCT, keyless, func(d *draft) { d.trusting(func(r *trust.Root) { r.CTLogs = nil }) }, ""},
	{"promise made after the certificate", verify.CodeSCT, keyless, func(d *draft) {
		d.recertify(func(c *coretest.CertificateSpec) { c.SCTTime = c.Template.NotAfter.Add(d.some()) })
	}, "sigstore-go holds the promise against the log's window only"},
}

// sameID gives promises the ID of the trusted log.
func sameID(d *draft) func(*coretest.CertificateSpec) {
	return func(c *coretest.CertificateSpec) {
		c.SCTs = func(scts []sct.SCT) []sct.SCT {
			scts[0].LogID = d.s.CTLog.ID
			return scts
		}
	}
}
