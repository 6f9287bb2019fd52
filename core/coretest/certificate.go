package coretest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"math/big"
	"testing"
	"time"
)

// Lifetime is how long the certificates of authorities made here are valid, from one day before the time that they are made for.
const Lifetime = 10 * 365 * 24 * time.Hour

// NewKey makes an ECDSA P-256 key.
func NewKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// Issue signs template for the public key pub. A nil parent makes the certificate self-signed with key; a nil serial number is
// replaced by a random one.
func Issue(tb testing.TB, template, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	tb.Helper()
	t := *template
	if t.SerialNumber == nil {
		serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 128))
		if err != nil {
			tb.Fatal(err)
		}
		t.SerialNumber = serial
	}
	if parent == nil {
		parent = &t
	}
	der, err := x509.CreateCertificate(rand.Reader, &t, parent, pub, key)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return cert
}

// authorityTemplate is a certificate authority's certificate. Without ekus it may issue for every purpose.
func authorityTemplate(name string, now time.Time, ekus ...x509.ExtKeyUsage) *x509.Certificate {
	return &x509.Certificate{
		Subject:               pkixName(name),
		NotBefore:             now.Add(-24 * time.Hour).Truncate(time.Second),
		NotAfter:              now.Add(Lifetime).Truncate(time.Second),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		ExtKeyUsage:           ekus,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
}
