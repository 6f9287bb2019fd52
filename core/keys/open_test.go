package keys_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/keys"
)

func TestOpenFiles(t *testing.T) {
	key := generate(t, keys.P256)
	dir := t.TempDir()
	plain, sealed, public := filepath.Join(dir, "plain.key"), filepath.Join(dir, "sealed.key"), filepath.Join(dir, "key.pub")
	if err := errors.Join(keys.WritePrivate(plain, key), keys.WriteEncrypted(sealed, key, []byte("open sesame")), keys.WritePublic(public, key.Public())); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]fs.FileMode{plain: 0o600, sealed: 0o600, public: 0o644} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want %04o", path, info.Mode(), err, want)
		}
	}
	sealedText, err := os.ReadFile(sealed)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("TEST_KEY", string(sealedText))

	password := func(text string) keys.Options {
		return keys.Options{Password: func(context.Context, string) ([]byte, error) { return []byte(text), nil }}
	}
	for name, tt := range map[string]struct {
		ref  string
		o    keys.Options
		want string // part of the error; "" opens
	}{
		"plain":                       {plain, keys.Options{}, ""},
		"sealed":                      {sealed, password("open sesame"), ""},
		"sealed, wrong password":      {sealed, password("open barley"), "password is missing or wrong"},
		"sealed, nobody to ask":       {sealed, keys.Options{}, "password is missing or wrong"},
		"variable":                    {"env://TEST_KEY", password("open sesame"), ""},
		"variable, wrong password":    {"env://TEST_KEY", password("x"), "environment variable TEST_KEY"},
		"variable that is missing":    {"env://TEST_NO_KEY", keys.Options{}, "environment variable TEST_NO_KEY is not set"},
		"missing":                     {filepath.Join(dir, "missing"), keys.Options{}, "no such file"},
		"secret of Kubernetes":        {"k8s://ns/name", keys.Options{}, "references of k8s:// are not supported"},
		"another cloud":               {"ovhkms://key", keys.Options{}, "references of ovhkms:// are not supported"},
		"cloud without a program":     {"awskms:///alias/x", keys.Options{}, "can't be used here"},
		"token without a program":     {"pkcs11:token=t;object=o?pin-value=s3cret", keys.Options{}, "pkcs11:token=t;object=o?pin-value=..."},
		"public where private it was": {public, keys.Options{}, "mode 0644"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := keys.Open(t.Context(), tt.ref, tt.o)
			if tt.want == "" {
				if err != nil || !key.Public().(*ecdsa.PublicKey).Equal(got.Public()) {
					t.Errorf("opened %v, %v", got, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
	if got, err := keys.OpenPublic(t.Context(), public, keys.Options{}); err != nil || !key.Public().(*ecdsa.PublicKey).Equal(got) {
		t.Errorf("opened %v, %v", got, err)
	}
	for _, ref := range []string{plain, "env://TEST_KEY", "awskms:///alias/x", "k8s://ns/name"} {
		if _, err := keys.OpenPublic(t.Context(), ref, keys.Options{}); err == nil {
			t.Errorf("%s: opened as a public key", ref)
		}
	}
	asked := errors.New("nobody is there")
	if _, err := keys.Open(t.Context(), sealed, keys.Options{Password: func(_ context.Context, what string) ([]byte, error) {
		if what != sealed {
			t.Errorf("asked for the password of %q, want %q", what, sealed)
		}
		return nil, asked
	}}); !errors.Is(err, asked) {
		t.Errorf("error %v, want %v", err, asked)
	}
}

// remote is a service with one key.
type remote struct{ key crypto.Signer }

func (r remote) Open(context.Context, string) (crypto.Signer, error) { return r.key, nil }
func (r remote) OpenPublic(context.Context, string) (crypto.PublicKey, error) {
	return r.key.Public(), nil
}

func TestOpenChecksRemoteKeys(t *testing.T) {
	const ref = "awskms:///alias/x"
	o := keys.Options{Remote: remote{generate(t, keys.P384)}}
	if _, err := keys.Open(t.Context(), ref, o); err != nil {
		t.Error(err)
	}
	if _, err := keys.OpenPublic(t.Context(), ref, o); err != nil {
		t.Error(err)
	}
	o.Remote = remote{weakKey{}}
	if _, err := keys.Open(t.Context(), ref, o); err == nil || !strings.Contains(err.Error(), ref) {
		t.Errorf("error %v, want one that names the reference", err)
	}
	if _, err := keys.OpenPublic(t.Context(), ref, o); err == nil {
		t.Error("opened a weak public key")
	}
}

type weakKey struct{ crypto.Signer }

func (weakKey) Public() crypto.PublicKey { return &ecdsa.PublicKey{} }

func TestRedact(t *testing.T) {
	for ref, want := range map[string]string{
		"release.key":                               "release.key",
		"pkcs11:token=t;object=o":                   "pkcs11:token=t;object=o",
		"pkcs11:token=t?pin-value=1234":             "pkcs11:token=t?pin-value=...",
		"pkcs11:token=t?pin-value=1&module-path=/x": "pkcs11:token=t?pin-value=...&module-path=/x",
		"pkcs11:t?pin-value=1&pin-value=2":          "pkcs11:t?pin-value=...&pin-value=...",
		"pkcs11:t;pin-value=1;object=o":             "pkcs11:t;pin-value=...;object=o",
	} {
		if got := keys.Redact(ref); got != want {
			t.Errorf("%s: %s, want %s", ref, got, want)
		}
	}
}

func TestReadSecret(t *testing.T) {
	for name, tt := range map[string]struct {
		content string
		mode    fs.FileMode
		want    string // part of the error; "" is "s3cret"
	}{
		"line":           {"s3cret\n", 0o600, ""},
		"no line break":  {"s3cret", 0o400, ""},
		"of Windows":     {"s3cret\r\n", 0o600, ""},
		"group-readable": {"s3cret\n", 0o640, "mode 0640"},
		"two lines":      {"s3cret\nx\n", 0o600, "more than one line"},
		"empty":          {"\n", 0o600, "is empty"},
	} {
		path := filepath.Join(t.TempDir(), "secret")
		write(t, path, []byte(tt.content), tt.mode)
		got, err := keys.ReadSecret(path)
		if tt.want == "" && (err != nil || string(got) != "s3cret") {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path)) {
			t.Errorf("%s: error %v, want one with %q and the file", name, err, tt.want)
		}
	}
}
