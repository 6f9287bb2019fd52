package worker_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/core/keys/worker"
)

// touchmarkKeys is the real program, built once for all tests.
var touchmarkKeys string

func TestMain(m *testing.M) { os.Exit(withProgram(m)) }

func withProgram(m *testing.M) int {
	dir, err := os.MkdirTemp("", "keys-worker-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	touchmarkKeys = filepath.Join(dir, worker.Name)
	if out, err := exec.Command("go", "build", "-o", touchmarkKeys, "../../../cmd/touchmark-keys").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

func options(env ...string) keys.Options {
	return keys.Options{Remote: &worker.Client{Program: touchmarkKeys, Env: append([]string{"HOME=/nonexistent"}, env...)}}
}

// signs opens a key, compares its public half and signs with it.
func signs(t *testing.T, ref string, o keys.Options, want crypto.PublicKey) {
	t.Helper()
	signer, err := keys.Open(t.Context(), ref, o)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := keys.OpenPublic(t.Context(), ref, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []crypto.PublicKey{pub, signer.Public()} {
		if !p.(interface{ Equal(crypto.PublicKey) bool }).Equal(want) {
			t.Error("opened another key")
		}
	}
	sig, err := keys.Sign(signer, []byte("message")) // verifies it, see the package comment
	if err != nil {
		t.Fatal(err)
	}
	hash := keys.Hash(want)
	h := hash.New()
	h.Write([]byte("message"))
	switch k := want.(type) {
	case *ecdsa.PublicKey:
		if !ecdsa.VerifyASN1(k, h.Sum(nil), sig) {
			t.Error("the signature doesn't verify")
		}
	case *rsa.PublicKey:
		if err := rsa.VerifyPKCS1v15(k, hash, h.Sum(nil), sig); err != nil {
			t.Error(err)
		}
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

func TestVault(t *testing.T) {
	for _, a := range []keys.Algorithm{keys.P256, keys.P384, keys.P521, keys.RSA3072} {
		t.Run(string(a), func(t *testing.T) {
			vault := newVault(t, generate(t, a))
			signs(t, "hashivault://release", options("VAULT_ADDR="+vault.url, "VAULT_TOKEN=token"), vault.key.Public())
			signs(t, "openbao://release", options("BAO_ADDR="+vault.url, "BAO_TOKEN=token"), vault.key.Public())
		})
	}
	vault := newVault(t, generate(t, keys.P256))
	for name, tt := range map[string]struct {
		env  []string
		want string
	}{
		"wrong token": {[]string{"VAULT_ADDR=" + vault.url, "VAULT_TOKEN=other"}, "permission denied"},
		"nobody":      {[]string{"VAULT_ADDR=http://127.0.0.1:1", "VAULT_TOKEN=token", "VAULT_MAX_RETRIES=0"}, "connection refused"},
		"nowhere":     {nil, "VAULT_ADDR or BAO_ADDR is not set"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := keys.Open(t.Context(), "hashivault://release", options(tt.env...))
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "hashivault://release") {
				t.Errorf("error %v, want one with %q and the reference", err, tt.want)
			}
		})
	}
	t.Run("rotated after opening", func(t *testing.T) {
		vault := newVault(t, generate(t, keys.P256))
		signer, err := keys.Open(t.Context(), "hashivault://release", options("VAULT_ADDR="+vault.url, "VAULT_TOKEN=token"))
		if err != nil {
			t.Fatal(err)
		}
		vault.setKey(generate(t, keys.P256))
		if _, err := keys.Sign(signer, []byte("message")); err == nil || !strings.Contains(err.Error(), "rotated") {
			t.Errorf("error %v, want one about the rotation", err)
		}
	})
	t.Run("weak key", func(t *testing.T) {
		weak, err := rsa.GenerateKey(rand.Reader, 1024)
		if err != nil {
			t.Skip("this Go makes no weak keys")
		}
		vault := newVault(t, weak)
		if _, err := keys.Open(t.Context(), "hashivault://release", options("VAULT_ADDR="+vault.url, "VAULT_TOKEN=token")); err == nil || !strings.Contains(err.Error(), "1024 bits is not allowed") {
			t.Errorf("error %v, want one about the size", err)
		}
	})
	t.Run("Ed25519", func(t *testing.T) {
		vault := newVault(t, generate(t, keys.Ed25519))
		if _, err := keys.Open(t.Context(), "hashivault://release", options("VAULT_ADDR="+vault.url, "VAULT_TOKEN=token")); err == nil || !strings.Contains(err.Error(), "Ed25519") {
			t.Errorf("error %v, want one about Ed25519", err)
		}
	})
	t.Run("create", func(t *testing.T) {
		vault := newVault(t, generate(t, keys.P256))
		client := options("VAULT_ADDR="+vault.url, "VAULT_TOKEN=token").Remote.(*worker.Client)
		if _, err := client.Create(t.Context(), "hashivault://release"); err != nil {
			t.Error(err)
		}
		if !vault.wasCreated() {
			t.Error("nothing was created")
		}
	})
}

func TestAWS(t *testing.T) {
	env := func(endpoint, secret string) []string {
		return []string{"AWS_ENDPOINT_URL=" + endpoint, "AWS_REGION=eu-central-1", "AWS_ACCESS_KEY_ID=id", "AWS_SECRET_ACCESS_KEY=" + secret, "AWS_MAX_ATTEMPTS=1", "AWS_EC2_METADATA_DISABLED=true"}
	}
	for _, a := range []keys.Algorithm{keys.P256, keys.P384, keys.RSA3072} {
		t.Run(string(a), func(t *testing.T) {
			key := generate(t, a)
			signs(t, "awskms:///alias/release", options(env(newAWS(t, key), "secret")...), key.Public())
		})
	}
	t.Run("no such key", func(t *testing.T) {
		aws := newAWS(t, generate(t, keys.P256))
		_, err := keys.Open(t.Context(), "awskms:///alias/other", options(env(aws, "secret")...))
		if err == nil || !strings.Contains(err.Error(), "NotFoundException") || strings.Contains(err.Error(), "secret") {
			t.Errorf("error %v, want NotFoundException", err)
		}
	})
}

func TestPKCS11(t *testing.T) {
	hsm := coretest.NewSoftHSM(t)
	key := generate(t, keys.P256)
	hsm.Import(t, "release", "01", key)
	env := []string{"SOFTHSM2_CONF=" + os.Getenv("SOFTHSM2_CONF")}
	const uri = "pkcs11:token=touchmark%20test;object=release"

	t.Run("asks for the PIN once", func(t *testing.T) {
		o := options(append(env, "TOUCHMARK_PKCS11_MODULE_PATH="+hsm.Module)...)
		var mu sync.Mutex
		var asked []string
		o.Remote.(*worker.Client).PIN = func(_ context.Context, token string) ([]byte, error) {
			mu.Lock()
			defer mu.Unlock()
			asked = append(asked, token)
			return []byte(hsm.PIN), nil
		}
		signs(t, uri, o, key.Public())
		if len(asked) != 1 || asked[0] != `token "touchmark test"` {
			t.Errorf("asked for %q, want once, for the token", asked)
		}
	})
	withModule := uri + "?module-path=" + url.PathEscape(hsm.Module)
	t.Run("has the PIN", func(t *testing.T) {
		signs(t, withModule+"&pin-value="+hsm.PIN, options(env...), key.Public())
	})
	for name, tt := range map[string]struct{ ref, want string }{
		"nobody to ask": {withModule, `token "touchmark test" needs a PIN`},
		"wrong PIN":     {withModule + "&pin-value=s3cret", "the PIN is wrong"},
		"no driver":     {uri, "TOUCHMARK_PKCS11_MODULE_PATH"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := keys.Open(t.Context(), tt.ref, options(env...))
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("error %v, want one with %q and without the PIN", err, tt.want)
			}
		})
	}
	t.Run("PIN that is refused", func(t *testing.T) {
		o := options(env...)
		o.Remote.(*worker.Client).PIN = func(context.Context, string) ([]byte, error) { return []byte("s3cret"), nil }
		_, err := keys.Open(t.Context(), withModule, o)
		if err == nil || !strings.Contains(err.Error(), "the PIN is wrong") || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("error %v, want one about the PIN, and without it", err)
		}
	})
	t.Run("create", func(t *testing.T) {
		client := options(env...).Remote.(*worker.Client)
		if _, err := client.Create(t.Context(), withModule); err == nil || !strings.Contains(err.Error(), "pkcs11-tool") {
			t.Errorf("error %v, want one that names the way out", err)
		}
	})
}

