package access_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/podman"
	"github.com/touchmark/touchmark/podman/access"
)

// authority issues certificates.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{key: newKey(t)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA of a test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.cert = a.sign(t, template, template, a.key)
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (a *authority) sign(t *testing.T, template, parent *x509.Certificate, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// issue makes a certificate for 127.0.0.1 and for clients, in PEM.
func (a *authority) issue(t *testing.T) (cert, key string) {
	t.Helper()
	private := newKey(t)
	issued := a.sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, private)
	raw, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return text("CERTIFICATE", issued.Raw), text("EC PRIVATE KEY", raw)
}

func (a *authority) pem() string { return text("CERTIFICATE", a.cert.Raw) }

func text(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// serve starts a registry in memory with something before it, by TLS with a certificate of ca, or without TLS if that is nil. clients, if it is not nil, is the
// authority of those that it admits.
func serve(t *testing.T, before func(http.Handler) http.Handler, ca, clients *authority) (host string) {
	t.Helper()
	server := httptest.NewUnstartedServer(before(registry.New(registry.Logger(log.New(io.Discard, "", 0)))))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(server.Close)
	if ca == nil {
		server.Start()
		return server.Listener.Addr().String()
	}
	certPEM, keyPEM := ca.issue(t)
	pair, err := tls.X509KeyPair([]byte(certPEM), []byte(keyPEM))
	if err != nil {
		t.Fatal(err)
	}
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	if clients != nil {
		server.TLS.ClientAuth, server.TLS.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		server.TLS.ClientCAs.AddCert(clients.cert)
	}
	server.StartTLS()
	return server.Listener.Addr().String()
}

// open lets everyone in.
func open(h http.Handler) http.Handler { return h }

// publish writes an image with a signature, as whoever the access is, and returns its digest.
func publish(t *testing.T, a *access.Access, repository string) v1.Hash {
	t.Helper()
	source, err := a.Source(repository, true)
	if err != nil {
		t.Fatal(err)
	}
	image := coretest.Image(t, 1)
	if err := remote.Write(source.Repository.Tag("1"), image, remote.WithTransport(source.Transport), remote.WithAuthFromKeychain(source.Keychain)); err != nil {
		t.Fatalf("writing image: %v", err)
	}
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := attach.WriteLegacy(t.Context(), source, digest, []byte("payload"), map[string]string{"dev.cosignproject.cosign/signature": "c2ln"}); err != nil {
		t.Fatalf("writing signature: %v", err)
	}
	return digest
}

// look is what lies beside an image, asked with or without credentials: the number of signatures, or why it can't be known.
func look(t *testing.T, a *access.Access, repository string, with bool, digest v1.Hash) (int, error) {
	t.Helper()
	source, err := a.Source(repository, with)
	if err != nil {
		return 0, err
	}
	found, err := attach.Find(t.Context(), source, digest)
	return len(found.Evidence), err
}

// admitted expects the signature, refused an error that is no "there is none".
func admitted(t *testing.T, what string, a *access.Access, repository string, with bool, digest v1.Hash) {
	t.Helper()
	if n, err := look(t, a, repository, with, digest); err != nil || n != 1 {
		t.Errorf("%s: %d signatures, %v", what, n, err)
	}
}

func refused(t *testing.T, what string, a *access.Access, repository string, with bool, digest v1.Hash, want string) {
	t.Helper()
	n, err := look(t, a, repository, with, digest)
	var lookup *attach.LookupError
	if err == nil || n != 0 || !strings.Contains(err.Error(), want) {
		t.Errorf("%s: %d signatures, %v, want an error with %q", what, n, err, want)
	} else if !errors.As(err, &lookup) && !strings.Contains(err.Error(), "certificates") {
		t.Errorf("%s: %v is no outage", what, err)
	}
}

// certsD writes files for a registry into certs.d.
func certsD(t *testing.T, h podman.Host, host string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		write(t, filepath.Join(h.Root, "etc/containers/certs.d", host, name), content)
	}
}
