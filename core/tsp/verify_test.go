package tsp_test

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
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/tsp"
)

var (
	message = []byte("the bytes of a signature")
	now     = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
)

// check parses and verifies, as every caller does: with the chain that is remembered and without, which must
// not make a difference, unless there are certificates in the chain that did not issue each other.
func check(response, message []byte, authority tsp.Authority) error {
	token, err := tsp.Parse(response)
	if err != nil {
		return err
	}
	fresh, remembered := token.Verify(message, authority), token.Verify(message, authority.Remember())
	ordered := authority.Leaf == nil || authority.Root == nil || authority.Check() == nil
	if ordered && (fresh == nil) != (remembered == nil) || !ordered && remembered == nil {
		panic(fmt.Sprintf("%v without the remembered chain, %v with it", fresh, remembered))
	}
	return fresh
}

func want(t *testing.T, err error, accepted bool) {
	t.Helper()
	if (err == nil) != accepted {
		t.Errorf("got %v, want accepted %v", err, accepted)
	}
}

func TestLIB29_Tokens(t *testing.T) {
	tsa, other := coretest.NewTSA(t, now, nil), coretest.NewTSA(t, now, nil)
	replace := func(oid asn1.ObjectIdentifier, with ...coretest.Attribute) func([]coretest.Attribute) []coretest.Attribute {
		return func(attributes []coretest.Attribute) []coretest.Attribute {
			var out []coretest.Attribute
			for _, a := range attributes {
				if a.Type.Equal(oid) {
					out = append(out, with...)
				} else {
					out = append(out, a)
				}
			}
			return out
		}
	}
	attribute := func(oid asn1.ObjectIdentifier, value any) coretest.Attribute {
		der, err := asn1.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		return coretest.Attribute{Type: oid, Value: der}
	}
	v2 := coretest.Attribute{Type: coretest.OIDSigningCertificateV2, Value: coretest.SigningCertificateV2(t, tsa.Leaf)}
	wrongV2 := coretest.Attribute{Type: coretest.OIDSigningCertificateV2, Value: coretest.SigningCertificateV2(t, other.Leaf)}
	v1 := coretest.Attribute{Type: coretest.OIDSigningCertificate, Value: coretest.SigningCertificate(t, tsa.Leaf)}
	wrongV1 := coretest.Attribute{Type: coretest.OIDSigningCertificate, Value: coretest.SigningCertificate(t, other.Leaf)}
	twice := func(a coretest.Attribute) coretest.Attribute {
		return coretest.Attribute{Type: a.Type, Value: append(bytes.Clone(a.Value), a.Value...)}
	}
	type edit = func(*coretest.TimestampSpec)
	attributes := func(f func([]coretest.Attribute) []coretest.Attribute) edit {
		return func(s *coretest.TimestampSpec) { s.Attributes = f }
	}
	signer := func(f func(*coretest.SignerInfo)) edit {
		return func(s *coretest.TimestampSpec) { s.Signer = f }
	}
	extension := func(critical bool) []pkix.Extension {
		return []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: critical, Value: []byte{1}}}
	}
	for _, tc := range []struct {
		name string
		edit edit
		want bool
	}{
		{"plain", func(*coretest.TimestampSpec) {}, true},
		{"granted with modifications", func(s *coretest.TimestampSpec) { s.Status = 1 }, false},
		{"rejection", func(s *coretest.TimestampSpec) { s.Status = 2 }, false},
		{"waiting", func(s *coretest.TimestampSpec) { s.Status = 3 }, false},
		{"unknown status", func(s *coretest.TimestampSpec) { s.Status = 6 }, false},
		{"negative status", func(s *coretest.TimestampSpec) { s.Status = -1 }, false},

		{"SHA-384 imprint", func(s *coretest.TimestampSpec) { s.Imprint = crypto.SHA384 }, true},
		{"SHA-512 imprint", func(s *coretest.TimestampSpec) { s.Imprint = crypto.SHA512 }, true},
		{"SHA-1 imprint", func(s *coretest.TimestampSpec) { s.Imprint = crypto.SHA1 }, false},
		{"SHA-512 digest", func(s *coretest.TimestampSpec) { s.Digest = crypto.SHA512 }, true},
		{"SHA-1 digest", func(s *coretest.TimestampSpec) { s.Digest = crypto.SHA1 }, false},
		{"other message", func(s *coretest.TimestampSpec) { s.Message = []byte("another") }, false},
		{"extension", func(s *coretest.TimestampSpec) { s.Extensions = extension(false) }, true},
		{"critical extension", func(s *coretest.TimestampSpec) { s.Extensions = extension(true) }, false},

		{"signingCertificate instead of V2", attributes(replace(v2.Type, v1)), true},
		{"both signing certificates", attributes(replace(v2.Type, v1, v2)), true},
		{"signing certificate missing", attributes(replace(v2.Type)), false},
		{"signingCertificateV2 of another", attributes(replace(v2.Type, wrongV2)), false},
		{"signingCertificate of another", attributes(replace(v2.Type, wrongV1)), false},
		{"V2 right, the older one of another", attributes(replace(v2.Type, v2, wrongV1)), false},
		{"signing certificate twice", attributes(replace(v2.Type, v2, v2)), false},
		{"signing certificate with two values", attributes(replace(v2.Type, twice(v2))), false},
		{"signing certificate malformed", attributes(replace(v2.Type, attribute(v2.Type, 1))), false},

		{"contentType missing", attributes(replace(coretest.OIDContentType)), false},
		{"contentType data", attributes(replace(coretest.OIDContentType, attribute(coretest.OIDContentType, asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}))), false},
		{"messageDigest missing", attributes(replace(coretest.OIDMessageDigest)), false},
		{"messageDigest of something else", attributes(replace(coretest.OIDMessageDigest, attribute(coretest.OIDMessageDigest, make([]byte, 32)))), false},
		{"messageDigest empty", attributes(replace(coretest.OIDMessageDigest, attribute(coretest.OIDMessageDigest, []byte{}))), false},
		{"unknown attribute", attributes(replace(v2.Type, v2, attribute(asn1.ObjectIdentifier{1, 2, 3}, 1))), true},
		{"signingTime now", attributes(replace(v2.Type, v2, attribute(coretest.OIDSigningTime, now))), true},
		{"signingTime beyond the certificate", attributes(replace(v2.Type, v2, attribute(coretest.OIDSigningTime, now.Add(20*365*24*time.Hour)))), false},
		{"signingTime before the certificate", attributes(replace(v2.Type, v2, attribute(coretest.OIDSigningTime, now.Add(-20*365*24*time.Hour)))), false},
		{"signingTime malformed", attributes(replace(v2.Type, v2, attribute(coretest.OIDSigningTime, 1))), false},
		{"attributes sorted by hand", func(s *coretest.TimestampSpec) { s.KeepOrder = true }, true},
		{"attributes backwards", func(s *coretest.TimestampSpec) {
			s.KeepOrder = true
			s.Attributes = func(a []coretest.Attribute) []coretest.Attribute { slices.Reverse(a); return a }
		}, false},

		{"no signer", func(s *coretest.TimestampSpec) { s.SignerInfos = -1 }, false},
		{"two signers", func(s *coretest.TimestampSpec) { s.SignerInfos = 2 }, false},
		{"signer version 3", signer(func(s *coretest.SignerInfo) { s.Version = 3 }), false},
		{"signer of another issuer", signer(func(s *coretest.SignerInfo) { s.SID.Issuer.FullBytes = other.Root.RawSubject }), false},
		{"signer of another serial number", signer(func(s *coretest.SignerInfo) { s.SID.Serial = other.Leaf.SerialNumber }), false},
		{"signature changed", signer(func(s *coretest.SignerInfo) { s.Signature[len(s.Signature)-1] ^= 1 }), false},
		{"signature empty", signer(func(s *coretest.SignerInfo) { s.Signature = nil }), false},
		{"digest algorithm swapped", signer(func(s *coretest.SignerInfo) {
			s.DigestAlgorithm.Algorithm = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 2}
		}), false},
		{"signature algorithm unknown", signer(func(s *coretest.SignerInfo) { s.SignatureAlgorithm.Algorithm = asn1.ObjectIdentifier{1, 2, 3} }), false},
		{"signature algorithm of another hash", signer(func(s *coretest.SignerInfo) {
			s.SignatureAlgorithm.Algorithm = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 3}
		}), false},
		{"signature algorithm of another key type", signer(func(s *coretest.SignerInfo) {
			s.SignatureAlgorithm.Algorithm = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}
		}), false},
		{"signature algorithm with parameters", signer(func(s *coretest.SignerInfo) {
			s.SignatureAlgorithm.Parameters = asn1.RawValue{FullBytes: []byte{2, 1, 1}}
		}), false},
		{"no signed attributes", signer(func(s *coretest.SignerInfo) { s.SignedAttributes.Bytes = nil }), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			spec := coretest.TimestampSpec{Message: message, Time: now}
			tc.edit(&spec)
			want(t, check(tsa.Response(t, spec), message, tsa.Authority()), tc.want)
		})
	}
}

