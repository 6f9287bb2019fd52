package sct

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"io"
	"math"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// issued is a certificate with everything that its SCT was made from.
type issued struct {
	log, issuer *ecdsa.PrivateKey
	issuerHash  [32]byte
	cert        *x509.Certificate // final: with SCT list
	precert     *x509.Certificate // with poison
	sct         SCT
}

func newKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func keyHash(t testing.TB, key *ecdsa.PrivateKey) [32]byte {
	t.Helper()
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(spki)
}

// certify makes a leaf under an issuer named "intermediate" with the given further extensions.
func certify(t testing.TB, issuer *ecdsa.PrivateKey, subject *ecdsa.PrivateKey, extra ...pkix.Extension) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber:    big.NewInt(7),
		NotBefore:       time.Unix(1_700_000_000, 0),
		NotAfter:        time.Unix(1_700_000_600, 0),
		KeyUsage:        x509.KeyUsageDigitalSignature,
		ExtKeyUsage:     []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		EmailAddresses:  []string{"alice@acme.example"},
		ExtraExtensions: extra,
	}
	parent := &x509.Certificate{Subject: pkix.Name{CommonName: "intermediate"}, SubjectKeyId: []byte{1}}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, subject.Public(), issuer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func poison() pkix.Extension {
	return pkix.Extension{Id: OIDPoison, Critical: true, Value: asn1.NullBytes}
}

func listExtension(t testing.TB, scts ...SCT) pkix.Extension {
	t.Helper()
	value, err := MarshalList(scts)
	if err != nil {
		t.Fatal(err)
	}
	return pkix.Extension{Id: OIDList, Value: value}
}

func issue(t testing.TB, extensions []byte) issued {
	t.Helper()
	var c issued
	c.log, c.issuer = newKey(t, elliptic.P256()), newKey(t, elliptic.P256())
	c.issuerHash = keyHash(t, c.issuer)
	subject := newKey(t, elliptic.P256())
	c.precert = certify(t, c.issuer, subject, poison())
	tbs, err := PrecertTBS(c.precert.RawTBSCertificate)
	if err != nil {
		t.Fatal(err)
	}
	if c.sct, err = Sign(c.log, 1_700_000_000_123, extensions, c.issuerHash, tbs); err != nil {
		t.Fatal(err)
	}
	c.cert = certify(t, c.issuer, subject, listExtension(t, c.sct))
	return c
}

// verify does what a verifier does with the first timestamp of a certificate.
func verify(t testing.TB, cert *x509.Certificate, log *ecdsa.PublicKey, issuerHash [32]byte) error {
	t.Helper()
	scts, err := FromCertificate(cert)
	if err != nil {
		t.Fatal(err)
	}
	if len(scts) == 0 {
		t.Fatal("certificate has no SCT")
	}
	tbs, err := PrecertTBS(cert.RawTBSCertificate)
	if err != nil {
		t.Fatal(err)
	}
	return scts[0].Verify(log, issuerHash, tbs)
}

func TestLIB27_Verify(t *testing.T) {
	c := issue(t, LeafIndexExtension(41))
	other := issue(t, nil)
	p384 := newKey(t, elliptic.P384())
	for _, tc := range []struct {
		name   string
		cert   *x509.Certificate
		log    *ecdsa.PublicKey
		issuer [32]byte
		want   bool
	}{
		{"with leaf_index extension", c.cert, &c.log.PublicKey, c.issuerHash, true},
		{"without extensions", other.cert, &other.log.PublicKey, other.issuerHash, true},
		{"from another log", c.cert, &other.log.PublicKey, c.issuerHash, false},
		{"log key of another curve", c.cert, &p384.PublicKey, c.issuerHash, false},
		{"no log key", c.cert, nil, c.issuerHash, false},
		{"for another certificate", certify(t, c.issuer, newKey(t, elliptic.P256()), listExtension(t, c.sct)), &c.log.PublicKey, c.issuerHash, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := verify(t, tc.cert, tc.log, tc.issuer); (err == nil) != tc.want {
				t.Errorf("Verify: %v, want accepted %v", err, tc.want)
			}
		})
	}
}

// Two intermediates have the same name; only the key tells them apart (sigstore-rust #154).
func TestA056_SwappedIssuerKeyHash(t *testing.T) {
	c := issue(t, nil)
	sameName := newKey(t, elliptic.P256())
	if err := verify(t, c.cert, &c.log.PublicKey, keyHash(t, sameName)); err == nil {
		t.Error("accepted under another issuer of the same name")
	}
	if err := verify(t, c.cert, &c.log.PublicKey, c.issuerHash); err != nil {
		t.Errorf("refused under its own issuer: %v", err)
	}
}

