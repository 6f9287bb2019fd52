package keycmd

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/commandtest"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/policycmd"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/signcmd"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/verifycmd"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/keys"
)

func TestGenerateKeyPair(t *testing.T) {
	prefix := filepath.Join(t.TempDir(), "release")
	t.Setenv("COSIGN_PASSWORD", "open sesame")
	if status, stdout, stderr := touchmark(t, "generate-key-pair", "--output-key-prefix", prefix); status != 0 || !strings.Contains(stdout, prefix+".pub") {
		t.Fatalf("status %d, %s%s", status, stdout, stderr)
	}
	for path, want := range map[string]fs.FileMode{prefix + ".key": 0o600, prefix + ".pub": 0o644} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, want %04o", path, err, want)
		}
	}
	public, err := os.ReadFile(prefix + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	if status, stdout, stderr := touchmark(t, "public-key", "--key", prefix+".key"); status != 0 || stdout != string(public) {
		t.Errorf("status %d, %s%s, want the public key of the file", status, stdout, stderr)
	}
	if status, _, stderr := touchmark(t, "public-key", "--key", prefix+".key", "--outfile", prefix+".pub"); status != exit.StatusUndecided || !strings.Contains(stderr, "exists") {
		t.Errorf("status %d, %s, want nothing to be overwritten", status, stderr)
	}
	if status, _, stderr := touchmark(t, "generate-key-pair", "--output-key-prefix", prefix); status != exit.StatusUsage || !strings.Contains(stderr, prefix+".key") {
		t.Errorf("status %d, %s, want nothing to be overwritten", status, stderr)
	}
	t.Run("wrong password", func(t *testing.T) {
		t.Setenv("COSIGN_PASSWORD", "open barley")
		if status, stdout, stderr := touchmark(t, "public-key", "--key", prefix+".key"); status != exit.StatusUsage || stdout != "" || !strings.Contains(stderr, "password is missing or wrong") {
			t.Errorf("status %d, %s%s", status, stdout, stderr)
		}
	})
	t.Run("empty password is announced", func(t *testing.T) {
		t.Setenv("COSIGN_PASSWORD", "")
		if status, _, stderr := touchmark(t, "generate-key-pair", "--output-key-prefix", prefix+"2"); status != 0 || !strings.Contains(stderr, "the password is empty") {
			t.Errorf("status %d, %s", status, stderr)
		}
	})
}

