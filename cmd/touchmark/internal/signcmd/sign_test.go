package signcmd

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/commandtest"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/stackcmd"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/verifycmd"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/sign"
)

func TestSign(t *testing.T) {
	server, root, key, image := commandtest.Stack(t)
	t.Run("as alice, then verify", func(t *testing.T) {
		status, stdout, stderr := touchmark(t, "sign", "--server", server, "--as", "alice@acme.example", "--trusted-root", root, "-o", "json", image)
		var result sign.Result
		if err := json.Unmarshal([]byte(stdout), &result); status != 0 || err != nil || len(result.Signatures) != 3 || !result.Verified {
			t.Fatalf("status %d, %s%s", status, stdout, stderr)
		}
		status, stdout, stderr = touchmark(t, "verify", "--certificate-identity", "alice@acme.example", "--certificate-oidc-issuer", server, "--trusted-root", root, image)
		if status != 0 {
			t.Errorf("verify: status %d, %s%s", status, stdout, stderr)
		}
		status, _, stderr = touchmark(t, "verify", "--certificate-identity", "mallory@acme.example", "--certificate-oidc-issuer", server, "--trusted-root", root, image)
		if status != 1 {
			t.Errorf("verify as mallory: status %d, %s", status, stderr)
		}
	})
	t.Run("with a key", func(t *testing.T) {
		status, stdout, stderr := touchmark(t, "sign", "--server", server, "--key", key, image)
		if status != 0 || !strings.Contains(stdout, "linux/arm64") || !strings.Contains(stdout, "not verified: no --trusted-root given") {
			t.Errorf("status %d, %s%s", status, stdout, stderr)
		}
	})
	t.Run("with a token file", func(t *testing.T) {
		resp, err := http.Get(server + "/dev/token?sub=alice@acme.example")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var tok bytes.Buffer
		if _, err := tok.ReadFrom(resp.Body); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(file, tok.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, given := range []string{file, strings.TrimSpace(tok.String())} {
			if status, stdout, stderr := touchmark(t, "sign", "--server", server, "--identity-token", given, image); status != 0 || !strings.Contains(stdout, "alice@acme.example (from "+server+")") {
				t.Errorf("status %d, %s%s", status, stdout, stderr)
			}
		}
	})
}

func TestSignRefuses(t *testing.T) {
	server, root, key, image := commandtest.Stack(t)
	closed := httptest.NewServer(nil)
	closed.Close()
	public := key + ".mode"
	if err := os.WriteFile(public, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(key+".secret", []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	withoutAmbientTokens(t)
	for _, tt := range []struct {
		name   string
		args   []string
		status int
		want   string
	}{
		{"no image", []string{"--key", key}, 2, "at least one image"},
		{"bad image", []string{"--key", key, "A:B:C"}, 2, `image "A:B:C"`},
		{"nobody", []string{image}, 2, "looked at TOUCHMARK_ID_TOKEN, SIGSTORE_ID_TOKEN"},
		{"two", []string{"--key", key, "--as", "alice@acme.example", image}, 2, "only one of"},
		{"nobody's address", []string{"--as", "alice", image}, 2, "status 400"},
		{"unknown way to sign in", []string{"--fulcio-auth-flow", "magic", image}, 2, "--fulcio-auth-flow"},
		{"machine without a secret", []string{"--fulcio-auth-flow", "client_credentials", image}, 2, "--oidc-client-secret-file"},
		{"machine with a wrong secret", []string{"--fulcio-auth-flow", "client_credentials", "--oidc-client-id", "ci", "--oidc-client-secret-file", key + ".secret", image}, 2, "status 401"},
		{"sign-in at an issuer that is down", []string{"--fulcio-auth-flow", "device", "--oidc-issuer", closed.URL, image}, 3, closed.URL},
		{"certificate in no log", []string{"--tlog-upload=false", "--as", "alice@acme.example", image}, 2, "needs --key"},
		{"one bundle for two images", []string{"--key", key, "--bundle", key + ".bundle", image, image}, 2, "--bundle is for one image"},
		{"bad output", []string{"--key", key, "-o", "yaml", image}, 2, "--output"},
		{"key that others can read", []string{"--key", public, image}, 2, "mode 0644"},
		{"no such key", []string{"--key", key + ".none", image}, 2, "--key"},
		{"no such root", []string{"--key", key, "--trusted-root", root + ".none", image}, 2, "--trusted-root"},
		{"no such signing config", []string{"--key", key, "--signing-config", root, image}, 2, "--signing-config"},
		{"neither token nor file", []string{"--identity-token", "s3cret", image}, 2, "--identity-token"},
		{"server is down", []string{"--server", closed.URL, "--key", key, image}, 3, closed.URL},
		{"no TLS to another machine", []string{"--server", "http://touchmark.acme.example", "--as", "alice@acme.example", image}, 3, "plain HTTP"},
		{"no such image", []string{"--key", key, strings.Replace(image, "app", "none", 1)}, 3, "status 404"},
		{"registry is down", []string{"--key", key, strings.TrimPrefix(closed.URL, "http://") + "/app:1"}, 3, closed.URL},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, stdout, stderr := touchmark(t, append([]string{"sign", "--server", server}, tt.args...)...)
			if status != tt.status || !strings.Contains(stderr, tt.want) || stdout != "" {
				t.Errorf("status %d, want %d; %s%s", status, tt.status, stdout, stderr)
			}
			if strings.Contains(stderr, "s3cret") || strings.Count(strings.TrimSpace(stderr), "\n") > 0 {
				t.Errorf("stderr %q, want one line without secrets", stderr)
			}
		})
	}
}

// withoutAmbientTokens has the test find no token of the machine that it runs on.
func withoutAmbientTokens(t *testing.T) {
	t.Helper()
	for _, name := range []string{
		"TOUCHMARK_ID_TOKEN", "SIGSTORE_ID_TOKEN", "TOUCHMARK_ID_TOKEN_FILE", "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "BUILDKITE_AGENT_ACCESS_TOKEN",
	} {
		t.Setenv(name, "")
	}
	t.Setenv("SPIFFE_ENDPOINT_SOCKET", filepath.Join(t.TempDir(), "none"))
}

// Several images are signed one after the other; one that cannot be does not hide the others.
func TestSignSeveral(t *testing.T) {
	server, root, key, image := commandtest.Stack(t)
	second := strings.Replace(image, "app", "db", 1)
	coretest.Push(t, second, coretest.Image(t, 2))
	missing := strings.Replace(image, "app", "none", 1)
	verify := func(image string) int {
		status, _, _ := touchmark(t, "verify", "--key", commandtest.PublicKey(t, key), "--trusted-root", root, image)
		return status
	}
	status, stdout, stderr := touchmark(t, "sign", "--server", server, "--key", key, "--trusted-root", root, image, missing, second)
	if status != 3 || strings.Count(stdout, "signed:") != 2 || !strings.Contains(stderr, "/none:1") || !strings.Contains(stderr, "1 of 3 images could not be signed") {
		t.Errorf("status %d, %s%s", status, stdout, stderr)
	}
	if verify(image) != 0 || verify(second) != 0 {
		t.Error("what was said to be signed is not")
	}
	bundle := filepath.Join(t.TempDir(), "bundle.json")
	third := strings.Replace(image, "app", "third", 1)
	coretest.Push(t, third, coretest.Index(t, 3))
	status, stdout, stderr = touchmark(t, "sign", "--server", server, "--key", key, "--recursive=false", "--skip-legacy", "--bundle", bundle, third)
	if status != 0 || strings.Count(stdout, "log index") != 1 || stderr != "" {
		t.Errorf("status %d, %s%s", status, stdout, stderr)
	}
	if data, err := os.ReadFile(bundle); err != nil || !bytes.Contains(data, []byte("dsseEnvelope")) {
		t.Errorf("bundle %.100s, %v", data, err)
	}
}

// A key alone signs without any service; who verifies has to accept that.
func TestSignWithoutLog(t *testing.T) {
	_, root, key, image := commandtest.Stack(t)
	if status, stdout, stderr := touchmark(t, "sign", "--server", "http://127.0.0.1:1", "--key", key, "--tlog-upload=false", image); status != 0 || !strings.Contains(stdout, "in no log") {
		t.Fatalf("status %d, %s%s", status, stdout, stderr)
	}
	if status, _, stderr := touchmark(t, "verify", "--key", commandtest.PublicKey(t, key), "--insecure-ignore-tlog", image); status != 0 {
		t.Errorf("verify: status %d, %s", status, stderr)
	}
	if status, _, stderr := touchmark(t, "verify", "--key", commandtest.PublicKey(t, key), "--trusted-root", root, image); status != 1 {
		t.Errorf("verify with a log: status %d, %s", status, stderr)
	}
}

// testCommands are those that sign, and those by which it is seen that they did.
func testCommands() []*cobra.Command {
	return []*cobra.Command{NewSign(), NewAttest(), NewSignBlob(), NewAttestBlob(), verifycmd.NewVerify(), verifycmd.NewVerifyBlob(), verifycmd.NewVerifyBlobAttestation(), stackcmd.NewToken()}
}

// touchmark runs a command, and returns its exit status and what it printed.
func touchmark(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	return commandtest.Run(t, testCommands(), args...)
}
