package issuer

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/touchmark/touchmark/services/issuer/accounts"
	"github.com/touchmark/touchmark/services/issuer/issuertest"
)

// An account that does not exist answers as one that does: the same status, the same bytes, and about the same time.
func TestUnknownUserIsAsWrongPassword(t *testing.T) {
	w := newWorld(t)
	attempt := func(email string) (*issuertest.Page, time.Duration) {
		p := issuertest.New(t, false).Open(w.authURL(t, nil))
		begun := time.Now()
		answer := p.SignIn(email, "wrong password")
		took := time.Since(begun)
		// What differs in any two attempts.
		answer.Body = strings.NewReplacer(email, "EMAIL", p.Field("id"), "ID", p.Field("token"), "TOKEN").Replace(answer.Body)
		return answer, took
	}
	var known, unknown []time.Duration
	for range 5 {
		k, tookKnown := attempt(alice)
		u, tookUnknown := attempt("nobody@acme.example")
		if k.Status != http.StatusForbidden || k.Status != u.Status || k.Body != u.Body {
			t.Fatalf("status %d and %d, bodies the same: %t", k.Status, u.Status, k.Body == u.Body)
		}
		known, unknown = append(known, tookKnown), append(unknown, tookUnknown)
	}
	// The fastest of each: nothing but the work is in it. Without a decoy the unknown one takes a hundredth.
	a, b := slices.Min(known), slices.Min(unknown)
	if max(a, b) > 5*min(a, b) {
		t.Errorf("a known account takes %v, an unknown one %v", a, b)
	}
}

func TestAddressIsFoundInAnyCase(t *testing.T) {
	w := newWorld(t)
	p := issuertest.New(t, false).Open(w.authURL(t, nil)).SignIn(" Alice@ACME.example ", password)
	back, err := url.Parse(p.Location)
	if err != nil {
		t.Fatal(err)
	}
	token, err := w.exchange(t.Context(), back.Query().Get("code"), w.verifier)
	if err != nil {
		t.Fatal(err)
	}
	if c := w.check(t, token.Extra("id_token"), Audience); c.Email != alice {
		t.Errorf("email %q, want the account's own", c.Email)
	}
}

// An account can be tried ten times at once, then once in thirty seconds, from wherever. The right password has to wait too, and others do not.
func TestAccountIsLimited(t *testing.T) {
	w := newWorld(t)
	if err := w.accounts.AddUser("bob@acme.example", password, w.clock.Now()); err != nil {
		t.Fatal(err)
	}
	p := issuertest.New(t, false).Open(w.authURL(t, nil))
	for n := range 10 {
		email := alice
		if n%2 == 1 {
			email = strings.ToUpper(alice) // the same account
		}
		if p = p.SignIn(email, "wrong password"); p.Status != http.StatusForbidden {
			t.Fatalf("attempt %d: status %d", n+1, p.Status)
		}
	}
	if p = p.SignIn(alice, password); p.Status != http.StatusTooManyRequests || p.Header.Get("Retry-After") != "30" || !strings.Contains(p.Body, "Wait 30s") {
		t.Fatalf("status %d, Retry-After %q\n%s", p.Status, p.Header.Get("Retry-After"), p.Body)
	}
	if other := issuertest.New(t, false).Open(w.authURL(t, nil)).SignIn("bob@acme.example", password); other.Status != http.StatusSeeOther {
		t.Errorf("another account: status %d", other.Status)
	}
	w.clock.turn(30 * time.Second)
	if p = p.SignIn(alice, password); p.Status != http.StatusSeeOther {
		t.Errorf("after waiting: status %d", p.Status)
	}
}

// One peer cannot try one password on many accounts.
func TestPeerIsLimited(t *testing.T) {
	w := newWorld(t)
	p := issuertest.New(t, false).Open(w.authURL(t, nil))
	for n := range 30 {
		// Not an address, so that no password is computed: the share of the peer is taken all the same.
		if p = p.SignIn("user "+strings.Repeat("x", n), "x"); p.Status != http.StatusForbidden {
			t.Fatalf("attempt %d: status %d", n+1, p.Status)
		}
	}
	if p = p.SignIn(alice, password); p.Status != http.StatusTooManyRequests || p.Header.Get("Retry-After") != "2" {
		t.Errorf("status %d, Retry-After %q", p.Status, p.Header.Get("Retry-After"))
	}
	w.clock.turn(2 * time.Second)
	if p = p.SignIn(alice, password); p.Status != http.StatusSeeOther {
		t.Errorf("after waiting: status %d", p.Status)
	}
}

