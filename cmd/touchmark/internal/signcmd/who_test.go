package signcmd

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/commandtest"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/console"
	"github.com/touchmark/touchmark/services/issuer/issuertest"
	"github.com/touchmark/touchmark/services/stack"
)

const alicePassword = "correct horse battery"

// loginWorld is a stack without development tokens, where alice has an account and the machine "ci" a secret.
func loginWorld(t *testing.T) (server, root, secretFile string) {
	t.Helper()
	var handler atomic.Value
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.Load().(http.Handler).ServeHTTP(w, r) }))
	dir := t.TempDir()
	up, err := stack.New(t.Context(), stack.Config{Dir: dir, PublicURL: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	handler.Store(up.Handler())
	t.Cleanup(func() { s.Close(); up.Close() })
	accounts, err := stack.OpenAccounts(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := accounts.AddUser("alice@acme.example", alicePassword, time.Now()); err != nil {
		t.Fatal(err)
	}
	secret, err := accounts.AddClient("ci", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return s.URL, commandtest.WriteFile(t, "trusted_root.json", string(up.TrustedRoot())), commandtest.WriteFile(t, "ci.secret", secret+"\n")
}

// person reads what touchmark tells a person, and once it has found the address in it does what the person does.
type person struct {
	bytes.Buffer
	address *regexp.Regexp
	does    func(address string)
	found   bool
}

func (p *person) Write(text []byte) (int, error) {
	n, err := p.Buffer.Write(text)
	if m := p.address.FindStringSubmatch(p.String()); m != nil && !p.found {
		p.found = true
		go p.does(m[1])
	}
	return n, err
}

func TestSignIn(t *testing.T) {
	withoutAmbientTokens(t)
	server, root, secret := loginWorld(t)
	content := commandtest.WriteFile(t, "content", "content")
	browser := regexp.MustCompile(`\s(http://127\.0\.0\.1:[0-9]+/issuer/authorize\?\S+)\n`)
	device := regexp.MustCompile(`\(or open (http://127\.0\.0\.1:[0-9]+/device\?user_code=\S+)\)\n`)
	for _, tt := range []struct {
		name    string
		flow    []string
		address *regexp.Regexp
		does    func(address string)
		status  int
		who     string
	}{
		{"browser", []string{"normal"}, browser, func(a string) { issuertest.New(t, true).Open(a).SignIn("alice@acme.example", alicePassword) }, 0, "alice@acme.example"},
		{"browser, declined", []string{"normal"}, browser, func(a string) { issuertest.New(t, true).Open(a).Submit(map[string]string{"action": "cancel"}) }, 2, "refused"},
		{"device", []string{"device"}, device, func(a string) { issuertest.New(t, false).Open(a).SignIn("alice@acme.example", alicePassword) }, 0, "alice@acme.example"},
		{"machine", []string{"client_credentials", "--oidc-client-id", "ci", "--oidc-client-secret-file", secret}, browser, nil, 0, "ci@clients.127.0.0.1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bundle := filepath.Join(t.TempDir(), "bundle")
			stderr := &person{address: tt.address, does: tt.does}
			args := append([]string{"sign-blob", "--server", server, "--trusted-root", root, "--bundle", bundle, content, "--fulcio-auth-flow"}, tt.flow...)
			if status := console.Run(t.Context(), commandtest.Root(testCommands()...), args, io.Discard, stderr); status != tt.status {
				t.Fatalf("status %d, want %d: %s", status, tt.status, stderr)
			}
			if tt.status != 0 {
				if !strings.Contains(stderr.String(), tt.who) {
					t.Errorf("stderr %s", stderr)
				}
				return
			}
			status, _, refusal := touchmark(t, "verify-blob", "--bundle", bundle, "--trusted-root", root, "--certificate-identity", tt.who, "--certificate-oidc-issuer", server, content)
			if status != 0 {
				t.Errorf("verify: status %d, %s", status, refusal)
			}
		})
	}
}

// A token that a CI system has ready is used without being asked for; one that is no token says where it came from, and nothing of itself.
func TestSignWithAmbientToken(t *testing.T) {
	server, root, _, _ := commandtest.Stack(t)
	withoutAmbientTokens(t)
	content, bundle := commandtest.WriteFile(t, "content", "content"), filepath.Join(t.TempDir(), "bundle")
	status, token, _ := touchmark(t, "token", "--server", server, "--as", "alice@acme.example")
	if status != 0 {
		t.Fatal("no token")
	}
	t.Setenv("SIGSTORE_ID_TOKEN", token)
	if status, _, stderr := touchmark(t, "sign-blob", "--server", server, "--trusted-root", root, "--bundle", bundle, content); status != 0 {
		t.Errorf("status %d, %s", status, stderr)
	}
	t.Setenv("SIGSTORE_ID_TOKEN", "s3cret")
	if status, _, stderr := touchmark(t, "sign-blob", "--server", server, "--bundle", bundle, content); status == 0 || !strings.Contains(stderr, "variable SIGSTORE_ID_TOKEN") || strings.Contains(stderr, "s3cret") {
		t.Errorf("status %d, %s", status, stderr)
	}
}