func TestLIB29_Authorities(t *testing.T) {
	tsa, other := coretest.NewTSA(t, now, nil), coretest.NewTSA(t, now, nil)
	response := tsa.Stamp(t, message, now)
	good := tsa.Authority()
	for name, tc := range map[string]struct {
		authority tsp.Authority
		want      bool
	}{
		"its own":                 {good, true},
		"another":                 {other.Authority(), false},
		"A032 none":               {tsp.Authority{}, false},
		"no leaf":                 {tsp.Authority{Intermediates: good.Intermediates, Root: good.Root}, false},
		"no root":                 {tsp.Authority{Leaf: good.Leaf, Intermediates: good.Intermediates}, false},
		"root of another":         {tsp.Authority{Leaf: good.Leaf, Intermediates: good.Intermediates, Root: other.Root}, false},
		"without intermediate":    {tsp.Authority{Leaf: good.Leaf, Root: good.Root}, false},
		"intermediate as root":    {tsp.Authority{Leaf: good.Leaf, Root: tsa.Intermediate}, true},
		"intermediate of other":   {tsp.Authority{Leaf: good.Leaf, Intermediates: other.Authority().Intermediates, Root: good.Root}, false},
		"superfluous certificate": {tsp.Authority{Leaf: good.Leaf, Intermediates: []*x509.Certificate{other.Intermediate, tsa.Intermediate}, Root: good.Root}, true},
	} {
		t.Run(name, func(t *testing.T) { want(t, check(response, message, tc.authority), tc.want) })
	}
}