func TestLIB27_EveryFieldIsBound(t *testing.T) {
	c := issue(t, LeafIndexExtension(1))
	tbs, err := PrecertTBS(c.cert.RawTBSCertificate)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.sct.Verify(&c.log.PublicKey, c.issuerHash, tbs); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(s *SCT, tbs []byte){
		"log id":           func(s *SCT, _ []byte) { s.LogID[0] ^= 1 },
		"timestamp":        func(s *SCT, _ []byte) { s.Timestamp++ },
		"extension byte":   func(s *SCT, _ []byte) { s.Extensions[7] ^= 1 },
		"no extensions":    func(s *SCT, _ []byte) { s.Extensions = nil },
		"signature bit":    func(s *SCT, _ []byte) { s.Signature[len(s.Signature)-1] ^= 1 },
		"signature longer": func(s *SCT, _ []byte) { s.Signature = append(s.Signature, 0) },
		"no signature":     func(s *SCT, _ []byte) { s.Signature = nil },
		"tbs bit":          func(_ *SCT, tbs []byte) { tbs[len(tbs)-1] ^= 1 },
	} {
		t.Run(name, func(t *testing.T) {
			s, changed := c.sct, bytes.Clone(tbs)
			s.Extensions, s.Signature = bytes.Clone(s.Extensions), bytes.Clone(s.Signature)
			change(&s, changed)
			if err := s.Verify(&c.log.PublicKey, c.issuerHash, changed); err == nil {
				t.Error("accepted")
			}
		})
	}
}

func TestLIB27_FromCertificate(t *testing.T) {
	c := issue(t, nil)
	good := listExtension(t, c.sct)
	malformed := good
	malformed.Value = good.Value[:len(good.Value)-1]

	if got, err := FromCertificate(c.precert); got != nil || err != nil {
		t.Errorf("certificate without SCTs: %v, %v; want nil, nil", got, err)
	}
	got, err := FromCertificate(c.cert)
	if diff := cmp.Diff([]SCT{c.sct}, got); err != nil || diff != "" {
		t.Errorf("certificate with one SCT: %v, %s", err, diff)
	}
	if _, err := FromCertificate(&x509.Certificate{Extensions: []pkix.Extension{malformed}}); err == nil {
		t.Error("malformed list accepted")
	}
	if _, err := FromCertificate(&x509.Certificate{Extensions: []pkix.Extension{good, good}}); err == nil {
		t.Error("duplicate extension accepted")
	}
	if _, err := FromCertificate(&x509.Certificate{Extensions: []pkix.Extension{{Id: OIDList}}}); err == nil {
		t.Error("empty extension value accepted")
	}
}

func TestSign(t *testing.T) {
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Sign(edwards, 1, nil, [32]byte{}, []byte{0x30, 0}); err == nil {
		t.Error("Ed25519 log key accepted")
	}
	if _, err := Sign(newKey(t, elliptic.P384()), 1, nil, [32]byte{}, []byte{0x30, 0}); err == nil {
		t.Error("P-384 log key accepted")
	}
	if _, err := Sign(newKey(t, elliptic.P256()), 1, make([]byte, 1<<16), [32]byte{}, []byte{0x30, 0}); err == nil {
		t.Error("64 KiB of extensions accepted")
	}
	if _, err := Sign(newKey(t, elliptic.P256()), 1, nil, [32]byte{}, []byte{0x30, 0}); err != nil {
		t.Errorf("P-256 log key refused: %v", err)
	}
}

// recorder is a key that says what it was asked for, or that it cannot sign.
type recorder struct {
	*ecdsa.PrivateKey
	hash crypto.Hash
	err  error
}

func (r *recorder) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	r.hash = opts.HashFunc()
	if r.err != nil {
		return []byte{1}, r.err
	}
	return r.PrivateKey.Sign(random, digest, opts)
}

func TestSignAsksForSHA256(t *testing.T) {
	key := &recorder{PrivateKey: newKey(t, elliptic.P256())}
	if _, err := Sign(key, 1, nil, [32]byte{}, []byte{0x30, 0}); err != nil || key.hash != crypto.SHA256 {
		t.Errorf("asked for %v, %v", key.hash, err)
	}
	key.err = errors.New("out of order")
	if _, err := Sign(key, 1, nil, [32]byte{}, []byte{0x30, 0}); !errors.Is(err, key.err) {
		t.Errorf("a key that cannot sign gives %v", err)
	}
}

