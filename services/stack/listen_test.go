package stack

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/keys"
)

// serveInBackground runs a server until the function that it returns is called, or the test ends.
func serveInBackground(t *testing.T, server *Server) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	go func() { result <- server.Serve(ctx) }()
	stop = func() error {
		cancel()
		err := <-result
		result <- err
		return err
	}
	t.Cleanup(func() { _ = stop() })
	return stop
}

// pairPEM makes a self-signed certificate of a serial number, and its key.
func pairPEM(serial int64, end time.Time) (certificate, key []byte) {
	private := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: end, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der := must(x509.CreateCertificate(rand.Reader, template, template, private.Public(), private))
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), must(keys.MarshalPrivate(private))
}

// servedSerial makes a new connection and returns the serial number of the certificate that was shown.
func servedSerial(t *testing.T, server *Server) int64 {
	t.Helper()
	connection, err := tls.Dial("tcp", strings.TrimPrefix(server.URL(), "https://"), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	return connection.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

func TestOPS04_TLSReload(t *testing.T) {
	var lines lockedBuffer
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	later := time.Now().Add(time.Hour)
	// replace puts new files in the place of the old ones, as those who renew certificates do.
	replace := func(path string, content []byte, mode os.FileMode) {
		t.Helper()
		must(0, os.WriteFile(path+".new", content, mode))
		must(0, os.Rename(path+".new", path))
	}
	certificate, key := pairPEM(1, later)
	replace(certFile, certificate, 0o644)
	replace(keyFile, key, 0o600)
	server := must(Listen(ServerConfig{Addr: "127.0.0.1:0", CertFile: certFile, KeyFile: keyFile, Logger: slog.New(slog.NewTextHandler(&lines, nil))}))
	serveInBackground(t, server)
	if !strings.HasPrefix(server.URL(), "https://") {
		t.Errorf("URL %s", server.URL())
	}
	if serial := servedSerial(t, server); serial != 1 {
		t.Errorf("serial %d, want 1", serial)
	}

	certificate, key = pairPEM(2, later)
	replace(certFile, certificate, 0o644)
	if serial := servedSerial(t, server); serial != 1 {
		t.Errorf("with half of the new pair: serial %d, want 1", serial)
	}
	replace(keyFile, key, 0o600)
	if serial := servedSerial(t, server); serial != 2 {
		t.Errorf("with the new pair: serial %d, want 2", serial)
	}

	expired, expiredKey := pairPEM(3, time.Now().Add(-time.Minute))
	for name, bad := range map[string]func(){
		"not PEM":          func() { replace(certFile, []byte("x"), 0o644) },
		"empty":            func() { replace(certFile, nil, 0o644) },
		"expired":          func() { replace(certFile, expired, 0o644); replace(keyFile, expiredKey, 0o600) },
		"another key":      func() { replace(keyFile, expiredKey, 0o600) },
		"key open to all":  func() { replace(keyFile, key, 0o604) },
		"key is missing":   func() { must(0, os.Remove(keyFile)) },
		"cert is missing":  func() { must(0, os.Remove(certFile)) },
		"key is directory": func() { must(0, os.Remove(keyFile)); must(0, os.Mkdir(keyFile, 0o700)) },
	} {
		bad()
		if serial := servedSerial(t, server); serial != 2 {
			t.Errorf("%s: serial %d, want 2", name, serial)
		}
		must(0, os.RemoveAll(keyFile))
		replace(certFile, certificate, 0o644)
		replace(keyFile, key, 0o600)
		if serial := servedSerial(t, server); serial != 2 {
			t.Errorf("%s, mended: serial %d, want 2", name, serial)
		}
	}
	if !strings.Contains(lines.String(), "cannot be used") || strings.Contains(lines.String(), "PRIVATE KEY") {
		t.Errorf("log:\n%s", lines.String())
	}
	certificate, key = pairPEM(4, later)
	replace(keyFile, key, 0o600)
	replace(certFile, certificate, 0o644)
	if serial := servedSerial(t, server); serial != 4 {
		t.Errorf("well again: serial %d, want 4", serial)
	}
}

func TestListenRefuses(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	certificate, key := pairPEM(1, time.Now().Add(time.Hour))
	must(0, os.WriteFile(certFile, certificate, 0o644))
	must(0, os.WriteFile(keyFile, key, 0o600))
	open := filepath.Join(dir, "open.key")
	must(0, os.WriteFile(open, key, 0o644))
	taken := must(net.Listen("tcp", "127.0.0.1:0"))
	defer taken.Close()
	for name, config := range map[string]ServerConfig{
		"certificate alone": {Addr: "127.0.0.1:0", CertFile: certFile},
		"key alone":         {Addr: "127.0.0.1:0", KeyFile: keyFile},
		"swapped":           {Addr: "127.0.0.1:0", CertFile: keyFile, KeyFile: certFile},
		"missing":           {Addr: "127.0.0.1:0", CertFile: certFile, KeyFile: keyFile + "x"},
		"key open to all":   {Addr: "127.0.0.1:0", CertFile: certFile, KeyFile: open},
		"port in use":       {Addr: taken.Addr().String()},
		"no port":           {Addr: "127.0.0.1"},
		"no such host":      {Addr: "256.0.0.1:0"},
	} {
		if server, err := Listen(config); err == nil {
			t.Errorf("%s: listening", name)
			_ = server.Close()
		}
	}
	_ = must(Listen(ServerConfig{Addr: "127.0.0.1:0", CertFile: certFile, KeyFile: keyFile})).Close()
}

// A request under way is answered when the order to stop comes; a new one is not taken.
func TestOPS04_Drain(t *testing.T) {
	server := must(Listen(ServerConfig{Addr: "127.0.0.1:0"}))
	entered, release := make(chan struct{}), make(chan struct{})
	server.Use(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-release
		_, _ = io.WriteString(w, "done")
	}))
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	go func() { result <- server.Serve(ctx) }()
	answer := make(chan string, 1)
	go func() {
		_, body := get(t, server.URL())
		answer <- string(body)
	}()
	<-entered
	cancel()
	// The listener closes before requests are waited for.
	for {
		connection, err := net.Dial("tcp", strings.TrimPrefix(server.URL(), "http://"))
		if err != nil {
			break
		}
		_ = connection.Close()
	}
	select {
	case err := <-result:
		t.Fatalf("stopped with a request under way: %v", err)
	default:
	}
	close(release)
	if got := <-answer; got != "done" {
		t.Errorf("answer %q", got)
	}
	if err := <-result; err != nil {
		t.Error(err)
	}
}