func TestKeyPasswordFile(t *testing.T) {
	unsetenv(t, "COSIGN_PASSWORD")
	dir := t.TempDir()
	prefix, password := filepath.Join(dir, "release"), filepath.Join(dir, "password")
	if status, _, stderr := touchmark(t, "generate-key-pair", "--output-key-prefix", prefix); status != exit.StatusUsage || !strings.Contains(stderr, "TOUCHMARK_PASSWORD_FILE") {
		t.Errorf("no password: status %d, %s", status, stderr)
	}
	if err := os.WriteFile(password, []byte("open sesame\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TOUCHMARK_PASSWORD_FILE", password)
	if status, _, stderr := touchmark(t, "generate-key-pair", "--output-key-prefix", prefix); status != exit.StatusUsage || !strings.Contains(stderr, password+" has mode 0644") {
		t.Errorf("readable by all: status %d, %s", status, stderr)
	}
	if err := os.Chmod(password, 0o600); err != nil {
		t.Fatal(err)
	}
	if status, _, stderr := touchmark(t, "generate-key-pair", "--output-key-prefix", prefix); status != 0 {
		t.Fatalf("status %d, %s", status, stderr)
	}
	if _, err := (keys.File{Path: prefix + ".key", Passphrase: []byte("open sesame")}).Load(); err != nil {
		t.Error(err)
	}
	t.Setenv("COSIGN_PASSWORD", "open sesame")
	if status, _, stderr := touchmark(t, "public-key", "--key", prefix+".key"); status != exit.StatusUsage || !strings.Contains(stderr, "both COSIGN_PASSWORD and TOUCHMARK_PASSWORD_FILE") {
		t.Errorf("both: status %d, %s", status, stderr)
	}
}

// unsetenv removes a variable until the test's end.
func unsetenv(t *testing.T, name string) {
	t.Setenv(name, "") // remembers what was there
	if err := os.Unsetenv(name); err != nil {
		t.Fatal(err)
	}
}

func TestImportKeyPair(t *testing.T) {
	t.Setenv("COSIGN_PASSWORD", "open sesame")
	dir := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	plain, prefix := filepath.Join(dir, "plain.pem"), filepath.Join(dir, "imported")
	if err := os.WriteFile(plain, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, _, stderr := touchmark(t, "import-key-pair", "--key", plain, "-o", prefix); status != 0 {
		t.Fatalf("status %d, %s", status, stderr)
	}
	if loaded, err := (keys.File{Path: prefix + ".key", Passphrase: []byte("open sesame")}).Load(); err != nil || !key.PublicKey.Equal(loaded.Public()) {
		t.Errorf("imported %v, %v", loaded, err)
	}
	for name, tt := range map[string]struct{ file, prefix, want string }{
		"encrypted already": {prefix + ".key", prefix + "2", "is encrypted already"},
		"taken":             {plain, prefix, "exists"},
		"public":            {prefix + ".pub", prefix + "2", "mode 0644"},
		"missing":           {plain + "2", prefix + "2", "no such file"},
	} {
		if status, _, stderr := touchmark(t, "import-key-pair", "--key", tt.file, "-o", tt.prefix); status != exit.StatusUsage || !strings.Contains(stderr, tt.want) {
			t.Errorf("%s: status %d, %s, want %q", name, status, stderr, tt.want)
		}
	}
}

// cosign reads our keys and we read cosign's.
func TestKeysOfCosign(t *testing.T) {
	t.Setenv("COSIGN_PASSWORD", "open sesame")
	dir := t.TempDir()
	cosign := func(args ...string) string {
		t.Helper()
		cmd := exec.Command(pinnedCosign(t), args...)
		cmd.Dir = dir
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("cosign %v: %v", args, err)
		}
		return string(out)
	}
	ours, theirs, plain := filepath.Join(dir, "ours"), filepath.Join(dir, "theirs"), filepath.Join(dir, "plain.pem")
	if status, _, stderr := touchmark(t, "generate-key-pair", "--output-key-prefix", ours); status != 0 {
		t.Fatal(stderr)
	}
	cosign("generate-key-pair", "--output-key-prefix", theirs)
	key, err := keys.Generate(keys.RSA3072)
	if err != nil {
		t.Fatal(err)
	}
	if err := keys.WritePrivate(plain, key); err != nil {
		t.Fatal(err)
	}
	cosign("import-key-pair", "--key", plain, "--output-key-prefix", theirs+"2", "--yes")
	if status, _, stderr := touchmark(t, "import-key-pair", "--key", plain, "-o", ours+"2"); status != 0 {
		t.Fatal(stderr)
	}
	for _, prefix := range []string{ours, ours + "2", theirs, theirs + "2"} {
		want, err := os.ReadFile(prefix + ".pub")
		if err != nil {
			t.Fatal(err)
		}
		if got := cosign("public-key", "--key", prefix+".key"); got != string(want) {
			t.Errorf("%s: cosign reads\n%s, want\n%s", prefix, got, want)
		}
		if status, got, stderr := touchmark(t, "public-key", "--key", prefix+".key"); status != 0 || got != string(want) {
			t.Errorf("%s: we read\n%s%s, want\n%s", prefix, got, stderr, want)
		}
	}
}

// pinnedCosign is cosign 3 as integration/tools.sh installs it.
func pinnedCosign(t *testing.T) string {
	t.Helper()
	if cache, err := os.UserCacheDir(); err == nil {
		t.Setenv("PATH", filepath.Join(cache, "touchmark", "tools")+string(os.PathListSeparator)+os.Getenv("PATH"))
	}
	return coretest.RequireTool(t, "cosign-v3.1.3")
}

func TestKeysOnATokenFromTheCommandLine(t *testing.T) {
	hsm := coretest.NewSoftHSM(t)
	key, err := keys.Generate(keys.P256)
	if err != nil {
		t.Fatal(err)
	}
	hsm.Import(t, "release", "01", key)
	want, err := keys.MarshalPublic(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	built, dir := t.TempDir(), t.TempDir()
	if out, err := exec.Command("go", "build", "-o", built, "../../../touchmark-keys").CombinedOutput(); err != nil {
		t.Fatalf("building touchmark-keys: %v\n%s", err, out)
	}
	const uri = "pkcs11:token=touchmark%20test;object=release"
	t.Setenv("PATH", dir)
	if status, _, stderr := touchmark(t, "public-key", "--key", uri); status != exit.StatusUndecided || !strings.Contains(stderr, "touchmark-keys was not found") {
		t.Errorf("without the program: status %d, %s", status, stderr)
	}
	t.Setenv("PATH", built)
	t.Setenv("TOUCHMARK_PKCS11_MODULE_PATH", hsm.Module)
	if status, stdout, stderr := touchmark(t, "public-key", "--key", uri); status != 0 || stdout != string(want) {
		t.Errorf("status %d, %s%s", status, stdout, stderr)
	}
	t.Run("sign", func(t *testing.T) {
		server, root, _, image := commandtest.Stack(t)
		public := filepath.Join(t.TempDir(), "release.pub")
		if err := os.WriteFile(public, want, 0o644); err != nil {
			t.Fatal(err)
		}
		if status, _, stderr := touchmark(t, "sign", "--server", server, "--trusted-root", root, "--key", uri, image); status == 0 || !strings.Contains(stderr, "TOUCHMARK_PKCS11_PIN_FILE") {
			t.Errorf("without a PIN: status %d, %s", status, stderr)
		}
		t.Setenv("COSIGN_PKCS11_PIN", hsm.PIN)
		if status, _, stderr := touchmark(t, "sign", "--server", server, "--trusted-root", root, "--key", uri, image); status != 0 {
			t.Fatalf("status %d, %s", status, stderr)
		}
		for _, key := range []string{public, uri} {
			if status, stdout, stderr := touchmark(t, "verify", "--trusted-root", root, "--key", key, image); status != 0 {
				t.Errorf("verify --key %s: status %d, %s%s", key, status, stdout, stderr)
			}
		}
		// A PIN in the reference is for the token alone.
		t.Setenv("COSIGN_PKCS11_PIN", "")
		withPIN := uri + "?pin-value=" + hsm.PIN
		file := filepath.Join(dir, "file")
		if err := os.WriteFile(file, []byte("content"), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, command := range [][]string{
			{"sign", "--server", server, "--trusted-root", root, "--key", withPIN, image},
			{"sign-blob", "--server", server, "--trusted-root", root, "--key", withPIN, "--bundle", file + ".json", file},
			{"verify", "--trusted-root", root, "--key", withPIN, image},
			{"verify", "-o", "json", "--trusted-root", root, "--key", withPIN, image},
			{"explain", "--trusted-root", root, "--key", withPIN, image},
			{"verify-blob", "--trusted-root", root, "--key", withPIN, "--bundle", file + ".json", file},
			{"verify-blob", "-o", "json", "--trusted-root", root, "--key", withPIN, "--bundle", file + ".json", file},
			{"policy", "learn", "--trusted-root", root, "--key", withPIN, image},
			{"policy", "learn", "-o", "json", "--trusted-root", root, "--key", withPIN, image},
			{"public-key", "--key", withPIN},
		} {
			status, stdout, stderr := touchmark(t, command...)
			if status != 0 || strings.Contains(stdout+stderr, hsm.PIN) {
				t.Errorf("%s: status %d, and the PIN may be in what it says:\n%s%s", command[:2], status, stdout, stderr)
			}
		}
	})
	if status, _, stderr := touchmark(t, "generate-key-pair", "--kms", uri, "--output-key-prefix", filepath.Join(dir, "x")); status != exit.StatusUndecided || !strings.Contains(stderr, "pkcs11-tool") {
		t.Errorf("making a key on a token: status %d, %s", status, stderr)
	}
	if status, _, stderr := touchmark(t, "generate-key-pair", "--kms", "release.key", "--output-key-prefix", filepath.Join(dir, "x")); status != exit.StatusUsage || !strings.Contains(stderr, "no reference to a KMS") {
		t.Errorf("making a key in a file's name: status %d, %s", status, stderr)
	}
}

// touchmark runs a command, and returns its exit status and what it printed.
func touchmark(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	return commandtest.Run(t, []*cobra.Command{
		NewGenerateKeyPair(), NewImportKeyPair(), NewPublicKey(), policycmd.NewPolicy(),
		signcmd.NewSign(), signcmd.NewSignBlob(), verifycmd.NewVerify(), verifycmd.NewExplain(), verifycmd.NewVerifyBlob(),
	}, args...)
}
