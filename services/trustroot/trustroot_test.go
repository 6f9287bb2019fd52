package trustroot

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/trust"
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func testConfig() Config {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root", Organization: []string{"acme"}}, NotBefore: start, NotAfter: start.AddDate(10, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	root := must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))))
	window := trust.Window{Start: start}
	log := trust.Log{BaseURL: "https://log.acme.example", ID: sha256.Sum256(root.RawSubjectPublicKeyInfo), Key: key.Public(), Window: window}
	service := trust.Service{URL: "https://log.acme.example", MajorAPIVersion: 1, Window: window, Operator: "acme"}
	v2 := service
	v2.MajorAPIVersion = 2
	return Config{
		Root: &trust.Root{
			CertificateAuthorities: []trust.CertificateAuthority{{URI: "https://ca.acme.example", Root: root, Window: window}},
			Logs:                   []trust.Log{log},
			CTLogs:                 []trust.Log{log},
		},
		SigningConfig:   &trust.SigningConfig{CAs: []trust.Service{service}, Logs: []trust.Service{service}, OIDC: []trust.Service{service}},
		SigningConfigV2: &trust.SigningConfig{CAs: []trust.Service{service}, Logs: []trust.Service{v2}, OIDC: []trust.Service{service}},
	}
}

// TestBrokenChain: nobody gets a trusted root under whose authority nothing can be verified.
func TestBrokenChain(t *testing.T) {
	config, other := testConfig(), testConfig()
	ca := &config.Root.CertificateAuthorities[0]
	ca.Intermediates = []*x509.Certificate{other.Root.CertificateAuthorities[0].Root}
	if _, err := New(config); err == nil || !strings.Contains(err.Error(), "certificateAuthorities[0].certChain") {
		t.Errorf("got %v", err)
	}
}

func TestServedAndWrittenAlike(t *testing.T) {
	d, err := New(testConfig())
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "trust")
	paths, err := d.WriteFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(d.Handler())
	t.Cleanup(server.Close)
	for _, path := range paths {
		response := must(http.Get(server.URL + "/" + filepath.Base(path)))
		served := must(io.ReadAll(response.Body))
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK || !bytes.Equal(served, must(os.ReadFile(path))) {
			t.Errorf("%s: status %d, served and written differ", path, response.StatusCode)
		}
	}
	if _, err := trust.Load("acme", filepath.Join(dir, TrustedRootFile)); err != nil {
		t.Error(err)
	}
	for path, want := range map[string]int{"/" + TrustedRootFile: http.StatusMethodNotAllowed, "/other": http.StatusNotFound} {
		response := must(http.Post(server.URL+path, "application/json", nil))
		_ = response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("POST %s: status %d, want %d", path, response.StatusCode, want)
		}
	}
}

// What verifiers would refuse is refused before it is published.
func TestNewReadsBack(t *testing.T) {
	config := testConfig()
	config.Root.Logs = append(config.Root.Logs, config.Root.Logs[0])
	if _, err := New(config); err == nil {
		t.Error("two logs of one identifier were published")
	}
	if _, err := New(Config{}); err == nil {
		t.Error("nothing was published")
	}
}

// A reader never sees half a file, and no leftovers stay.
func TestReplaceIsAtomic(t *testing.T) {
	d := must(New(testConfig()))
	dir := t.TempDir()
	paths := must(d.WriteFiles(dir))
	stop := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if content, err := os.ReadFile(paths[0]); err != nil || !bytes.Equal(content, d.TrustedRoot()) {
				t.Errorf("read %d bytes, %v", len(content), err)
				return
			}
		}
	})
	for range 20 {
		must(d.WriteFiles(dir))
	}
	close(stop)
	group.Wait()
	if entries := must(os.ReadDir(dir)); len(entries) != 3 {
		t.Errorf("%d files are in the directory, want 3", len(entries))
	}
	if info := must(os.Stat(paths[0])); info.Mode().Perm() != 0o644 {
		t.Errorf("mode %v", info.Mode())
	}
}
