package integration

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/integration/internal/lab"
)

// crane is the client, at the version in go.mod.
var crane string

func TestMain(m *testing.M) {
	os.Exit(lab.Main(m, map[string]*string{"github.com/google/go-containerregistry/cmd/crane": &crane}))
}

// TestStory goes the way of a user, with registries that have the referrers API
// and with such that don't: sign, verify, pull through the proxy with stock
// clients, kill the Sigstore, go on.
func TestStory(t *testing.T) {
	skopeo := coretest.RequireTool(t, "skopeo")
	for _, withReferrers := range []bool{true, false} {
		t.Run(map[bool]string{true: "referrers", false: "fallback tag"}[withReferrers], func(t *testing.T) {
			w := lab.New(t, withReferrers)
			image := w.Image(t, "acme/app", 1)
			policy := w.Policy(t)
			rules := []string{"--policy", policy, "--trusted-root", w.Root}
			proxy := lab.Start(t, "/v2/", append([]string{"proxy", "--upstream", "http://" + w.Registry, "--listen", "127.0.0.1:0"}, rules...)...)
			through := strings.Replace(image, w.Registry, strings.TrimPrefix(proxy.URL, "http://"), 1)

			// Nobody has signed: exit status 1, and stock clients show the reason.
			lab.Touchmark(t, 1, append([]string{"verify", image}, rules...)...)
			r := lab.Command{Program: crane}.Run(t, "pull", "--insecure", through, filepath.Join(t.TempDir(), "image.tar"))
			if r.Status == 0 || !strings.Contains(r.Stderr, "is not signed") {
				t.Errorf("crane pulled an unsigned image, or does not say why not:\n%s", r.Stderr)
			}
			r = lab.Command{Program: skopeo}.Run(t, "copy", "--src-tls-verify=false", "--all", "docker://"+through, "dir:"+t.TempDir())
			if r.Status == 0 || !strings.Contains(r.Stderr, "is not signed") {
				t.Errorf("skopeo pulled an unsigned image, or does not say why not:\n%s", r.Stderr)
			}

			// Mallory signs: still refused, and everybody learns who it was.
			lab.Touchmark(t, 0, "sign", "--server", w.Stack.URL, "--as", "mallory@evil.example", "--trusted-root", w.Root, image)
			r = lab.Touchmark(t, 1, append([]string{"verify", image}, rules...)...)
			if !strings.Contains(r.Stderr, "mallory@evil.example") {
				t.Errorf("the refusal does not name the signer:\n%s", r.Stderr)
			}

			// Alice signs: admitted for the index and for each platform.
			lab.Touchmark(t, 0, "sign", "--server", w.Stack.URL, "--as", "alice@acme.example", "--trusted-root", w.Root, image)
			for _, ref := range append(lab.Platforms(t, image), image) {
				var v gate.Verdict
				r := lab.Touchmark(t, 0, append([]string{"verify", "-o", "json", ref}, rules...)...)
				if err := json.Unmarshal([]byte(r.Stdout), &v); err != nil {
					t.Fatalf("verify -o json: %v\n%s", err, r.Stdout)
				}
				if !v.Admitted() || !strings.Contains(v.Reason, "alice@acme.example") {
					t.Errorf("the verdict about %s is %s: %s", ref, v.Outcome, v.Reason)
				}
			}
			pull(t, skopeo, through)

			// Somebody else's expectations are not met.
			for _, flags := range [][]string{
				{"--certificate-identity", "bob@acme.example", "--certificate-oidc-issuer", w.Stack.URL},
				{"--certificate-identity", "alice@acme.example", "--certificate-oidc-issuer", "https://other.example"},
				{"--certificate-identity-regexp", "alice@acme", "--certificate-oidc-issuer", w.Stack.URL},
			} {
				lab.Touchmark(t, 1, append([]string{"verify", "--trusted-root", w.Root, image}, flags...)...)
			}
			lab.Touchmark(t, 0, "verify", "--trusted-root", w.Root, image,
				"--certificate-identity-regexp", ".*@acme[.]example", "--certificate-oidc-issuer", w.Stack.URL)
			explained := lab.Touchmark(t, 0, append([]string{"explain", image}, rules...)...).Stdout
			for _, text := range []string{"alice@acme.example", "log proof", "certificate log"} {
				if !strings.Contains(explained, text) {
					t.Errorf("explain does not speak of %q:\n%s", text, explained)
				}
			}

			// The Sigstore dies; verifying and pulling go on, signing says so.
			w.Stack.Kill()
			lab.Touchmark(t, 0, append([]string{"verify", image}, rules...)...)
			pull(t, skopeo, through)
			r = lab.Touchmark(t, 3, "sign", "--server", w.Stack.URL, "--as", "alice@acme.example", image)
			if !strings.Contains(r.Stderr, w.Stack.URL) {
				t.Errorf("the error does not name the URL:\n%s", r.Stderr)
			}

			// It comes back with the same keys and the same log.
			w.Up(t, strings.TrimPrefix(w.Stack.URL, "http://"))
			second := w.Image(t, "acme/second", 2)
			lab.Touchmark(t, 0, "sign", "--server", w.Stack.URL, "--as", "alice@acme.example", "--trusted-root", w.Root, second)
			lab.Touchmark(t, 0, append([]string{"verify", second}, rules...)...)
			w.Stack.End(syscall.SIGTERM)
		})
	}
}

// pull pulls with both stock clients and wants success, within the time for which the proxy remembers a refusal.
func pull(t *testing.T, skopeo, image string) {
	t.Helper()
	for name, attempt := range map[string]func() lab.Result{
		"crane": func() lab.Result {
			return lab.Command{Program: crane}.Run(t, "pull", "--insecure", image, filepath.Join(t.TempDir(), "image.tar"))
		},
		"skopeo": func() lab.Result {
			return lab.Command{Program: skopeo}.Run(t, "copy", "--src-tls-verify=false", "--all", "docker://"+image, "dir:"+t.TempDir())
		},
	} {
		r := attempt()
		for deadline := time.Now().Add(2 * time.Second); r.Status != 0 && time.Now().Before(deadline); {
			r = attempt()
		}
		if r.Status != 0 {
			t.Errorf("%s did not pull: %s", name, r.Stderr)
		}
	}
}

// TestDemo runs the README's first command.
func TestDemo(t *testing.T) {
	r := lab.Touchmark(t, 0, "demo")
	if strings.Contains(r.Stdout, "\x1b") {
		t.Error("the demo prints escape sequences into a pipe")
	}
	if !strings.Contains(r.Stdout, "Every step went as it must.") || strings.Contains(r.Stdout, "NOT AS IT MUST BE") {
		t.Errorf("the demo says\n%s", r.Stdout)
	}
}
