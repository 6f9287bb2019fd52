package proxyfailures_test

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
	"net/http/httptest"
	"os"
	"syscall"
	"testing"
	"time"
)

// unreachable is an upstream to which there is no good connection.
type unreachable struct {
	name, url string
	slow      bool
}

// unreachable are all kinds of them; with a good connection there would be the flavour's images.
func (b *bench) unreachable(f *flavour) []unreachable {
	b.t.Helper()
	if b.dead != nil {
		return b.dead
	}
	handler := &faulty{good: f.upstream.handler, parts: f.names()}
	other := newAuthority(b.t)
	server := func(config *tls.Config) string {
		s := httptest.NewUnstartedServer(handler)
		s.Config.ErrorLog = quiet
		if s.TLS = config; config != nil {
			s.StartTLS()
		} else {
			s.Start()
		}
		b.t.Cleanup(s.Close)
		return "https://" + s.Listener.Addr().String()
	}
	certified := func(c tls.Certificate) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{c}} }
	here := net.IPv4(127, 0, 0, 1)
	b.dead = []unreachable{
		{"nobody listens", "http://127.0.0.1:1", false},
		{"its name cannot be resolved", "https://registry.invalid", false},
		{"nobody accepts", "http://" + blackhole(b.t), true},
		{"it speaks no TLS", server(nil), false},
		{"its certificate is another host's", server(certified(b.authority.issue(b.t, time.Hour, "other.example", nil))), false},
		{"its certificate has ended", server(certified(b.authority.issue(b.t, -time.Minute, "", here))), false},
		{"nobody knows its authority", server(certified(other.issue(b.t, time.Hour, "", here))), false},
		{"it wants a certificate", server(&tls.Config{Certificates: []tls.Certificate{b.authority.issue(b.t, time.Hour, "", here)}, ClientAuth: tls.RequireAnyClientCert}), false},
		{"it speaks TLS 1.1", server(&tls.Config{Certificates: []tls.Certificate{b.authority.issue(b.t, time.Hour, "", here)}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}), false},
	}
	// The twin: with a good certificate all is well.
	right := server(certified(b.authority.issue(b.t, time.Hour, "", here)))
	handler.scheme = "https"
	c := combination{flavour: f, entry: entries()[0], upstream: right}
	if problems, _, _ := c.run(b.t, b); len(problems) > 0 {
		b.t.Errorf("a registry with TLS: %s", problems)
	}
	return b.dead
}

// blackhole is an address where connections are begun and never made: the queue of those who wait is full.
func blackhole(t *testing.T) (address string) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err == nil {
		err = syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	}
	if err == nil {
		err = syscall.Listen(fd, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address = (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: name.(*syscall.SockaddrInet4).Port}).String()
	for range 64 {
		conn, err := net.DialTimeout("tcp", address, 100*time.Millisecond)
		if err != nil {
			return address
		}
		t.Cleanup(func() { conn.Close() })
	}
	t.Fatal("the kernel's queue of connections does not fill")
	return ""
}

// authority issues certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err == nil {
		a.cert, err = x509.ParseCertificate(der)
	}
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// issue makes a server's certificate for a name or an address, which ends after that time.
func (a *authority) issue(t *testing.T, ends time.Duration, dnsName string, ip net.IP) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(ends), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if dnsName != "" {
		template.DNSNames = []string{dnsName}
	} else {
		template.IPAddresses = []net.IP{ip}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// write writes the authority's certificate to a file.
func (a *authority) write(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
}