func TestBeginningsAreLimited(t *testing.T) {
	w := newWorld(t)
	b := issuertest.New(t, false)
	for n := range 60 {
		if p := b.Open(w.authURL(t, nil)); p.Status != http.StatusOK {
			t.Fatalf("login %d: status %d", n+1, p.Status)
		}
	}
	if p := b.Open(w.authURL(t, nil)); p.Status != http.StatusTooManyRequests || p.Header.Get("Retry-After") != "1" || !strings.Contains(p.Body, "<h1>") {
		t.Errorf("status %d, Retry-After %q", p.Status, p.Header.Get("Retry-After"))
	}
}

// A form that another site sends does nothing.
func TestForgedForms(t *testing.T) {
	w := newWorld(t)
	for name, fields := range map[string]map[string]string{
		"no token":      {"token": "-"},
		"empty token":   {"token": ""},
		"another token": {"token": strings.Repeat("A", 26)},
	} {
		fields["email"], fields["password"] = alice, password
		p := issuertest.New(t, false).Open(w.authURL(t, nil)).Submit(fields)
		if p.Status != http.StatusForbidden || p.Location != "" {
			t.Errorf("%s: status %d, location %q", name, p.Status, p.Location)
		}
	}
	// What the browser says of where the form came from is believed when it speaks against it.
	jar := issuertest.New(t, false).Open(w.authURL(t, nil))
	for name, header := range map[string][2]string{"Sec-Fetch-Site": {"Sec-Fetch-Site", "cross-site"}, "Origin": {"Origin", "https://evil.example"}} {
		recorder := httptest.NewRecorder()
		request := httptest.NewRequest(http.MethodPost, LoginPath, strings.NewReader(url.Values{"id": {jar.Field("id")}, "token": {jar.Field("token")}}.Encode()))
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		request.Header.Set(header[0], header[1])
		w.Handler().ServeHTTP(recorder, request)
		if recorder.Code != http.StatusForbidden {
			t.Errorf("%s: status %d", name, recorder.Code)
		}
	}
}

// A login belongs to the browser that began it: neither its address nor another login's cookie opens it elsewhere (session fixation).
func TestLoginBelongsToItsBrowser(t *testing.T) {
	w := newWorld(t)
	attacker := issuertest.New(t, false).Open(w.authURL(t, nil))
	victim := issuertest.New(t, false)
	if p := victim.Open(attacker.URL.String()); p.Status != http.StatusBadRequest || strings.Contains(p.Body, "<form") {
		t.Errorf("without a cookie: status %d", p.Status)
	}
	// A cookie of the right name with another value.
	for _, value := range []string{"", "x", strings.Repeat("A", 26)} {
		request := httptest.NewRequest(http.MethodGet, attacker.URL.RequestURI(), nil)
		request.AddCookie(&http.Cookie{Name: w.cookieName(attacker.Field("id")), Value: value})
		recorder := httptest.NewRecorder()
		if w.Handler().ServeHTTP(recorder, request); recorder.Code != http.StatusBadRequest {
			t.Errorf("cookie %q: status %d", value, recorder.Code)
		}
	}
	own := victim.Open(w.authURL(t, nil))
	if p := own.Submit(map[string]string{"id": attacker.Field("id"), "token": attacker.Field("token"), "email": alice, "password": password}); p.Status != http.StatusBadRequest {
		t.Errorf("with another login's cookie: status %d", p.Status)
	}
	// Each login has its own secret, and two in one browser do not disturb each other.
	second := victim.Open(w.authURL(t, nil))
	if second.Field("id") == own.Field("id") || second.Field("token") == own.Field("token") {
		t.Error("two logins share an identifier or a token")
	}
	for _, p := range []*issuertest.Page{own, second} {
		if done := p.SignIn(alice, password); done.Status != http.StatusSeeOther {
			t.Errorf("status %d", done.Status)
		}
		if again := p.SignIn(alice, password); again.Status != http.StatusBadRequest || again.Location != "" {
			t.Errorf("the same login again: status %d", again.Status)
		}
	}
	for _, id := range []string{"", "x", strings.Repeat("A", 1000), "A;B", "../x", "é"} {
		if p := victim.Open(w.url + LoginPath + "?id=" + url.QueryEscape(id)); p.Status != http.StatusBadRequest {
			t.Errorf("id %.20q: status %d", id, p.Status)
		}
	}
}

func TestLoginExpires(t *testing.T) {
	w := newWorld(t)
	p := issuertest.New(t, false).Open(w.authURL(t, nil))
	w.clock.turn(loginLifetime)
	if late := p.SignIn(alice, password); late.Status != http.StatusBadRequest || late.Location != "" {
		t.Errorf("status %d", late.Status)
	}
}

