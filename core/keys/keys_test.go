package keys_test

import (
	"crypto"
	"crypto/dsa" //lint:ignore SA1019 a key that must be refused
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"

	"github.com/touchmark/touchmark/core/keys"
)

func TestGenerateWriteLoadSign(t *testing.T) {
	for _, a := range []keys.Algorithm{keys.P256, keys.P384, keys.P521, keys.Ed25519, keys.RSA3072} {
		t.Run(string(a), func(t *testing.T) {
			key, err := keys.Generate(a)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "key.pem")
			if err := keys.WritePrivate(path, key); err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if got := info.Mode().Perm(); got != 0o600 {
				t.Errorf("mode %04o, want 0600", got)
			}
			loaded, err := keys.Load(path)
			if err != nil {
				t.Fatal(err)
			}
			if !loaded.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(key.Public()) {
				t.Error("loaded another key than was written")
			}
			sig, err := keys.Sign(loaded, []byte("message"))
			if err != nil {
				t.Fatal(err)
			}
			if !verifies(t, key.Public(), []byte("message"), sig) {
				t.Error("signature doesn't verify")
			}
			pemPub, err := keys.MarshalPublic(key.Public())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := keys.ParsePublic(pemPub); err != nil {
				t.Error(err)
			}
		})
	}
	if _, err := keys.Generate("dsa"); err == nil {
		t.Error("made a key of an unknown algorithm")
	}
}

func verifies(t *testing.T, pub crypto.PublicKey, message, sig []byte) bool {
	t.Helper()
	h := keys.Hash(pub)
	var digest []byte
	if h != 0 {
		hasher := h.New()
		hasher.Write(message)
		digest = hasher.Sum(nil)
	}
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(k, digest, sig)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(k, h, digest, sig) == nil
	case ed25519.PublicKey:
		return ed25519.Verify(k, message, sig)
	}
	t.Fatalf("key %T", pub)
	return false
}

func TestWritePrivateNeverOverwrites(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "key.pem")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := keys.WritePrivate(path, generate(t, keys.P256)); !errors.Is(err, fs.ErrExist) {
		t.Errorf("error %v, want fs.ErrExist", err)
	}
	if data, _ := os.ReadFile(path); string(data) != "precious" {
		t.Errorf("file is now %q", data)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 {
		t.Errorf("%d files left behind, want 1", len(entries))
	}
}

func TestLoadRefuses(t *testing.T) {
	good := privatePEM(t, generate(t, keys.P256))
	tests := []struct {
		name string
		make func(t *testing.T, path string)
		want string
	}{
		{"group-readable", func(t *testing.T, p string) { write(t, p, good, 0o640) }, "mode 0640"},
		{"world-readable", func(t *testing.T, p string) { write(t, p, good, 0o604) }, "mode 0604"},
		{"group-writable", func(t *testing.T, p string) { write(t, p, good, 0o620) }, "mode 0620"},
		{"symlink", func(t *testing.T, p string) {
			write(t, p+".real", good, 0o600)
			if err := os.Symlink(p+".real", p); err != nil {
				t.Fatal(err)
			}
		}, "symbolic link"},
		{"fifo", func(t *testing.T, p string) {
			if err := syscall.Mkfifo(p, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "not a regular file"},
		{"directory", func(t *testing.T, p string) {
			if err := os.Mkdir(p, 0o700); err != nil {
				t.Fatal(err)
			}
		}, "not a regular file"},
		{"too large", func(t *testing.T, p string) {
			write(t, p, append(good, make([]byte, 64<<10)...), 0o600)
		}, "larger than 65536 bytes"},
		{"missing", func(*testing.T, string) {}, "no such file"},
		{"empty", func(t *testing.T, p string) { write(t, p, nil, 0o600) }, "not PEM"},
		{"text before", func(t *testing.T, p string) { write(t, p, append([]byte("hello\n"), good...), 0o600) }, "not PEM"},
		{"two keys", func(t *testing.T, p string) { write(t, p, append(append([]byte{}, good...), good...), 0o600) }, "more than one PEM block"},
		{"certificate", func(t *testing.T, p string) { write(t, p, block("CERTIFICATE", []byte{1}), 0o600) }, `"CERTIFICATE"`},
		{"public key", func(t *testing.T, p string) {
			pub, _ := keys.MarshalPublic(generate(t, keys.P256).Public())
			write(t, p, pub, 0o600)
		}, `"PUBLIC KEY"`},
		{"garbage in block", func(t *testing.T, p string) { write(t, p, block("PRIVATE KEY", []byte("no DER")), 0o600) }, "asn1"},
		{"old PEM encryption", func(t *testing.T, p string) {
			b := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00"}, Bytes: []byte{1}})
			write(t, p, b, 0o600)
		}, "DEK-Info"},
		{"P-224", func(t *testing.T, p string) {
			k, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			der, err := x509.MarshalPKCS8PrivateKey(k)
			if err != nil {
				t.Fatal(err)
			}
			write(t, p, block("PRIVATE KEY", der), 0o600)
		}, "P-224 is not allowed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "key.pem")
			tt.make(t, path)
			_, err := keys.Load(path)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v, want one with %q", err, tt.want)
			}
			if !strings.Contains(err.Error(), "key.pem") {
				t.Errorf("error %q doesn't name the file", err)
			}
		})
	}
	t.Run("admitted twin", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "key.pem")
		write(t, path, good, 0o600)
		if _, err := keys.Load(path); err != nil {
			t.Error(err)
		}
	})
	t.Run("group-readable with insecure permissions", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "key.pem")
		write(t, path, good, 0o640)
		if _, err := (keys.File{Path: path, InsecurePermissions: true}).Load(); err != nil {
			t.Error(err)
		}
	})
}