func TestLIB29_LeafProfile(t *testing.T) {
	eku := func(critical bool, oids ...asn1.ObjectIdentifier) pkix.Extension {
		value, err := asn1.Marshal(oids)
		if err != nil {
			t.Fatal(err)
		}
		return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: critical, Value: value}
	}
	timestamping := asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 8}
	for name, tc := range map[string]struct {
		edit func(*x509.Certificate)
		want bool
	}{
		"good":             {func(*x509.Certificate) {}, true},
		"EKU not critical": {func(c *x509.Certificate) { c.ExtraExtensions[0] = eku(false, timestamping) }, false},
		"EKU missing":      {func(c *x509.Certificate) { c.ExtraExtensions = nil }, false},
		"EKU code signing": {func(c *x509.Certificate) {
			c.ExtraExtensions[0] = eku(true, asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 3})
		}, false},
		"EKU any": {func(c *x509.Certificate) { c.ExtraExtensions[0] = eku(true, asn1.ObjectIdentifier{2, 5, 29, 37, 0}) }, false},
		"EKU with a second purpose": {func(c *x509.Certificate) {
			c.ExtraExtensions[0] = eku(true, timestamping, asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 3})
		}, false},
		"EKU with an unknown one": {func(c *x509.Certificate) {
			c.ExtraExtensions[0] = eku(true, timestamping, asn1.ObjectIdentifier{1, 2, 3})
		}, false},
		"CA:TRUE": {func(c *x509.Certificate) { c.BasicConstraintsValid, c.IsCA = true, true }, false},
		"unknown critical extension": {func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}})
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			tsa := coretest.NewTSA(t, now, nil, tc.edit)
			want(t, check(tsa.Stamp(t, message, now), message, tsa.Authority()), tc.want)
		})
	}
}

func TestLIB29_Keys(t *testing.T) {
	ec := func(c elliptic.Curve) crypto.Signer {
		key, err := ecdsa.GenerateKey(c, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	rsaKey := func(bits int) crypto.Signer {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		key  crypto.Signer
		want bool
	}{
		{"P-256", ec(elliptic.P256()), true},
		{"P-384", ec(elliptic.P384()), true},
		{"P-521", ec(elliptic.P521()), true},
		{"P-224", ec(elliptic.P224()), false},
		{"RSA 2047", rsaKey(2047), false},
		{"RSA 2048", rsaKey(2048), true},
		{"RSA 1024", rsaKey(1024), false},
		{"Ed25519", edwards, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tsa := coretest.NewTSA(t, now, tc.key)
			for _, hash := range []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512} {
				response := tsa.Response(t, coretest.TimestampSpec{Message: message, Time: now, Digest: hash})
				want(t, check(response, message, tsa.Authority()), tc.want)
			}
			sha1 := tsa.Response(t, coretest.TimestampSpec{Message: message, Time: now, Digest: crypto.SHA1})
			want(t, check(sha1, message, tsa.Authority()), false)
		})
	}
}

