package signin_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/token"
	"github.com/touchmark/touchmark/core/token/signin"
	"github.com/touchmark/touchmark/services/issuer/issuertest"
	"github.com/touchmark/touchmark/services/stack"
)

const (
	alice    = "alice@acme.example"
	password = "correct horse battery"
)

// newIssuer is a real stack's issuer where alice has an account and the machine "ci" has the secret that is returned.
func newIssuer(t *testing.T) (issuer, secret string) {
	t.Helper()
	var handler atomic.Value
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.Load().(http.Handler).ServeHTTP(w, r) }))
	dir := t.TempDir()
	s, err := stack.New(t.Context(), stack.Config{Dir: dir, PublicURL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	handler.Store(s.Handler())
	t.Cleanup(func() { server.Close(); s.Close() })
	accounts, err := stack.OpenAccounts(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := accounts.AddUser(alice, password, time.Now()); err != nil {
		t.Fatal(err)
	}
	if secret, err = accounts.AddClient("ci", time.Now()); err != nil {
		t.Fatal(err)
	}
	return server.URL, secret
}

func subject(t *testing.T, tok string, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	s, err := token.Subject(tok)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestBrowser(t *testing.T) {
	issuer, _ := newIssuer(t)
	var page *issuertest.Page
	b := signin.Browser{Issuer: signin.Issuer{URL: issuer}, Open: func(address string) error {
		go func() { // as a browser does: it goes on while we wait
			page = issuertest.New(t, true).Open(address)
			redirect, err := url.Parse(page.URL.Query().Get("redirect_uri"))
			if err == nil && redirect.Host != "" {
				t.Errorf("the login page knows its redirection: %s", redirect)
			}
			page = page.SignIn(alice, password)
		}()
		return nil
	}}
	tok, err := b.Token(t.Context())
	if got := subject(t, tok, err); got != alice {
		t.Errorf("token of %q", got)
	}
}

// Any web page can have the browser ask at the callback: without the state that counts for nothing. Then the person declines.
func TestBrowserTakesNoOtherAnswer(t *testing.T) {
	issuer, _ := newIssuer(t)
	var said []int
	b := signin.Browser{Issuer: signin.Issuer{URL: issuer}, Open: func(address string) error {
		u, err := url.Parse(address)
		if err != nil {
			return err
		}
		query := u.Query()
		callback := query.Get("redirect_uri")
		if query.Get("code_challenge_method") != "S256" || len(query.Get("state")) < 26 || len(query.Get("nonce")) < 26 || !strings.HasPrefix(callback, "http://localhost:") {
			t.Errorf("authorization request %s", address)
		}
		for _, answer := range []string{"", "?code=theirs", "?code=theirs&state=guessed", "?error=access_denied&state=guessed"} {
			resp, err := http.Get(callback + answer)
			if err != nil {
				return err
			}
			resp.Body.Close()
			said = append(said, resp.StatusCode)
		}
		resp, err := http.Get(callback + "?error=access_denied&error_description=not+today&state=" + url.QueryEscape(query.Get("state")))
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if text, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusForbidden || !strings.Contains(string(text), "did not sign in") {
			t.Errorf("status %d, %s", resp.StatusCode, text)
		}
		return nil
	}}
	if _, err := b.Token(t.Context()); !errors.Is(err, signin.ErrDenied) || !strings.Contains(err.Error(), "not today") {
		t.Errorf("error %v", err)
	}
	for i, status := range said {
		if status != http.StatusBadRequest {
			t.Errorf("foreign answer %d: status %d", i, status)
		}
	}
}

func TestBrowserGivesUp(t *testing.T) {
	issuer, _ := newIssuer(t)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := signin.Browser{Issuer: signin.Issuer{URL: issuer}, Open: func(string) error { cancel(); return nil }}.Token(ctx)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	broken := errors.New("no display")
	if _, err := (signin.Browser{Issuer: signin.Issuer{URL: issuer}, Open: func(string) error { return broken }}).Token(t.Context()); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
}

func TestDevice(t *testing.T) {
	t.Parallel() // the issuer wants five seconds between questions
	issuer, _ := newIssuer(t)
	d := signin.Device{Issuer: signin.Issuer{URL: issuer}, Show: func(address, code, complete string) error {
		if address != issuer+"/device" || code == "" || !strings.Contains(complete, code) {
			t.Errorf("shown: %s %s %s", address, code, complete)
		}
		issuertest.New(t, false).Open(complete).SignIn(alice, password)
		return nil
	}}
	tok, err := d.Token(t.Context())
	if got := subject(t, tok, err); got != alice {
		t.Errorf("token of %q", got)
	}
}

func TestDeviceDeclined(t *testing.T) {
	t.Parallel()
	issuer, _ := newIssuer(t)
	d := signin.Device{Issuer: signin.Issuer{URL: issuer}, Show: func(_, _, complete string) error {
		issuertest.New(t, false).Open(complete).Submit(map[string]string{"action": "cancel"})
		return nil
	}}
	if _, err := d.Token(t.Context()); !errors.Is(err, signin.ErrDenied) {
		t.Errorf("error %v", err)
	}
}

func TestMachine(t *testing.T) {
	issuer, secret := newIssuer(t)
	tok, err := signin.Machine{Issuer: signin.Issuer{URL: issuer, ClientID: "ci", ClientSecret: secret}}.Token(t.Context())
	if got := subject(t, tok, err); got != "ci@clients.127.0.0.1" {
		t.Errorf("token of %q", got)
	}
	_, err = signin.Machine{Issuer: signin.Issuer{URL: issuer, ClientID: "ci", ClientSecret: "wr0ng"}}.Token(t.Context())
	if fetch := (*token.FetchError)(nil); !errors.As(err, &fetch) || fetch.Status != http.StatusUnauthorized || strings.Contains(err.Error(), "wr0ng") {
		t.Errorf("wrong secret: error %v", err)
	}
}

// An issuer is not believed: its name, its addresses and its tokens are checked.
func TestIssuerThatLies(t *testing.T) {
	honest, secret := newIssuer(t)
	answer := func(document string) string {
		s := httptest.NewServer(nil)
		t.Cleanup(s.Close)
		s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, strings.ReplaceAll(document, "SELF", s.URL))
		})
		return s.URL
	}
	for name, tt := range map[string]struct{ url, want string }{
		"no TLS":             {"http://login.acme.example", "plain HTTP"},
		"another name":       {answer(`{"issuer":"https://login.acme.example"}`), "did not match"},
		"endpoint elsewhere": {answer(`{"issuer":"SELF","token_endpoint":"http://evil.example/token"}`), "plain HTTP"},
		"no identity token":  {answer(`{"issuer":"SELF","token_endpoint":"SELF/token","access_token":"x","token_type":"bearer"}`), "no identity token"},
		"token of its own":   {answer(`{"issuer":"SELF","token_endpoint":"SELF/token","jwks_uri":"SELF/keys","keys":[],"access_token":"x","token_type":"bearer","id_token":"eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJTRUxGIn0.c2ln"}`), "failed to verify"},
		"flood":              {answer(`{"issuer":"` + strings.Repeat("x", 2<<20) + `"}`), "too large"},
		"not there":          {honest + "/none", "404"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := signin.Machine{Issuer: signin.Issuer{URL: tt.url, ClientID: "ci", ClientSecret: secret}}.Token(t.Context())
			if fetch := (*token.FetchError)(nil); !errors.As(err, &fetch) || fetch.URL != tt.url || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %.300v, want %q", err, tt.want)
			}
		})
	}
}
