package issuer

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/touchmark/touchmark/services/issuer/issuertest"
)

// A person signs in as with cosign: browser, page, callback, exchange.
func TestCodeFlow(t *testing.T) {
	w := newWorld(t)
	back := w.code(t)
	if back.Get("state") != "the-state" {
		t.Errorf("state %q", back.Get("state"))
	}
	token, err := w.exchange(t.Context(), back.Get("code"), w.verifier)
	if err != nil {
		t.Fatal(err)
	}
	c := w.check(t, token.Extra("id_token"), Audience)
	if c.Email != alice || c.Subject != alice || !c.EmailVerified || c.Nonce != "the-nonce" || c.Party != "" || c.AuthTime == 0 {
		t.Errorf("claims %+v", c)
	}
	if token.RefreshToken != "" {
		t.Error("a refresh token was given")
	}
}

func TestCodeIsForOneUse(t *testing.T) {
	w := newWorld(t)
	code := w.code(t).Get("code")
	var given, refused int
	var mu sync.Mutex
	var group sync.WaitGroup
	for range 8 { // at the same time
		group.Go(func() {
			a := w.post(t, tokenPath, url.Values{
				"grant_type": {"authorization_code"}, "client_id": {Audience}, "code": {code}, "redirect_uri": {callback}, "code_verifier": {w.verifier},
			})
			mu.Lock()
			defer mu.Unlock()
			if a.Status == http.StatusOK && a.IDToken != "" {
				given++
			} else if a.Status == http.StatusBadRequest && a.Error == "invalid_grant" {
				refused++
			}
		})
	}
	group.Wait()
	if given != 1 || refused != 7 {
		t.Errorf("%d tokens, %d refusals, want 1 and 7", given, refused)
	}
}

// Whatever does not fit the authorization request is refused, and the code is used up by the attempt.
func TestCodeIsBound(t *testing.T) {
	w := newWorld(t)
	for name, test := range map[string]struct {
		changed map[string]string
		want    string
	}{
		"wrong verifier":     {map[string]string{"code_verifier": oauth2.GenerateVerifier()}, "invalid_grant"},
		"challenge itself":   {map[string]string{"code_verifier": challenge(w.verifier)}, "invalid_grant"},
		"no verifier":        {map[string]string{"code_verifier": "-"}, "invalid_request"},
		"other redirect_uri": {map[string]string{"redirect_uri": "http://localhost:4712/auth/callback"}, "invalid_grant"},
	} {
		form := url.Values{
			"grant_type": {"authorization_code"}, "client_id": {Audience}, "code": {w.code(t).Get("code")}, "redirect_uri": {callback}, "code_verifier": {w.verifier},
		}
		honest := url.Values{}
		for field, values := range form {
			honest[field] = values
		}
		for field, value := range test.changed {
			if form.Set(field, value); value == "-" {
				form.Del(field)
			}
		}
		if a := w.post(t, tokenPath, form); a.Status != http.StatusBadRequest || a.Error != test.want {
			t.Errorf("%s: status %d, %s: %s", name, a.Status, a.Error, a.Description)
		}
		if a := w.post(t, tokenPath, honest); a.Status != http.StatusBadRequest || a.Error != "invalid_grant" {
			t.Errorf("%s, then honestly: status %d, %s: %s", name, a.Status, a.Error, a.Description)
		}
	}
}

func TestCodeExpires(t *testing.T) {
	w := newWorld(t)
	for _, test := range []struct {
		after time.Duration
		ok    bool
	}{{codeLifetime - time.Second, true}, {codeLifetime, false}} {
		code := w.code(t).Get("code")
		w.clock.turn(test.after)
		_, err := w.exchange(t.Context(), code, w.verifier)
		if (err == nil) != test.ok {
			t.Errorf("after %v: %v", test.after, err)
		}
	}
}