// Nobody stays signed in: after a login, the next one asks again.
func TestNobodyStaysSignedIn(t *testing.T) {
	w := newWorld(t)
	b := issuertest.New(t, false)
	if p := b.Open(w.authURL(t, nil)).SignIn(alice, password); p.Status != http.StatusSeeOther {
		t.Fatalf("status %d", p.Status)
	}
	if p := b.Open(w.authURL(t, nil)); p.Status != http.StatusOK || p.URL.Path != LoginPath {
		t.Errorf("status %d, %s", p.Status, p.URL)
	}
}

func TestHeadersOfPages(t *testing.T) {
	w := newWorld(t)
	b := issuertest.New(t, false)
	for _, p := range []*issuertest.Page{
		b.Open(w.authURL(t, nil)), b.Open(w.url + DevicePath), b.Open(w.url + LoginPath), b.Open(w.authURL(t, map[string]string{"client_id": "x"})),
		b.Open(w.authURL(t, nil)).SignIn(alice, "wrong password"),
	} {
		policy := p.Header.Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'none'", "style-src 'sha256-", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"} {
			if !strings.Contains(policy, part) {
				t.Errorf("%s: policy %q lacks %q", p.URL.Path, policy, part)
			}
		}
		for name, want := range map[string]string{
			"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "same-origin",
			"Content-Type": "text/html; charset=utf-8",
		} {
			if got := p.Header.Get(name); got != want {
				t.Errorf("%s: %s %q, want %q", p.URL.Path, name, got, want)
			}
		}
		if strings.Contains(p.Body, "<script") || strings.Contains(p.Body, password) {
			t.Errorf("%s holds a script or the password", p.URL.Path)
		}
	}
	// Nobody else's origin may read an answer.
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+discoveryPath, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Origin", "https://evil.example")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if got := response.Header.Get("Access-Control-Allow-Origin"); got != "" {
		t.Errorf("Access-Control-Allow-Origin %q", got)
	}
}

// What people typed is shown again as text.
func TestTypedTextIsEscaped(t *testing.T) {
	w := newWorld(t)
	const evil = `"><script>alert(1)</script>`
	b := issuertest.New(t, false)
	for _, p := range []*issuertest.Page{
		b.Open(w.authURL(t, nil)).SignIn(evil, "x"), b.Open(w.url + DevicePath).Submit(map[string]string{"user_code": evil}),
		b.Open(w.authURL(t, map[string]string{"redirect_uri": evil})), b.Open(w.authURL(t, map[string]string{"scope": evil, "redirect_uri": outOfBand})),
	} {
		if strings.Contains(p.Body, "<script") {
			t.Errorf("%s:\n%s", p.URL.Path, p.Body)
		}
	}
}

// The cookie is for this site's browser alone, and by TLS it has the name that no other host can set.
func TestCookie(t *testing.T) {
	for _, test := range []struct {
		url, name string
		secure    bool
	}{{"https://sigstore.acme.example", "__Host-touchmark-login-X", true}, {"http://127.0.0.1:7465", "touchmark-login-X", false}} {
		i, err := New(Config{URL: test.url, Key: testKey(), Accounts: people(t, test.url)})
		if err != nil {
			t.Fatal(err)
		}
		c := i.cookie(&attempt{id: "X", browser: "secret"})
		if c.Name != test.name || c.Secure != test.secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" {
			t.Errorf("%s: %s", test.url, c)
		}
	}
}

// Accounts that cannot be read are an outage, not a wrong password.
func TestAccountsThatCannotBeRead(t *testing.T) {
	w := newWorld(t)
	path := t.TempDir() + "/" + accounts.FileName
	store, err := accounts.Open(path, w.url)
	if err != nil {
		t.Fatal(err)
	}
	w.Issuer.accounts = store
	p := issuertest.New(t, false).Open(w.authURL(t, nil))
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if p = p.SignIn(alice, password); p.Status != http.StatusServiceUnavailable || p.Header.Get("Retry-After") == "" || strings.Contains(p.Body, path) {
		t.Errorf("status %d\n%s", p.Status, p.Body)
	}
	a := w.post(t, tokenPath, url.Values{"grant_type": {"client_credentials"}, "client_id": {"ci"}, "client_secret": {w.secret}})
	if a.Status != http.StatusServiceUnavailable || a.Error != "server_error" || strings.Contains(a.Description, path) {
		t.Errorf("status %d, %s: %s", a.Status, a.Error, a.Description)
	}
}
