package service

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"testing"
	"time"
)

// certificate makes a certificate and its key as PEM, signed by another or by itself.
func certificate(t *testing.T, template *x509.Certificate, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (cert *x509.Certificate, key *ecdsa.PrivateKey, certPEM, keyPEM string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber, template.NotBefore, template.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	if parent == nil {
		template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign|x509.KeyUsageDigitalSignature
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		t.Fatal(err)
	}
	if cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))
}

// Over TLS there is HTTP/2 beside HTTP/1.1, and clients are known by certificates of the authority that is named.
func TestClientCertificates(t *testing.T) {
	p := newPlace(t)
	server, _, certPEM, keyPEM := certificate(t, &x509.Certificate{Subject: pkix.Name{CommonName: "proxy"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"}}, nil, nil)
	ca, caKey, caPEM, _ := certificate(t, &x509.Certificate{Subject: pkix.Name{CommonName: "clients"}}, nil, nil)
	other, otherKey, otherPEM, _ := certificate(t, &x509.Certificate{Subject: pkix.Name{CommonName: "others"}}, nil, nil)
	p.write("proxy.pem", certPEM)
	p.write("proxy.key", keyPEM)
	p.write("clients.pem", caPEM)
	p.write("proxy.yaml", p.least()+"tls: {cert: proxy.pem, key: proxy.key, clientCA: clients.pem}\nauth:\n  access: [{subjects: [\"cert:ci@acme.example\"], repositories: [\"**\"]}]\n")
	s, _ := p.run()
	client := func(http2 bool, email string, ca *x509.Certificate, caKey *ecdsa.PrivateKey) *http.Client {
		roots := x509.NewCertPool()
		roots.AddCert(server)
		c := &tls.Config{RootCAs: roots}
		if email != "" {
			leaf, key, _, _ := certificate(t, &x509.Certificate{EmailAddresses: []string{email}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, ca, caKey)
			c.Certificates = []tls.Certificate{{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}}
		}
		return &http.Client{Transport: &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: http2}}
	}
	path := s.URL() + "/v2/app/manifests/v1"
	for _, http2 := range []bool{false, true} {
		if status, body := get(t, client(http2, "ci@acme.example", ca, caKey), path); status != 200 {
			t.Errorf("ci: %d %s", status, body)
		}
		if status, _ := get(t, client(http2, "bob@acme.example", ca, caKey), path); status != 403 {
			t.Errorf("bob: %d", status)
		}
		if status, _ := get(t, client(http2, "", nil, nil), path); status != 401 {
			t.Errorf("nobody: %d", status)
		}
		if resp, err := client(http2, "ci@acme.example", other, otherKey).Get(path); err == nil && resp.StatusCode == 200 {
			t.Error("ci with a certificate of another authority was let in")
		}
	}
	var open []*http.Client // with connections from before
	for _, http2 := range []bool{false, true} {
		c := client(http2, "ci@acme.example", ca, caKey)
		if status, body := get(t, c, path); status != 200 {
			t.Errorf("ci: %d %s", status, body)
		}
		open = append(open, c)
	}
	p.write("clients.pem", caPEM+otherPEM)
	s.reload(t.Context())
	for i, c := range open {
		if status, body := get(t, c, path); status != 200 {
			t.Errorf("connection %d, with one more authority: %d %s", i, status, body)
		}
	}
	p.write("clients.pem", otherPEM)
	s.reload(t.Context())
	for i, c := range open {
		if status, _ := get(t, c, path); status != 401 {
			t.Errorf("connection %d, whose authority was replaced: %d", i, status)
		}
	}
	if status, body := get(t, client(true, "ci@acme.example", other, otherKey), path); status != 200 {
		t.Errorf("ci of the new authority: %d %s", status, body)
	}
	if resp, err := client(true, "ci@acme.example", ca, caKey).Get(path); err == nil && resp.StatusCode == 200 {
		t.Error("ci of the former authority was let in")
	}
}

// A certificate that is renewed on disk is shown to those who connect next; connections from before go on, and files that do not belong together change nothing.
func TestRenewedCertificate(t *testing.T) {
	p := newPlace(t)
	roots := x509.NewCertPool()
	renew := func() (certPEM, keyPEM string) {
		cert, _, certPEM, keyPEM := certificate(t, &x509.Certificate{Subject: pkix.Name{CommonName: "proxy"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}, nil, nil)
		roots.AddCert(cert)
		return certPEM, keyPEM
	}
	certPEM, keyPEM := renew()
	p.write("proxy.pem", certPEM)
	p.write("proxy.key", keyPEM)
	p.write("proxy.yaml", p.least()+"tls: {cert: proxy.pem, key: proxy.key}\nauth: {anonymous: true}\n")
	s, _ := p.run()
	path := s.URL() + "/v2/app/manifests/v1"
	var shown []byte
	verify := func(state tls.ConnectionState) error { shown = state.PeerCertificates[0].Raw; return nil }
	client := func() *http.Client {
		return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, VerifyConnection: verify}}}
	}
	before := client()
	if status, body := get(t, before, path); status != 200 {
		t.Fatal(status, body)
	}
	first := shown
	newCert, newKey := renew()
	p.write("proxy.pem", newCert)
	if status, body := get(t, client(), path); status != 200 || string(shown) != string(first) {
		t.Errorf("with a certificate whose key is still the former one's: %d %s, and the certificate has changed: %v", status, body, string(shown) != string(first))
	}
	p.write("proxy.key", newKey)
	if status, body := get(t, client(), path); status != 200 || string(shown) == string(first) {
		t.Errorf("renewed: %d %s, and the certificate has changed: %v", status, body, string(shown) != string(first))
	}
	if status, body := get(t, before, path); status != 200 {
		t.Errorf("a connection from before: %d %s", status, body)
	}
}
