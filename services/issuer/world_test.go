package issuer

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/touchmark/touchmark/services/issuer/accounts"
	"github.com/touchmark/touchmark/services/issuer/issuertest"
)

const (
	alice    = "alice@acme.example"
	password = "correct horse battery"
	callback = "http://localhost:4711/auth/callback"
)

// clock is a time that tests turn.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) turn(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// world is an issuer on a server, with alice and a client "ci", and stock client libraries for it.
type world struct {
	*Issuer
	server   *httptest.Server
	accounts *accounts.Store
	clock    *clock
	secret   string // ci's
	provider *oidc.Provider
	config   oauth2.Config
	verifier string // PKCE
}

func newWorld(t *testing.T) *world {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	address := "http://" + server.Listener.Addr().String()
	w := &world{server: server, accounts: people(t, address), clock: &clock{now: time.Now()}, verifier: oauth2.GenerateVerifier()}
	if err := w.accounts.AddUser(alice, password, w.clock.Now()); err != nil {
		t.Fatal(err)
	}
	var err error
	if w.secret, err = w.accounts.AddClient("ci", w.clock.Now()); err != nil {
		t.Fatal(err)
	}
	if w.Issuer, err = New(Config{URL: address, Key: testKey(), Accounts: w.accounts, Clock: w.clock.Now}); err != nil {
		t.Fatal(err)
	}
	server.Config.Handler = w.Handler()
	server.Start()
	t.Cleanup(server.Close)
	if w.provider, err = oidc.NewProvider(t.Context(), address); err != nil {
		t.Fatal(err)
	}
	w.config = oauth2.Config{ClientID: Audience, Endpoint: w.provider.Endpoint(), Scopes: []string{oidc.ScopeOpenID, "email"}, RedirectURL: callback}
	return w
}

// authURL is where a client sends the browser, as cosign does, with parameters added or, with the value "-", left out.
func (w *world) authURL(t *testing.T, changed map[string]string) string {
	t.Helper()
	u, err := url.Parse(w.config.AuthCodeURL("the-state", oauth2.S256ChallengeOption(w.verifier), oauth2.AccessTypeOnline, oidc.Nonce("the-nonce")))
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	for name, value := range changed {
		if query.Set(name, value); value == "-" {
			query.Del(name)
		}
	}
	u.RawQuery = query.Encode()
	return u.String()
}

// code signs alice in and returns what the browser brings back.
func (w *world) code(t *testing.T) url.Values {
	t.Helper()
	p := issuertest.New(t, false).Open(w.authURL(t, nil)).SignIn(alice, password)
	back, err := url.Parse(p.Location)
	if err != nil || p.Status != http.StatusSeeOther || !strings.HasPrefix(p.Location, callback+"?") || back.Query().Get("code") == "" {
		t.Fatalf("status %d, location %q, %v\n%s", p.Status, p.Location, err, p.Body)
	}
	return back.Query()
}

// exchange exchanges a code as cosign does.
func (w *world) exchange(ctx context.Context, code, verifier string) (*oauth2.Token, error) {
	return w.config.Exchange(ctx, code, oauth2.VerifierOption(verifier))
}

// check verifies an ID token for a client as a relying party does, and returns its claims.
func (w *world) check(t *testing.T, raw any, clientID string) claims {
	t.Helper()
	text, _ := raw.(string)
	token, err := w.provider.Verifier(&oidc.Config{ClientID: clientID, Now: w.clock.Now}).Verify(t.Context(), text)
	if err != nil {
		t.Fatal(err)
	}
	var c claims
	if err := token.Claims(&c); err != nil {
		t.Fatal(err)
	}
	return c
}

// answered is an answer of the protocol's endpoints.
type answered struct {
	Status      int
	Header      http.Header
	Error       string `json:"error"`
	Description string `json:"error_description"`
	IDToken     string `json:"id_token"`
	Refresh     string `json:"refresh_token"`
	DeviceCode  string `json:"device_code"`
	UserCode    string `json:"user_code"`
	Complete    string `json:"verification_uri_complete"`
	Interval    int    `json:"interval"`
}

// post posts a form to a path.
func (w *world) post(t *testing.T, path string, form url.Values) answered {
	t.Helper()
	response, err := http.PostForm(w.url+path, form)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answered{Status: response.StatusCode, Header: response.Header}
	if err := json.Unmarshal(body, &a); err != nil {
		t.Fatalf("%s: status %d, %v: %s", path, response.StatusCode, err, body)
	}
	return a
}

func challenge(verifier string) string {
	digest := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(digest[:])
}