// CVE-2026-39984: the chain was verified for one certificate, names and purposes were read off the first one of the bag.
func TestA028_BagOfCertificates(t *testing.T) {
	tsa, mallory := coretest.NewTSA(t, now, nil), coretest.NewTSA(t, now, nil)
	// A forgery that repeats issuer, serial number, subject and purpose of the trusted leaf.
	issuer := *tsa.Intermediate
	issuer.PublicKey = mallory.Key.Public()
	forged := coretest.Issue(t, &x509.Certificate{
		SerialNumber: tsa.Leaf.SerialNumber, Subject: tsa.Leaf.Subject, NotBefore: tsa.Leaf.NotBefore, NotAfter: tsa.Leaf.NotAfter,
		ExtraExtensions: []pkix.Extension{coretest.TimestampingEKU(t, true)},
	}, &issuer, mallory.Key.Public(), mallory.Key)
	type bag []*x509.Certificate
	for _, tc := range []struct {
		name  string
		embed bag
		want  bool
	}{
		{"empty", nil, true},
		{"the leaf", bag{tsa.Leaf}, true},
		{"the whole chain", bag{tsa.Leaf, tsa.Intermediate, tsa.Root}, true},
		{"the whole chain backwards", bag{tsa.Root, tsa.Intermediate, tsa.Leaf}, true},
		{"the chain without the leaf", bag{tsa.Intermediate, tsa.Root}, false},
		{"a forged leaf alone", bag{forged}, false},
		{"a forged leaf in front", bag{forged, tsa.Leaf}, false},
		{"a forged leaf behind", bag{tsa.Leaf, forged}, false},
		{"another authority's", bag{tsa.Leaf, mallory.Intermediate}, false},
		{"eight", bag{tsa.Leaf, tsa.Leaf, tsa.Leaf, tsa.Leaf, tsa.Leaf, tsa.Leaf, tsa.Leaf, tsa.Leaf}, true},
		{"nine", bag{tsa.Leaf, tsa.Leaf, tsa.Leaf, tsa.Leaf, tsa.Leaf, tsa.Leaf, tsa.Leaf, tsa.Leaf, tsa.Leaf}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			response := tsa.Response(t, coretest.TimestampSpec{Message: message, Time: now, Embed: tc.embed})
			want(t, check(response, message, tsa.Authority()), tc.want)
		})
	}
	t.Run("signed by the forged leaf's key", func(t *testing.T) {
		attacker := *tsa
		attacker.Key, attacker.Leaf = mallory.Key, forged
		response := attacker.Response(t, coretest.TimestampSpec{Message: message, Time: now, Embed: bag{forged}})
		want(t, check(response, message, tsa.Authority()), false)
	})
}

// timestamp-authority v2.1.2 #1384: a chain that has expired since still vouches for its time; and only for that.
func TestA031_TimeOfTheChain(t *testing.T) {
	tsa := coretest.NewTSA(t, now, nil, func(leaf *x509.Certificate) { leaf.NotBefore, leaf.NotAfter = now, now.Add(time.Hour) })
	for name, tc := range map[string]struct {
		at   time.Time
		want bool
	}{
		"first second":  {now, true},
		"last second":   {now.Add(time.Hour), true},
		"second before": {now.Add(-time.Second), false},
		"second after":  {now.Add(time.Hour + time.Second), false},
	} {
		t.Run(name, func(t *testing.T) { want(t, check(tsa.Stamp(t, message, tc.at), message, tsa.Authority()), tc.want) })
	}
	// A leaf that is valid for longer than its authorities.
	for _, sooner := range []time.Duration{0, time.Hour} {
		wide := coretest.NewTSA(t, now, nil, func(leaf *x509.Certificate) {
			leaf.NotBefore, leaf.NotAfter = leaf.NotBefore.Add(-sooner), leaf.NotAfter.Add(time.Hour)
		})
		start, end := wide.Intermediate.NotBefore, wide.Intermediate.NotAfter
		for at, accepted := range map[time.Time]bool{start: true, end: true, start.Add(-time.Second): false, end.Add(time.Second): false} {
			want(t, check(wide.Stamp(t, message, at), message, wide.Authority()), accepted)
		}
	}
	long := coretest.NewTSA(t, time.Unix(1_000_000_000, 0), nil) // expired in 2011
	want(t, check(long.Stamp(t, message, time.Unix(1_000_000_060, 0)), message, long.Authority()), true)
}