// TestLIB27_SignedText signs what RFC 6962 section 3.2 says, written down byte by
// byte, and the same with one thing changed.
func TestLIB27_SignedText(t *testing.T) {
	key := newKey(t, elliptic.P256())
	id, err := LogID(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	if spki, err := x509.MarshalPKIXPublicKey(key.Public()); err != nil || id != sha256.Sum256(spki) {
		t.Errorf("the log's ID %x is not the SHA-256 of %x (%v)", id, spki, err)
	}
	issuer, tbs := sha256.Sum256([]byte("issuer")), []byte{0x30, 3, 2, 1, 1}
	text := func(version, kind, entry byte) []byte {
		return slices.Concat([]byte{version, kind, 0, 0, 1, 2, 3, 4, 5, 6, 0, entry}, issuer[:], []byte{0, 0, 5}, tbs, []byte{0, 1, 7})
	}
	for name, tc := range map[string]struct {
		text []byte
		want bool
	}{
		"as it is": {text(0, 0, 1), true}, "version 2": {text(1, 0, 1), false}, "a tree head": {text(0, 1, 1), false}, "an X.509 entry": {text(0, 0, 0), false},
	} {
		digest := sha256.Sum256(tc.text)
		sig, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		s := SCT{LogID: id, Timestamp: 0x010203040506, Extensions: []byte{7}, Signature: sig}
		if err := s.Verify(&key.PublicKey, issuer, tbs); (err == nil) != tc.want {
			t.Errorf("%s: %v, want accepted %v", name, err, tc.want)
		}
	}
}

// TestLIB27_NothingToSign: what has no log ID or no text is refused even where
// the signature is good for the zeros in their place.
func TestLIB27_NothingToSign(t *testing.T) {
	key, tbs := newKey(t, elliptic.P384()), []byte{0x30, 3, 2, 1, 1}
	s := SCT{Timestamp: 1}
	digest, err := s.digest([32]byte{}, tbs)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(key *ecdsa.PrivateKey, digest [32]byte) []byte {
		sig, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		return sig
	}
	s.Signature = sign(key, digest)
	if s.Verify(&key.PublicKey, [32]byte{}, tbs) == nil {
		t.Error("a log key on P-384 is accepted")
	}
	good := newKey(t, elliptic.P256())
	if s.LogID, err = LogID(&good.PublicKey); err != nil {
		t.Fatal(err)
	}
	s.Signature = sign(good, digest)
	if err := s.Verify(&good.PublicKey, [32]byte{}, tbs); err != nil {
		t.Errorf("the good twin is refused: %v", err)
	}
	s.Extensions, s.Signature = make([]byte, 1<<16), sign(good, [32]byte{})
	if s.Verify(&good.PublicKey, [32]byte{}, tbs) == nil {
		t.Error("extensions that cannot be signed are accepted")
	}
	//lint:ignore SA1019 no other way leads to a key that is none
	if _, err := LogID(&ecdsa.PublicKey{Curve: elliptic.P256(), X: big.NewInt(1), Y: big.NewInt(1)}); err == nil {
		t.Error("a point off the curve has a log ID")
	}
}

func TestTime(t *testing.T) {
	got, err := SCT{Timestamp: 1_700_000_000_123}.Time()
	if want := time.Date(2023, 11, 14, 22, 13, 20, 123_000_000, time.UTC); err != nil || !got.Equal(want) {
		t.Errorf("Time() = %v, %v; want %v", got, err, want)
	}
	if _, err := (SCT{Timestamp: math.MaxInt64}).Time(); err != nil {
		t.Errorf("Time() of the last timestamp: %v", err)
	}
	if got, err := (SCT{Timestamp: math.MaxInt64 + 1}).Time(); err == nil {
		t.Errorf("Time() of a timestamp beyond int64 = %v, want an error", got)
	}
}

func BenchmarkVerify(b *testing.B) {
	c := issue(b, LeafIndexExtension(1))
	b.ReportAllocs()
	for b.Loop() {
		if err := verify(b, c.cert, &c.log.PublicKey, c.issuerHash); err != nil {
			b.Fatal(err)
		}
	}
}