// Who is removed while signing in gets no token.
func TestRemovedWhileSigningIn(t *testing.T) {
	w := newWorld(t)
	code := w.code(t).Get("code")
	if err := w.accounts.RemoveUser(alice); err != nil {
		t.Fatal(err)
	}
	var refused *oauth2.RetrieveError
	if _, err := w.exchange(t.Context(), code, w.verifier); !errors.As(err, &refused) || refused.ErrorCode != "invalid_grant" {
		t.Errorf("error %v", err)
	}
}

// What cannot be sent back to the client is shown, and what can be is, with its state. The browser ends nowhere else.
func TestAuthorizationRequestsThatAreRefused(t *testing.T) {
	w := newWorld(t)
	for _, test := range []struct {
		name    string
		changed map[string]string
		want    string // error in the redirection; "" is a page
	}{
		{"other client", map[string]string{"client_id": "ci"}, ""},
		{"no client", map[string]string{"client_id": "-"}, ""},
		{"other host", map[string]string{"redirect_uri": "http://evil.example/auth/callback"}, ""},
		{"host that begins alike", map[string]string{"redirect_uri": "http://localhost.evil.example:4711/auth/callback"}, ""},
		{"user", map[string]string{"redirect_uri": "http://localhost:4711@evil.example/auth/callback"}, ""},
		{"user at loopback", map[string]string{"redirect_uri": "http://x@localhost:4711/auth/callback"}, ""},
		{"other path", map[string]string{"redirect_uri": "http://localhost:4711/evil"}, ""},
		{"path with dots", map[string]string{"redirect_uri": "http://localhost:4711/x/../auth/callback"}, ""},
		{"query", map[string]string{"redirect_uri": callback + "?x=y"}, ""},
		{"fragment", map[string]string{"redirect_uri": callback + "#x"}, ""},
		{"other scheme", map[string]string{"redirect_uri": "https://localhost:4711/auth/callback"}, ""},
		{"script", map[string]string{"redirect_uri": "javascript:alert(1)//localhost:4711/auth/callback"}, ""},
		{"no port", map[string]string{"redirect_uri": "http://localhost/auth/callback"}, ""},
		{"policy in port", map[string]string{"redirect_uri": "http://localhost:4711;script-src *:80/auth/callback"}, ""},
		{"no redirect_uri", map[string]string{"redirect_uri": "-"}, ""},
		{"huge state", map[string]string{"state": strings.Repeat("s", maxParameter+1)}, ""},
		{"no PKCE", map[string]string{"code_challenge": "-", "code_challenge_method": "-"}, "invalid_request"},
		{"plain PKCE", map[string]string{"code_challenge_method": "plain"}, "invalid_request"},
		{"PKCE without method", map[string]string{"code_challenge_method": "-"}, "invalid_request"},
		{"short challenge", map[string]string{"code_challenge": "abc"}, "invalid_request"},
		{"implicit flow", map[string]string{"response_type": "id_token"}, "unauthorized_client"},
		{"no openid", map[string]string{"scope": "email"}, "invalid_scope"},
		{"form_post", map[string]string{"response_mode": "form_post"}, "invalid_request"},
		{"silent", map[string]string{"prompt": "none"}, "login_required"},
		{"request object", map[string]string{"request": "e30.e30."}, "request_not_supported"},
	} {
		p := issuertest.New(t, false).Open(w.authURL(t, test.changed))
		if p.URL.Path == LoginPath {
			t.Errorf("%s: led to the login page", test.name)
			continue
		}
		if test.want == "" {
			if p.Status != http.StatusBadRequest || p.Location != "" || !strings.Contains(p.Body, "cannot begin") {
				t.Errorf("%s: status %d, location %q\n%s", test.name, p.Status, p.Location, p.Body)
			}
			continue
		}
		location := strings.Replace(p.Location, "#", "?", 1) // the implicit flow's answers are in the fragment
		back, err := url.Parse(location)
		if err != nil || !strings.HasPrefix(location, callback+"?") || back.Query().Get("error") != test.want || back.Query().Get("state") != "the-state" {
			t.Errorf("%s: status %d, location %q, want error %s", test.name, p.Status, p.Location, test.want)
		}
	}
	// The twin, and what cosign may add.
	for _, changed := range []map[string]string{
		nil, {"connector_id": "https://github.com/login/oauth"}, {"redirect_uri": "http://127.0.0.1:1/auth/callback"}, {"response_mode": "query"}, {"prompt": "login"},
		{"scope": "openid email offline_access"}, {"state": "-"},
	} {
		if p := issuertest.New(t, false).Open(w.authURL(t, changed)); p.URL.Path != LoginPath || p.Status != http.StatusOK {
			t.Errorf("%v: %s, status %d", changed, p.URL, p.Status)
		}
	}
}