func TestLIB29_EveryBitFlip(t *testing.T) {
	tsa := coretest.NewTSA(t, now, nil)
	response := tsa.Stamp(t, message, now)
	want(t, check(response, message, tsa.Authority()), true)
	var accepted []string
	for i := range response {
		for bit := range 8 {
			changed := bytes.Clone(response)
			changed[i] ^= 1 << bit
			if check(changed, message, tsa.Authority()) == nil {
				accepted = append(accepted, fmt.Sprintf("byte %d bit %d", i, bit))
			}
		}
	}
	if len(accepted) > 0 {
		t.Errorf("accepted with one bit flipped: %v", accepted)
	}
}

// TestRememberedIsWhatIsThere: who changes an authority changes what it vouches for.
func TestRememberedIsWhatIsThere(t *testing.T) {
	tsa, other := coretest.NewTSA(t, now, nil), coretest.NewTSA(t, now, nil)
	token, err := tsp.Parse(tsa.Stamp(t, message, now))
	if err != nil {
		t.Fatal(err)
	}
	good := tsa.Authority().Remember()
	want(t, token.Verify(message, good), true)
	byOther, err := tsp.Parse(other.Stamp(t, message, now))
	if err != nil {
		t.Fatal(err)
	}
	mixed := good
	mixed.Leaf = other.Leaf
	want(t, byOther.Verify(message, mixed), false)
	want(t, byOther.Verify(message, other.Authority().Remember()), true)
	for name, change := range map[string]func(*tsp.Authority){
		"another root":           func(a *tsp.Authority) { a.Root = other.Authority().Root },
		"another leaf":           func(a *tsp.Authority) { a.Leaf = other.Leaf },
		"another intermediate":   func(a *tsp.Authority) { a.Intermediates = []*x509.Certificate{other.Authority().Root} },
		"a root of no authority": func(a *tsp.Authority) { a.Root = other.Leaf },
	} {
		a := good
		change(&a)
		if name == "another intermediate" { // harmless: the root itself issued the leaf, or not at all
			if got, fresh := token.Verify(message, a) == nil, token.Verify(message, tsp.Authority{Leaf: a.Leaf, Intermediates: a.Intermediates, Root: a.Root}) == nil; got != fresh {
				t.Errorf("%s: accepted %v, freshly %v", name, got, fresh)
			}
			continue
		}
		if token.Verify(message, a) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestRememberedChain: what an authority's chain is found to be at its first use holds for all its copies, whoever uses them. A chain that only
// contains the way to the root, but is not it, is good where nothing is remembered.
func TestRememberedChain(t *testing.T) {
	tsa, other := coretest.NewTSA(t, now, nil), coretest.NewTSA(t, now, nil)
	token, err := tsp.Parse(tsa.Stamp(t, message, now))
	if err != nil {
		t.Fatal(err)
	}
	good := tsa.Authority()
	beside := good
	beside.Intermediates = []*x509.Certificate{tsa.Intermediate, other.Intermediate}
	foreign := good
	foreign.Root = other.Root
	for name, tc := range map[string]struct {
		authority       tsp.Authority
		fresh, remember bool
		want            string
	}{
		"good":                     {good, true, true, ""},
		"a certificate beside":     {beside, true, false, "certificate 1 of its chain was not issued by certificate 2"},
		"another's root":           {foreign, false, false, "certificate 1 of its chain was not issued by certificate 2"},
		"a root that stands twice": {tsp.Authority{Leaf: good.Leaf, Intermediates: []*x509.Certificate{tsa.Intermediate, tsa.Root}, Root: tsa.Root}, true, true, ""},
	} {
		want(t, token.Verify(message, tc.authority), tc.fresh)
		remembered := tc.authority.Remember()
		var wait sync.WaitGroup
		for range 8 {
			twin := remembered
			wait.Go(func() {
				if err := token.Verify(message, twin); (err == nil) != tc.remember || tc.want != "" && !strings.Contains(err.Error(), tc.want) {
					t.Errorf("%s: %v", name, err)
				}
			})
		}
		wait.Wait()
		for _, a := range []tsp.Authority{tc.authority, remembered} {
			if err := a.Check(); (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s: checked: %v, want %q", name, err, tc.want)
			}
		}
	}
}
