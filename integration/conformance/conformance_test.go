package main_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/integration/internal/lab"
)

// program is the entry point, built.
var program string

func TestMain(m *testing.M) {
	os.Exit(lab.Main(m, map[string]*string{"github.com/touchmark/touchmark/integration/conformance": &program}))
}

// passes runs the entry point and wants success.
func passes(t *testing.T, args ...string) {
	t.Helper()
	if r := (lab.Command{Program: program}).Run(t, args...); r.Status != 0 {
		t.Errorf("%s: exit status %d\n%s", strings.Join(args, " "), r.Status, r.Output())
	}
}

// fails runs it and wants a failure with the text as its reason.
func fails(t *testing.T, text string, args ...string) {
	t.Helper()
	if r := (lab.Command{Program: program}).Run(t, args...); r.Status != 1 || !strings.Contains(r.Stderr, text) {
		t.Errorf("%s: exit status %d, want 1 with %q\n%s", strings.Join(args, " "), r.Status, text, r.Output())
	}
}

func write(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A file and a statement are signed on our own stack, and verified; everything that is not what was signed is refused.
func TestSignAndVerify(t *testing.T) {
	w, stranger := lab.New(t, true), lab.New(t, true)
	const alice = "alice@acme.example"
	token := strings.TrimSpace(lab.Touchmark(t, 0, "token", "--server", w.Stack.URL, "--as", alice).Stdout)
	content := []byte("content")
	sum := sha256.Sum256(content)
	digest := "sha256:" + hex.EncodeToString(sum[:])
	file, other := write(t, "file", content), write(t, "other", []byte("other content"))
	statement := write(t, "statement", coretest.Statement(sum, "https://slsa.dev/provenance/v1", ""))
	for _, tt := range []struct {
		inToto  bool
		signing string
	}{{false, w.Signing}, {true, w.Signing}, {false, w.Trust("signing_config_rekor_v2.v0.2.json")}, {true, w.Trust("signing_config_rekor_v2.v0.2.json")}} {
		bundle := filepath.Join(t.TempDir(), "bundle.json")
		// In the order in which the suite gives them.
		sign := []string{"sign-bundle", "--identity-token", token, "--bundle", bundle, "--trusted-root", w.Root, "--signing-config", tt.signing, file}
		if tt.inToto {
			sign = append([]string{"sign-bundle", "--in-toto"}, append(sign[1:len(sign)-1], statement)...)
		}
		passes(t, sign...)
		verify := func(identity, issuer, root, artifact string) []string {
			return []string{"verify-bundle", "--bundle", bundle, "--certificate-identity", identity, "--certificate-oidc-issuer", issuer, "--trusted-root", root, artifact}
		}
		passes(t, verify(alice, w.Stack.URL, w.Root, file)...)
		passes(t, verify(alice, w.Stack.URL, w.Root, digest)...)
		fails(t, "artifact digest", verify(alice, w.Stack.URL, w.Root, other)...)
		fails(t, "artifact digest", verify(alice, w.Stack.URL, w.Root, "sha256:"+strings.Repeat("00", 32))...)
		fails(t, "no such file", verify(alice, w.Stack.URL, w.Root, "sha256:00")...)
		fails(t, "identity", verify("bob@acme.example", w.Stack.URL, w.Root, file)...)
		fails(t, "identity", verify(alice, "https://issuer.example", w.Root, file)...)
		fails(t, "subject", verify("", w.Stack.URL, w.Root, file)...)
		fails(t, "certificate", "verify-bundle", "--bundle", bundle, "--key", write(t, "key.pub", publicKey(t)), "--trusted-root", w.Root, file)
		fails(t, "signature", "verify-bundle", "--bundle", tampered(t, bundle), "--certificate-identity", alice, "--certificate-oidc-issuer", w.Stack.URL, "--trusted-root", w.Root, file)
		fails(t, "log entry", verify(alice, w.Stack.URL, stranger.Root, file)...)
		fails(t, "identity token", append([]string{"sign-bundle", "--identity-token", token[:len(token)-20]}, sign[len(sign)-7:]...)...)
	}
}

// tampered copies a bundle with one character of its signature changed.
func tampered(t *testing.T, bundle string) string {
	t.Helper()
	text, err := os.ReadFile(bundle)
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{`"signature":"`, `"sig":"`} {
		if before, after, found := strings.Cut(string(text), field); found {
			at := 20 // inside the base64
			changed := "A"
			if after[at] == 'A' {
				changed = "B"
			}
			return write(t, "tampered.json", []byte(before+field+after[:at]+changed+after[at+1:]))
		}
	}
	t.Fatal("the bundle has no signature")
	return ""
}

func publicKey(t *testing.T) []byte {
	t.Helper()
	pem, err := os.ReadFile(filepath.Join(sigstoreGo(t), "pkg", "testing", "data", "public-keys", "public-key-validity.pem"))
	if err != nil {
		t.Fatal(err)
	}
	return pem
}

// sigstoreGo is the directory of sigstore-go's module, of which integration/oracles needs the version.
func sigstoreGo(t *testing.T) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", "github.com/sigstore/sigstore-go")
	cmd.Dir = filepath.Join("..", "oracles")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("finding sigstore-go: %v", err)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(out, &module); err != nil {
		t.Fatal(err)
	}
	return module.Dir
}

// A bundle that others made, with a certificate from another Sigstore, and one by a key that is in no log.
func TestBundlesOfOthers(t *testing.T) {
	data := filepath.Join(sigstoreGo(t), "pkg", "testing", "data")
	common := []string{"verify-bundle", "--bundle", filepath.Join(data, "bundles", "othername.sigstore.json"), "--certificate-oidc-issuer", "http://oidc.local:8080"}
	root := []string{"--trusted-root", filepath.Join(data, "trusted-roots", "scaffolding.json")}
	const digest = "sha256:bc103b4a84971ef6459b294a2b98568a2bfb72cded09d4acd1e16366a401f95b"
	run := func(identity string, root []string, artifact string) []string {
		return append(append(append([]string(nil), common...), "--certificate-identity", identity), append(append([]string(nil), root...), artifact)...)
	}
	passes(t, run("foo!oidc.local", root, digest)...)
	fails(t, "identity", run("foo@oidc.local", root, digest)...)
	fails(t, "artifact digest", run("foo!oidc.local", root, strings.Replace(digest, "bc", "cb", 1))...)
	fails(t, "log entry", run("foo!oidc.local", []string{"--trusted-root", filepath.Join(data, "trusted-roots", "public-good.json")}, digest)...)
	fails(t, "log entry", "verify-bundle", "--bundle", filepath.Join(data, "bundles", "public-key-validity.sigstore.json"), "--key", write(t, "key.pub", publicKey(t)),
		"--trusted-root", filepath.Join(data, "trusted-roots", "public-key-validity.json"), write(t, "file", []byte("test content")))
}

func TestUsage(t *testing.T) {
	file := write(t, "file", []byte("content"))
	fails(t, "want sign-bundle or verify-bundle")
	fails(t, "--bundle is missing", "verify-bundle", file)
	fails(t, "--trusted-root is missing", "verify-bundle", "--bundle", file, file)
	fails(t, "--staging", "verify-bundle", "--staging", "--bundle", file, file)
	fails(t, "exactly one file", "verify-bundle", "--bundle", file, file, file)
	fails(t, "not defined", "verify-bundle", "--offline", "--bundle", file, file)
	fails(t, file, "verify-bundle", "--bundle", file, "--trusted-root", file, file)
}