func TestLoadOtherEncodings(t *testing.T) {
	ec := generate(t, keys.P384).(*ecdsa.PrivateKey)
	sec1, err := x509.MarshalECPrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048) // the smallest allowed
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"SEC 1":   block("EC PRIVATE KEY", sec1),
		"PKCS #1": block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey)),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "key.pem")
			write(t, path, data, 0o600)
			if _, err := keys.Load(path); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestLoadCosignKey(t *testing.T) {
	key := generate(t, keys.P256)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := encrypted.Encrypt(der, []byte("open sesame"))
	if err != nil {
		t.Fatal(err)
	}
	for typ, wrong := range map[string][]byte{"ENCRYPTED SIGSTORE PRIVATE KEY": nil, "ENCRYPTED COSIGN PRIVATE KEY": []byte("open barley")} {
		path := filepath.Join(t.TempDir(), "cosign.key")
		write(t, path, block(typ, sealed), 0o600)
		loaded, err := keys.File{Path: path, Passphrase: []byte("open sesame")}.Load()
		if err != nil {
			t.Fatal(err)
		}
		if !key.Public().(*ecdsa.PublicKey).Equal(loaded.Public()) {
			t.Error("loaded another key than was sealed")
		}
		if _, err := (keys.File{Path: path, Passphrase: wrong}).Load(); !errors.Is(err, keys.ErrPassphrase) {
			t.Errorf("passphrase %q: error %v, want ErrPassphrase", wrong, err)
		}
	}
}

func TestLIB32_CheckRefusesWeakKeys(t *testing.T) {
	n := func(bits uint) *big.Int { return new(big.Int).SetBit(big.NewInt(1), int(bits)-1, 1) }
	for name, pub := range map[string]crypto.PublicKey{
		"RSA-1024":                    &rsa.PublicKey{N: n(1024), E: 65537},
		"RSA-8192":                    &rsa.PublicKey{N: n(8192), E: 65537},
		"RSA exponent 3":              &rsa.PublicKey{N: n(2048), E: 3},
		"P-224":                       &ecdsa.PublicKey{Curve: elliptic.P224()},
		"no curve":                    &ecdsa.PublicKey{},
		"short Ed25519":               ed25519.PublicKey{1, 2},
		"neutral Ed25519":             append(ed25519.PublicKey{1}, make([]byte, 31)...),
		"order 4 Ed25519":             make(ed25519.PublicKey, 32),
		"order 4 Ed25519, x negative": append(make(ed25519.PublicKey, 31), 0x80),
		"DSA":                         &dsa.PublicKey{},
		"none":                        nil,
	} {
		if err := keys.Check(pub); err == nil {
			t.Errorf("%s: allowed", name)
		}
	}
	for name, pub := range map[string]crypto.PublicKey{
		"RSA-2048": &rsa.PublicKey{N: n(2048), E: 65537},
		"RSA-4096": &rsa.PublicKey{N: n(4096), E: 65537},
	} {
		if err := keys.Check(pub); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLoadPublic(t *testing.T) {
	pub, err := keys.MarshalPublic(generate(t, keys.P256).Public())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "key.pub")
	write(t, path, pub, 0o644)
	if _, err := keys.LoadPublic(path); err != nil {
		t.Error(err)
	}
	write(t, path+"2", privatePEM(t, generate(t, keys.P256)), 0o644)
	if _, err := keys.LoadPublic(path + "2"); err == nil {
		t.Error("took a private key for a public one")
	}
}

func generate(t *testing.T, a keys.Algorithm) crypto.Signer {
	t.Helper()
	key, err := keys.Generate(a)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func privatePEM(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	data, err := keys.MarshalPrivate(key)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func block(typ string, data []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: data})
}

func write(t *testing.T, path string, data []byte, mode fs.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, data, mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}
