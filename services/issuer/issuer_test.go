package issuer

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/touchmark/touchmark/services/issuer/accounts"
)

var testKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// people is a file of accounts without any.
func people(t testing.TB, url string) *accounts.Store {
	t.Helper()
	store, err := accounts.Open(filepath.Join(t.TempDir(), accounts.FileName), url)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// serve starts an issuer on a loopback server, with its URL.
func serve(t *testing.T, dev bool) (*Issuer, *httptest.Server) {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	url := "http://" + server.Listener.Addr().String()
	i, err := New(Config{URL: url, Key: testKey(), Accounts: people(t, url), InsecureDevTokens: dev})
	if err != nil {
		t.Fatal(err)
	}
	server.Config.Handler = i.Handler()
	server.Start()
	t.Cleanup(server.Close)
	return i, server
}

func get(t *testing.T, request *http.Request) (int, string) {
	t.Helper()
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// The documents and a token satisfy a relying party that knows nothing but the issuer's URL.
func TestDiscoveryAndToken(t *testing.T) {
	i, server := serve(t, true)
	ctx := context.Background()
	provider, err := oidc.NewProvider(ctx, i.URL())
	if err != nil {
		t.Fatal(err)
	}
	request, _ := http.NewRequest(http.MethodGet, server.URL+"/dev/token?sub=alice@acme.example", nil)
	status, token := get(t, request)
	if status != http.StatusOK {
		t.Fatalf("status %d: %s", status, token)
	}
	verified, err := provider.Verifier(&oidc.Config{ClientID: Audience}).Verify(ctx, token)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Email    string `json:"email"`
		Verified bool   `json:"email_verified"`
		ID       string `json:"jti"`
	}
	if err := verified.Claims(&got); err != nil {
		t.Fatal(err)
	}
	if got.Email != "alice@acme.example" || !got.Verified || got.ID == "" || verified.Subject != got.Email {
		t.Errorf("claims %+v, subject %q", got, verified.Subject)
	}
	if life := verified.Expiry.Sub(verified.IssuedAt); life != TokenLifetime {
		t.Errorf("token lives %v, want %v", life, TokenLifetime)
	}
}

func TestCA09_SubjectThatIsNoAddress(t *testing.T) {
	_, server := serve(t, true)
	for _, sub := range []string{
		"", "alice", "alice@", "@acme.example", "alice@acme.example\n", "alice\x00@acme.example", "Alice <alice@acme.example>",
		"<alice@acme.example>", "alice@acme.example (work)", `"a b"@acme.example`, "alice@acme.example,bob@acme.example", "ålice@acme.example",
		strings.Repeat("a", 250) + "@acme.example", strings.Repeat("a", 64<<10), "alice@acme.example\r\nX: y", "email:alice@acme.example,DNS:x",
	} {
		request, _ := http.NewRequest(http.MethodGet, server.URL+"/dev/token?sub="+url.QueryEscape(sub), nil)
		status, body := get(t, request)
		var answer struct{ Error string }
		if (status != http.StatusBadRequest && status != http.StatusRequestURITooLong) || json.Unmarshal([]byte(body), &answer) != nil || answer.Error == "" {
			t.Errorf("sub %.40q: status %d, body %.100q", sub, status, body)
		}
	}
	for _, query := range []string{"", "sub=a@b.example&sub=c@d.example", "sub=%zz", "sub=a@b.example;x"} {
		request, _ := http.NewRequest(http.MethodGet, server.URL+"/dev/token?"+query, nil)
		if status, body := get(t, request); status != http.StatusBadRequest {
			t.Errorf("query %q: status %d, body %q", query, status, body)
		}
	}
}

func TestDevTokensOnlyWhenAskedFor(t *testing.T) {
	_, server := serve(t, false)
	request, _ := http.NewRequest(http.MethodGet, server.URL+"/dev/token?sub=alice@acme.example", nil)
	if status, _ := get(t, request); status != http.StatusNotFound {
		t.Errorf("status %d, want 404", status)
	}
	for _, u := range []string{"https://sigstore.acme.example", "http://10.0.0.1:7465", "http://localhost.acme.example", "http://127.0.0.1.nip.io"} {
		if _, err := New(Config{URL: u, Key: testKey(), Accounts: people(t, u), InsecureDevTokens: true}); err == nil {
			t.Errorf("%s: development tokens were allowed", u)
		}
		if _, err := New(Config{URL: u, Key: testKey(), Accounts: people(t, u)}); err != nil {
			t.Errorf("%s without development tokens: %v", u, err)
		}
	}
}

// A name that resolves to loopback (DNS rebinding) and a peer that is not on loopback get no token.
func TestDevTokensOnLoopbackOnly(t *testing.T) {
	i, _ := serve(t, true)
	for _, test := range []struct {
		remote, host string
		want         int
	}{
		{"127.0.0.1:4444", "127.0.0.1:7465", http.StatusOK},
		{"[::1]:4444", "localhost:7465", http.StatusOK},
		{"127.0.0.1:4444", "evil.example:7465", http.StatusForbidden},
		{"192.0.2.1:4444", "127.0.0.1:7465", http.StatusForbidden},
	} {
		request := httptest.NewRequest(http.MethodGet, "/dev/token?sub=alice@acme.example", nil)
		request.RemoteAddr, request.Host = test.remote, test.host
		recorder := httptest.NewRecorder()
		i.Handler().ServeHTTP(recorder, request)
		if recorder.Code != test.want {
			t.Errorf("%s asking for %s: status %d, want %d", test.remote, test.host, recorder.Code, test.want)
		}
	}
}

func TestMethods(t *testing.T) {
	i, _ := serve(t, true)
	for _, path := range []string{"/.well-known/openid-configuration", KeysPath, "/dev/token?sub=alice@acme.example"} {
		for method, want := range map[string]int{http.MethodGet: 200, http.MethodPost: 405, http.MethodDelete: 405} {
			request := httptest.NewRequest(method, path, nil)
			request.RemoteAddr, request.Host = "127.0.0.1:4444", "localhost"
			recorder := httptest.NewRecorder()
			i.Handler().ServeHTTP(recorder, request)
			if recorder.Code != want {
				t.Errorf("%s %s: status %d, want %d", method, path, recorder.Code, want)
			}
		}
	}
}

func TestNewRefuses(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	for name, config := range map[string]Config{
		"path":           {URL: "https://acme.example/issuer", Key: testKey()},
		"trailing slash": {URL: "https://acme.example/", Key: testKey()},
		"user":           {URL: "https://good@acme.example", Key: testKey()},
		"scheme":         {URL: "ftp://acme.example", Key: testKey()},
		"empty":          {URL: "", Key: testKey()},
		"no key":         {URL: "https://acme.example"},
		"small key":      {URL: "https://acme.example", Key: small},
		"no accounts":    {URL: "https://acme.example", Key: testKey()},
	} {
		if name != "no accounts" {
			config.Accounts = people(t, "https://acme.example")
		}
		if _, err := New(config); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := New(Config{URL: "https://acme.example", Key: testKey(), Accounts: people(t, "https://acme.example")}); err != nil {
		t.Error(err)
	}
}

func TestTokenTimes(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 999, time.UTC)
	i, err := New(Config{URL: "https://acme.example", Key: testKey(), Accounts: people(t, "https://acme.example"), Clock: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	first, err := i.Token("alice@acme.example")
	if err != nil {
		t.Fatal(err)
	}
	second, err := i.Token("alice@acme.example")
	if err != nil {
		t.Fatal(err)
	}
	if first == second {
		t.Error("two tokens are the same: jti does not vary")
	}
}
