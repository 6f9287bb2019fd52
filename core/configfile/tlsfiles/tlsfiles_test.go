package tlsfiles_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/configfile/tlsfiles"
)

// pair is a certificate and key of this serial number, as files have them.
func pair(t *testing.T, serial int64, end time.Time) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "proxy.example"}, NotBefore: end.Add(-48 * time.Hour), NotAfter: end}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
}

// put has a file be this, in one step, as those do that renew certificates.
func put(t *testing.T, path string, text []byte, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path+".new", text, mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// faults are what may lie at the place of a file, with a word of what is said of it.
var faults = map[string]struct {
	put  func(t *testing.T, path string)
	says string
}{
	"missing":     {func(*testing.T, string) {}, "no such file"},
	"empty":       {func(t *testing.T, path string) { put(t, path, nil, 0o600) }, "PEM"},
	"a pipe":      {func(t *testing.T, path string) { check(t, syscall.Mkfifo(path, 0o600)) }, "regular file"},
	"endless":     {func(t *testing.T, path string) { check(t, os.Symlink("/dev/zero", path)) }, "regular file"},
	"too large":   {func(t *testing.T, path string) { put(t, path, make([]byte, 2<<20), 0o600) }, "larger than"},
	"a directory": {func(t *testing.T, path string) { check(t, os.Mkdir(path, 0o700)) }, "regular file"},
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestFaults: whatever lies at a file's place is an error that names it, and keeps the pair before in use.
func TestFaults(t *testing.T) {
	later := time.Now().Add(24 * time.Hour)
	for _, spoilt := range []string{"tls.crt", "tls.key"} {
		for fault, f := range faults {
			t.Run(fmt.Sprintf("%s is %s", spoilt, fault), func(t *testing.T) {
				dir := t.TempDir()
				cert, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
				certificate, secret := pair(t, 1, later)
				put(t, cert, certificate, 0o644)
				put(t, key, secret, 0o600)
				var said error
				files, err := tlsfiles.Open(cert, key, func(_ *x509.Certificate, err error) { said = err })
				check(t, err)

				path := filepath.Join(dir, spoilt)
				check(t, os.Remove(path))
				f.put(t, path)
				if used, err := files.Get(nil); err != nil || used.Leaf.SerialNumber.Int64() != 1 {
					t.Errorf("the pair before is not in use any more: %v", err)
				}
				if fault != "missing" && (said == nil || !strings.Contains(said.Error(), path) || !strings.Contains(said.Error(), f.says)) {
					t.Errorf("what is said of it is %v, want %q and %s", said, f.says, path)
				}
				_, err = tlsfiles.Open(cert, key, nil)
				if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), f.says) {
					t.Errorf("opened anew: %v, want %q and %s", err, f.says, path)
				}
			})
		}
	}
}

// TestRenewal: a pair is used from the handshake on at which both files are there.
func TestRenewal(t *testing.T) {
	later := time.Now().Add(24 * time.Hour)
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	certificate, secret := pair(t, 1, later)
	put(t, cert, certificate, 0o644)
	put(t, key, secret, 0o600)
	var said []string
	files, err := tlsfiles.Open(cert, key, func(c *x509.Certificate, err error) {
		if err != nil {
			said = append(said, "kept")
		} else {
			said = append(said, "renewed "+c.SerialNumber.String())
		}
	})
	check(t, err)
	serves := func(want int64) {
		t.Helper()
		if used, err := files.Get(nil); err != nil || used.Leaf.SerialNumber.Int64() != want {
			t.Errorf("served is %v, %v, want %d", used.Leaf.SerialNumber, err, want)
		}
	}
	serves(1)
	certificate, secret = pair(t, 2, later)
	put(t, cert, certificate, 0o644)
	serves(1) // the key is another's
	serves(1) // which is said once
	put(t, key, secret, 0o600)
	serves(2)
	ended, its := pair(t, 3, time.Now().Add(-time.Minute))
	put(t, cert, ended, 0o644)
	put(t, key, its, 0o600)
	serves(2)
	put(t, cert, certificate, 0o644)
	put(t, key, secret, 0o604)
	serves(2) // others can read the key
	if got, want := strings.Join(said, ", "), "kept, renewed 2, kept, kept"; got != want {
		t.Errorf("said was %s, want %s", got, want)
	}
}