// What is wrong with a digest is refused before it leaves.
func TestSignRefuses(t *testing.T) {
	vault := newVault(t, generate(t, keys.P256))
	signer, err := keys.Open(t.Context(), "hashivault://release", options("VAULT_ADDR="+vault.url, "VAULT_TOKEN=token"))
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte("message"))
	for name, tt := range map[string]struct {
		digest []byte
		opts   crypto.SignerOpts
	}{
		"short digest": {digest[:31], crypto.SHA256},
		"message":      {[]byte("message"), crypto.Hash(0)},
		"SHA-1":        {digest[:20], crypto.SHA1},
		"PSS":          {digest[:], &rsa.PSSOptions{Hash: crypto.SHA256}},
		"no hash":      {digest[:], nil},
	} {
		if _, err := signer.Sign(rand.Reader, tt.digest, tt.opts); err == nil {
			t.Errorf("%s: signed", name)
		}
	}
	if _, err := signer.Sign(rand.Reader, digest[:], crypto.SHA256); err != nil {
		t.Errorf("admitted twin: %v", err)
	}
}

func TestBrokenPrograms(t *testing.T) {
	for name, text := range map[string]string{
		"says nothing":     `exit 0`,
		"echoes":           `cat`,
		"fails":            `echo broken >&2; exit 1`,
		"says another key": `echo '{"publicKey":"AAAA"}'`,
		"says too much":    `echo '{"publicKey":"AAAA","x":1}'`,
		"wants more PINs":  `echo '{"needsPIN":"token"}'`,
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "program")
			if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
				t.Fatal(err)
			}
			c := &worker.Client{Program: path, PIN: func(context.Context, string) ([]byte, error) { return []byte("1234"), nil }}
			_, err := keys.Open(t.Context(), "awskms:///alias/release", keys.Options{Remote: c})
			if err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("error %v, want one that names the program", err)
			}
		})
	}
	missing := filepath.Join(t.TempDir(), "missing")
	if _, err := keys.Open(t.Context(), "awskms:///alias/release", keys.Options{Remote: &worker.Client{Program: missing}}); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), missing) {
		t.Errorf("error %v, want fs.ErrNotExist with the path", err)
	}
	if _, err := keys.Open(t.Context(), "awskms:///alias/release", keys.Options{Remote: &worker.Client{}}); err == nil || !strings.Contains(err.Error(), worker.Name) {
		t.Errorf("error %v, want one with the program's name", err)
	}
	if _, err := keys.Open(t.Context(), "pkcs11:token=t;object=o?pin-value=s3cret", keys.Options{}); err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("error %v, want one without the PIN", err)
	}
}

func TestServeRefuses(t *testing.T) {
	for name, request := range map[string]string{
		"no JSON":        "s3cret\n",
		"other protocol": `{"protocol":2,"operation":"open","ref":"x"}` + "\n",
		"unknown field":  `{"protocol":1,"operation":"open","ref":"x","pim":"s3cret"}` + "\n",
		"endless line":   strings.Repeat("x", 1<<20),
		"cut":            `{"protocol":1`,
	} {
		var out bytes.Buffer
		err := worker.Serve(t.Context(), strings.NewReader(request), &out, nil)
		if err == nil || out.Len() > 0 || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: error %v, answer %q", name, err, out.String())
		}
	}
	var out bytes.Buffer
	good := `{"protocol":1,"operation":"open","ref":"pkcs11:object=o?pin-value=s3cret"}` + "\n"
	if err := worker.Serve(t.Context(), strings.NewReader(good+good), &out, nil); err != nil || strings.Count(out.String(), "not built into") != 2 || strings.Contains(out.String(), "s3cret") {
		t.Errorf("error %v, answers %q, want two", err, out.String())
	}
}
