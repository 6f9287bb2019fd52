package trustcmd

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/commandtest"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/signcmd"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/verifycmd"
)

func TestTrustFetch(t *testing.T) {
	server, published, _, image := commandtest.Stack(t)
	dir := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", filepath.Join(dir, "cache"))
	root, out, signing := filepath.Join(dir, "root.json"), filepath.Join(dir, "out.json"), filepath.Join(dir, "signing.json")
	response, err := http.Get(server + "/tuf/1.root.json")
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(response.Body)
	response.Body.Close()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(root, content, 0o600); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(published)
	if err != nil {
		t.Fatal(err)
	}
	written := func() string {
		got, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		return string(got)
	}

	status, stdout, stderr := touchmark(t, "trust", "fetch", "--mirror", server+"/tuf", "--root", root, "--out", out, "--signing-config-out", signing)
	if status != 0 || stderr != "" || !strings.Contains(stdout, "root version 1") || written() != string(want) {
		t.Fatalf("status %d, %s%s", status, stdout, stderr)
	}
	// What was fetched is what signers and verifiers need.
	if status, _, stderr := touchmark(t, "sign", "--signing-config", signing, "--as", "alice@acme.example", "--server", server, "--trusted-root", out, image); status != 0 {
		t.Errorf("sign: status %d, %s", status, stderr)
	}
	if status, _, stderr := touchmark(t, "verify", "--certificate-identity", "alice@acme.example", "--certificate-oidc-issuer", server, "--trusted-root", out, image); status != 0 {
		t.Errorf("verify: status %d, %s", status, stderr)
	}

	// Offline, by the cache that --root leads to.
	if err := os.WriteFile(out, []byte("before"), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, _, stderr := touchmark(t, "trust", "fetch", "--offline", "--max-stale", "30d", "--mirror", server+"/tuf", "--root", root, "--out", out); status != 0 || written() != string(want) {
		t.Errorf("offline: status %d, %s", status, stderr)
	}

	// Whatever fails leaves the file alone.
	if err := os.WriteFile(out, []byte("before"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		args   []string
		status int
		words  string
	}{
		"no mirror":       {[]string{"--root", root}, 2, "--mirror"},
		"no root":         {[]string{"--mirror", server + "/tuf"}, 2, "--root"},
		"no root file":    {[]string{"--mirror", server + "/tuf", "--root", filepath.Join(dir, "none")}, 2, "none"},
		"directory":       {[]string{"--mirror", server + "/tuf", "--root", dir}, 2, "regular"},
		"negative":        {[]string{"--mirror", server + "/tuf", "--root", root, "--max-stale", "-1s"}, 2, "negative"},
		"no duration":     {[]string{"--mirror", server + "/tuf", "--root", root, "--max-stale", "soon"}, 2, "days such as"},
		"not a root":      {[]string{"--mirror", server + "/tuf", "--root", published}, 3, "given root"},
		"another root":    {[]string{"--mirror", "public-good", "--root", root, "--offline", "--cache", filepath.Join(dir, "empty")}, 3, "cache"},
		"nothing there":   {[]string{"--mirror", server + "/other", "--root", root, "--cache", filepath.Join(dir, "c2")}, 3, "404"},
		"credentials":     {[]string{"--mirror", "https://alice:secret@acme.example", "--root", root}, 3, "without user"},
		"subcommand only": {[]string{"unwanted"}, 2, ""},
	} {
		status, stdout, stderr := touchmark(t, append([]string{"trust", "fetch", "--out", out}, test.args...)...)
		if status != test.status || !strings.Contains(stderr, test.words) || strings.Contains(stderr, "secret") || stdout != "" || written() != "before" {
			t.Errorf("%s: status %d, want %d: %s%s", name, status, test.status, stdout, stderr)
		}
	}
	if status, _, _ := touchmark(t, "trust"); status != 2 {
		t.Errorf("trust alone: status %d", status)
	}
}

// The embedded root is given by its name, or by a policy alone. An image that is signed under another root is refused under it, and
// not for want of a root.
func TestPublicGood(t *testing.T) {
	server, root, _, image := commandtest.Stack(t)
	if status, _, stderr := touchmark(t, "sign", "--server", server, "--as", "alice@acme.example", "--trusted-root", root, image); status != 0 {
		t.Fatal(stderr)
	}
	identity := []string{"--certificate-identity", "alice@acme.example", "--certificate-oidc-issuer", server}
	for name, given := range map[string]string{"name": "public-good", "another name": "public=public-good"} {
		if status, _, stderr := touchmark(t, append([]string{"verify", "--trusted-root", given, image}, identity...)...); status != 1 {
			t.Errorf("%s: status %d, want 1: %s", name, status, stderr)
		}
	}
	policy := filepath.Join(t.TempDir(), "policy.yaml")
	text := `apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata: {name: release}
spec:
  images: [{glob: "**"}]
  authorities:
  - name: alice
    keyless:
      trustRootRef: public-good
      identities: [{issuer: "` + server + `", subject: alice@acme.example}]
`
	if err := os.WriteFile(policy, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, _, stderr := touchmark(t, "verify", "--policy", policy, image); status != 1 {
		t.Errorf("policy alone: status %d, want 1: %s", status, stderr)
	}
	// A file that is given under the name wins.
	if status, _, stderr := touchmark(t, "verify", "--policy", policy, "--trusted-root", "public-good="+root, image); status != 0 {
		t.Errorf("a file of that name: status %d, want 0: %s", status, stderr)
	}
}

// touchmark runs a command, and returns its exit status and what it printed.
func touchmark(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	return commandtest.Run(t, []*cobra.Command{New(), signcmd.NewSign(), verifycmd.NewVerify()}, args...)
}