func TestParametersThatOccurTwice(t *testing.T) {
	w := newWorld(t)
	if p := issuertest.New(t, false).Open(w.authURL(t, nil) + "&redirect_uri=http%3A%2F%2Fevil.example"); p.Status != http.StatusBadRequest {
		t.Errorf("status %d", p.Status)
	}
	if a := w.post(t, tokenPath, url.Values{"grant_type": {"client_credentials"}, "client_id": {"ci", "other"}, "client_secret": {w.secret}}); a.Status != http.StatusBadRequest {
		t.Errorf("status %d", a.Status)
	}
}

// A terminal that opens no browser shows an address, and takes the code that the page shows.
func TestOutOfBand(t *testing.T) {
	w := newWorld(t)
	w.config.RedirectURL = outOfBand
	b := issuertest.New(t, false)
	p := b.Open(w.authURL(t, nil)).SignIn(alice, password)
	if p.Status != http.StatusOK || p.Location != "" {
		t.Fatalf("status %d, location %q", p.Status, p.Location)
	}
	_, rest, _ := strings.Cut(p.Body, `<strong class="code long">`)
	code, _, found := strings.Cut(rest, "</strong>")
	if !found {
		t.Fatalf("no code:\n%s", p.Body)
	}
	token, err := w.exchange(t.Context(), code, w.verifier)
	if err != nil {
		t.Fatal(err)
	}
	w.check(t, token.Extra("id_token"), Audience)
	if p := b.Open(w.authURL(t, map[string]string{"scope": "email"})); p.Status != http.StatusBadRequest || p.Location != "" || !strings.Contains(p.Body, "invalid_scope") {
		t.Errorf("refusal: status %d, location %q\n%s", p.Status, p.Location, p.Body)
	}
	if p := b.Open(w.authURL(t, nil)).Submit(map[string]string{"action": "cancel"}); p.Status != http.StatusOK || !strings.Contains(p.Body, cancelled.Title) {
		t.Errorf("cancelled: status %d\n%s", p.Status, p.Body)
	}
}

// Cancelling tells the program, with its state.
func TestCancel(t *testing.T) {
	w := newWorld(t)
	p := issuertest.New(t, false).Open(w.authURL(t, nil)).Submit(map[string]string{"action": "cancel"})
	if p.Location != callback+"?error=access_denied&state=the-state" {
		t.Errorf("status %d, location %q", p.Status, p.Location)
	}
}

// What was not asked of this issuer, it does not do.
func TestGrantsThatAreNotGiven(t *testing.T) {
	w := newWorld(t)
	for _, grant := range []string{
		"refresh_token", "password", "implicit", "urn:ietf:params:oauth:grant-type:jwt-bearer", "urn:ietf:params:oauth:grant-type:token-exchange", "client_credentials", "",
	} {
		a := w.post(t, tokenPath, url.Values{
			"grant_type": {grant}, "client_id": {Audience}, "refresh_token": {"x"}, "username": {alice}, "password": {password}, "assertion": {"e30.e30.x"},
			"subject_token": {"x"}, "subject_token_type": {"urn:ietf:params:oauth:token-type:access_token"},
		})
		if a.Status/100 != 4 || a.Error == "" || a.IDToken != "" {
			t.Errorf("%q: status %d, %s", grant, a.Status, a.Error)
		}
	}
}
