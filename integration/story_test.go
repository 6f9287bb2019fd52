package integration

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/gate"
)

// TestStory goes the way of a user, with registries that have the referrers API
// and with such that don't: sign, verify, pull through the proxy with stock
// clients, kill the Sigstore, go on.
func TestStory(t *testing.T) {
	skopeo := coretest.RequireTool(t, "skopeo")
	for _, withReferrers := range []bool{true, false} {
		t.Run(map[bool]string{true: "referrers", false: "fallback tag"}[withReferrers], func(t *testing.T) {
			w := newWorld(t, withReferrers)
			image := w.image(t, "acme/app", 1)
			policy := w.policy(t)
			rules := []string{"--policy", policy, "--trusted-root", w.root}
			proxy := start(t, "/v2/", append([]string{"proxy", "--upstream", "http://" + w.registry, "--listen", "127.0.0.1:0"}, rules...)...)
			through := strings.Replace(image, w.registry, strings.TrimPrefix(proxy.url, "http://"), 1)

			// Nobody has signed: exit status 1, and stock clients show the reason.
			want(t, 1, append([]string{"verify", image}, rules...)...)
			r := runCommand(t, crane, "pull", "--insecure", through, filepath.Join(t.TempDir(), "image.tar"))
			if r.status == 0 || !strings.Contains(r.stderr, "is not signed") {
				t.Errorf("crane pulled an unsigned image, or does not say why not:\n%s", r.stderr)
			}
			r = runCommand(t, skopeo, "copy", "--src-tls-verify=false", "--all", "docker://"+through, "dir:"+t.TempDir())
			if r.status == 0 || !strings.Contains(r.stderr, "is not signed") {
				t.Errorf("skopeo pulled an unsigned image, or does not say why not:\n%s", r.stderr)
			}

			// Mallory signs: still refused, and everybody learns who it was.
			want(t, 0, "sign", "--server", w.stack.url, "--as", "mallory@evil.example", "--trusted-root", w.root, image)
			r = want(t, 1, append([]string{"verify", image}, rules...)...)
			if !strings.Contains(r.stderr, "mallory@evil.example") {
				t.Errorf("the refusal does not name the signer:\n%s", r.stderr)
			}

			// Alice signs: admitted for the index and for each platform.
			want(t, 0, "sign", "--server", w.stack.url, "--as", "alice@acme.example", "--trusted-root", w.root, image)
			for _, ref := range append(platforms(t, image), image) {
				var v gate.Verdict
				r := want(t, 0, append([]string{"verify", "-o", "json", ref}, rules...)...)
				if err := json.Unmarshal([]byte(r.stdout), &v); err != nil {
					t.Fatalf("verify -o json: %v\n%s", err, r.stdout)
				}
				if !v.Admitted() || !strings.Contains(v.Reason, "alice@acme.example") {
					t.Errorf("the verdict about %s is %s: %s", ref, v.Outcome, v.Reason)
				}
			}
			pull(t, skopeo, through)

			// Somebody else's expectations are not met.
			for _, flags := range [][]string{
				{"--certificate-identity", "bob@acme.example", "--certificate-oidc-issuer", w.stack.url},
				{"--certificate-identity", "alice@acme.example", "--certificate-oidc-issuer", "https://other.example"},
				{"--certificate-identity-regexp", "alice@acme", "--certificate-oidc-issuer", w.stack.url},
			} {
				want(t, 1, append([]string{"verify", "--trusted-root", w.root, image}, flags...)...)
			}
			want(t, 0, "verify", "--trusted-root", w.root, image,
				"--certificate-identity-regexp", ".*@acme[.]example", "--certificate-oidc-issuer", w.stack.url)
			explained := want(t, 0, append([]string{"explain", image}, rules...)...).stdout
			for _, text := range []string{"alice@acme.example", "log proof", "certificate log"} {
				if !strings.Contains(explained, text) {
					t.Errorf("explain does not speak of %q:\n%s", text, explained)
				}
			}

			// The Sigstore dies; verifying and pulling go on, signing says so.
			w.stack.kill()
			want(t, 0, append([]string{"verify", image}, rules...)...)
			pull(t, skopeo, through)
			r = want(t, 3, "sign", "--server", w.stack.url, "--as", "alice@acme.example", image)
			if !strings.Contains(r.stderr, w.stack.url) {
				t.Errorf("the error does not name the URL:\n%s", r.stderr)
			}

			// It comes back with the same keys and the same log.
			w.up(t, strings.TrimPrefix(w.stack.url, "http://"))
			second := w.image(t, "acme/second", 2)
			want(t, 0, "sign", "--server", w.stack.url, "--as", "alice@acme.example", "--trusted-root", w.root, second)
			want(t, 0, append([]string{"verify", second}, rules...)...)
			w.stack.end(syscall.SIGTERM)
		})
	}
}

// pull pulls with both stock clients and wants success.
func pull(t *testing.T, skopeo, image string) {
	t.Helper()
	if r := runCommand(t, crane, "pull", "--insecure", image, filepath.Join(t.TempDir(), "image.tar")); r.status != 0 {
		t.Errorf("crane did not pull: %s", r.stderr)
	}
	if r := runCommand(t, skopeo, "copy", "--src-tls-verify=false", "--all", "docker://"+image, "dir:"+t.TempDir()); r.status != 0 {
		t.Errorf("skopeo did not pull: %s", r.stderr)
	}
}

// TestDemo runs the README's first command.
func TestDemo(t *testing.T) {
	r := want(t, 0, "demo")
	if strings.Contains(r.stdout, "\x1b") {
		t.Error("the demo prints escape sequences into a pipe")
	}
	if !strings.Contains(r.stdout, "Every step went as it must.") || strings.Contains(r.stdout, "NOT AS IT MUST BE") {
		t.Errorf("the demo says\n%s", r.stdout)
	}
}
