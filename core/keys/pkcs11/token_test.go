//go:build cgo

package pkcs11_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/core/keys/pkcs11"
	"github.com/touchmark/touchmark/core/keys/worker"
)

// TestToken does everything with one token: a driver is initialised once in a process, and reads its configuration then.
func TestToken(t *testing.T) {
	hsm := coretest.NewSoftHSM(t)
	made := map[string]crypto.Signer{}
	for label, algorithm := range map[string]keys.Algorithm{"p256": keys.P256, "p384": keys.P384, "p521": keys.P521, "rsa": keys.RSA3072} {
		key, err := keys.Generate(algorithm)
		if err != nil {
			t.Fatal(err)
		}
		made[label] = key
		hsm.Import(t, label, "0"+string(rune('0'+len(made))), key)
	}
	for _, id := range []string{"21", "22"} {
		hsm.Import(t, "twin", id, made["p256"])
	}
	weak, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	hsm.Import(t, "weak", "31", weak)

	backend := &pkcs11.Backend{Module: hsm.Module}
	uri := func(label string) string { return "pkcs11:token=touchmark%20test;object=" + label }
	pin := []byte(hsm.PIN)

	for label, key := range made {
		t.Run("sign with "+label, func(t *testing.T) {
			pub, err := backend.Public(t.Context(), uri(label), nil) // needs no PIN
			if err != nil || !equal(pub, key.Public()) {
				t.Fatalf("public key %v, %v", pub, err)
			}
			signer, err := backend.Open(t.Context(), uri(label), pin)
			if err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() { signs(t, signer) })
			}
			wg.Wait()
		})
	}

	t.Run("by id", func(t *testing.T) {
		signer, err := backend.Open(t.Context(), "pkcs11:token=touchmark%20test;object=twin;id=%22", pin)
		if err != nil || !equal(signer.Public(), made["p256"].Public()) {
			t.Errorf("signer %v, %v", signer, err)
		}
	})
	t.Run("PIN from a file", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "pin")
		if err := os.WriteFile(path, []byte(hsm.PIN+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		signer, err := backend.Open(t.Context(), uri("p256")+"?pin-source=file:"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		signs(t, signer)
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := backend.Open(t.Context(), uri("p256")+"?pin-source=file:"+path, nil); err == nil || !strings.Contains(err.Error(), path+" has mode 0644") {
			t.Errorf("error %v, want one about the file's mode", err)
		}
	})
	t.Run("no PIN", func(t *testing.T) {
		_, err := backend.Open(t.Context(), uri("p256"), nil)
		if need := worker.NeedsPIN(""); !errors.As(err, &need) || string(need) != `token "touchmark test"` {
			t.Errorf("error %v, want a NeedsPIN for the token", err)
		}
	})

	for name, tt := range map[string]struct{ ref, want string }{
		"wrong PIN":       {uri("p256") + "?pin-value=s3cret-wrong", "the PIN is wrong"},
		"no such key":     {uri("missing"), "no private key of that name"},
		"two of a name":   {uri("twin"), "several keys are named so"},
		"P-224":           {uri("weak"), "curve 1.3.132.0.33 is not supported"},
		"no such token":   {"pkcs11:token=other;object=p256", "no such token"},
		"other serial":    {"pkcs11:token=touchmark%20test;serial=1;object=p256", "no such token"},
		"no such driver":  {uri("p256") + "?module-path=/nonexistent/p11.so", "loading PKCS#11 driver /nonexistent/p11.so"},
		"no driver at it": {uri("p256") + "?module-path=/etc/passwd", "loading PKCS#11 driver /etc/passwd"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := backend.Open(t.Context(), tt.ref, pin)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
			if err != nil && (strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), hsm.PIN)) {
				t.Errorf("the PIN is in the error %q", err)
			}
		})
	}
}

func signs(t *testing.T, signer crypto.Signer) {
	t.Helper()
	sig, err := keys.Sign(signer, []byte("message"))
	if err != nil {
		t.Error(err)
		return
	}
	h := keys.Hash(signer.Public()).New()
	h.Write([]byte("message"))
	switch k := signer.Public().(type) {
	case *ecdsa.PublicKey:
		if !ecdsa.VerifyASN1(k, h.Sum(nil), sig) {
			t.Error("the signature doesn't verify")
		}
	case *rsa.PublicKey:
		if err := rsa.VerifyPKCS1v15(k, crypto.SHA256, h.Sum(nil), sig); err != nil {
			t.Error(err)
		}
		digest := sha512.Sum512([]byte("message"))
		sig, err := signer.Sign(rand.Reader, digest[:], crypto.SHA512)
		if err != nil || rsa.VerifyPKCS1v15(k, crypto.SHA512, digest[:], sig) != nil {
			t.Errorf("with SHA-512: %v", err)
		}
	}
}

func equal(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
}
