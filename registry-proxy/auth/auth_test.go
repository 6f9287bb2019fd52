package auth_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"golang.org/x/crypto/bcrypt"

	"github.com/touchmark/touchmark/registry-proxy/auth"
)

// issuer is an OpenID Connect issuer.
type issuer struct {
	*httptest.Server
	key   *ecdsa.PrivateKey
	down  bool
	asked atomic.Int64
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{key: key}
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.asked.Add(1)
		switch {
		case i.down:
			http.Error(w, "down", http.StatusServiceUnavailable)
		case r.URL.Path == "/.well-known/openid-configuration":
			json.NewEncoder(w).Encode(map[string]any{"issuer": i.URL, "jwks_uri": i.URL + "/keys", "authorization_endpoint": i.URL, "token_endpoint": i.URL, "id_token_signing_alg_values_supported": []string{"ES256"}})
		default:
			json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: i.key.Public(), KeyID: "1", Algorithm: "ES256", Use: "sig"}}})
		}
	}))
	t.Cleanup(i.Close)
	return i
}

func (i *issuer) token(t *testing.T, key *ecdsa.PrivateKey, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{}).WithHeader("kid", "1"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]any{"iss": i.URL, "aud": "touchmark-proxy", "sub": "1234", "email": "alice@acme.example", "email_verified": true, "exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix(), "hd": "acme.example"}
	for k, v := range claims {
		all[k] = v
	}
	token, err := jwt.Signed(signer).Claims(all).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func htpasswd(t *testing.T, lines ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func user(t *testing.T, name, password string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return name + ":" + string(hash)
}

func request(t *testing.T, edit func(*http.Request)) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v2/", nil)
	if edit != nil {
		edit(r)
	}
	return r
}

func certified(c *x509.Certificate) func(*http.Request) {
	return func(r *http.Request) {
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{c}, VerifiedChains: [][]*x509.Certificate{{c}}}
	}
}

// Whoever proves a name is somebody; wrong credentials are never nobody's.
func TestIdentify(t *testing.T) {
	login := newIssuer(t)
	foreign, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spiffe, _ := url.Parse("spiffe://acme.example/ci")
	cert := &x509.Certificate{URIs: []*url.URL{spiffe}, Subject: pkix.Name{CommonName: "ci"}}
	config := auth.Config{
		Htpasswd: htpasswd(t, "# people", user(t, "alice", "right"), ""), Certificates: true,
		Issuers: []auth.Issuer{{URL: login.URL, Audience: "touchmark-proxy", Claim: "email", Claims: map[string]string{"hd": "acme.example"}}},
	}
	basic := func(name, password string) func(*http.Request) {
		return func(r *http.Request) { r.SetBasicAuth(name, password) }
	}
	bearer := func(claims map[string]any) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+login.token(t, login.key, claims)) }
	}
	for _, anonymous := range []bool{false, true} {
		config.Anonymous = anonymous
		clients, err := auth.New(config)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			name string
			edit func(*http.Request)
			who  string // empty for an error
		}{
			{"password", basic("alice", "right"), "user:alice"},
			{"password again", basic("alice", "right"), "user:alice"},
			{"wrong password", basic("alice", "wrong"), ""},
			{"no password", basic("alice", ""), ""},
			{"long password", basic("alice", strings.Repeat("right", 1000)), ""},
			{"nobody of that name", basic("bob", "right"), ""},
			{"comment", basic("# people", "right"), ""},
			{"token", bearer(nil), "oidc:alice@acme.example"},
			{"token as password", basic("oidc", login.token(t, login.key, nil)), "oidc:alice@acme.example"},
			{"token for somebody else", bearer(map[string]any{"aud": "other"}), ""},
			{"token of another issuer", bearer(map[string]any{"iss": "https://other.example"}), ""},
			{"token that has ended", bearer(map[string]any{"exp": time.Now().Add(-time.Minute).Unix()}), ""},
			{"token without a name", bearer(map[string]any{"email": ""}), ""},
			{"token with a long name", bearer(map[string]any{"email": strings.Repeat("a", 1000)}), ""},
			{"token with a line in its name", bearer(map[string]any{"email": "a\nb"}), ""},
			{"token with an unverified address", bearer(map[string]any{"email_verified": false}), ""},
			{"token without a claim that is wanted", bearer(map[string]any{"hd": "evil.example"}), ""},
			{"token by another key", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+login.token(t, foreign, nil)) }, ""},
			{"token without a signature", func(r *http.Request) {
				r.Header.Set("Authorization", "Bearer eyJhbGciOiJub25lIn0."+strings.Split(login.token(t, login.key, nil), ".")[1]+".")
			}, ""},
			{"no token", func(r *http.Request) { r.Header.Set("Authorization", "Bearer ") }, ""},
			{"another scheme", func(r *http.Request) { r.Header.Set("Authorization", "Negotiate abc") }, ""},
			{"two headers", func(r *http.Request) { r.Header["Authorization"] = []string{"Basic YTpi", "Basic YTpi"} }, ""},
			{"certificate", certified(cert), "cert:spiffe://acme.example/ci"},
			{"certificate and wrong password", func(r *http.Request) { certified(cert)(r); r.SetBasicAuth("alice", "wrong") }, ""},
			{"certificate that was not verified", func(r *http.Request) {
				r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}}
			}, map[bool]string{true: "nobody"}[anonymous]},
			{"nothing", nil, map[bool]string{true: "nobody"}[anonymous]},
			{"neither name nor password, as podman", basic("", ""), map[bool]string{true: "nobody"}[anonymous]},
			{"a password without a name", basic("", "right"), ""},
		} {
			caller, err := clients.Identify(request(t, c.edit))
			if c.who == "" {
				if !errors.Is(err, auth.ErrCredentials) || caller.Who != "" || caller.MayRead("docker.io/library/alpine") {
					t.Errorf("%s (anonymous %v): got %q, %v", c.name, anonymous, caller.Who, err)
				}
				continue
			}
			want := strings.TrimPrefix(c.who, "nobody")
			if err != nil || caller.Who != want || caller.Details != (want != "") || !caller.MayRead("docker.io/library/alpine") {
				t.Errorf("%s (anonymous %v): got %+v, %v, want %q", c.name, anonymous, caller, err, want)
			}
		}
	}
}

// With several issuers, none of them can give a token for another's user.
func TestSeveralIssuers(t *testing.T) {
	staff, machines := newIssuer(t), newIssuer(t)
	issuers := []auth.Issuer{{Name: "staff", URL: staff.URL, Audience: "touchmark-proxy"}, {Name: "ci", URL: machines.URL, Audience: "touchmark-proxy"}}
	clients, err := auth.New(auth.Config{Issuers: issuers, Access: []auth.Rule{
		{Subjects: []string{"oidc:staff:alice"}, Repositories: []string{"**"}},
		{Subjects: []string{"oidc:ci:*"}, Repositories: []string{"docker.io/library/*"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		from             *issuer
		sub, who         string
		private, library bool
	}{
		{staff, "alice", "oidc:staff:alice", true, true},
		{staff, "bob", "oidc:staff:bob", false, false},
		{staff, "ci:bob", "oidc:staff:ci:bob", false, false},
		{machines, "alice", "oidc:ci:alice", false, true},
		{machines, "staff:alice", "oidc:ci:staff:alice", false, true},
	} {
		caller, err := clients.Identify(request(t, func(r *http.Request) {
			r.Header.Set("Authorization", "Bearer "+c.from.token(t, c.from.key, map[string]any{"sub": c.sub}))
		}))
		if err != nil || caller.Who != c.who || caller.MayRead("registry.acme.example/app") != c.private || caller.MayRead("docker.io/library/alpine") != c.library {
			t.Errorf("%s: got %+v, %v", c.who, caller, err)
		}
	}
}

// An issuer that cannot be asked is an outage, neither a refusal nor an admission.
func TestPX25_IssuerIsDown(t *testing.T) {
	login := newIssuer(t)
	login.down = true
	now := time.Now()
	clients, err := auth.New(auth.Config{Anonymous: true, Issuers: []auth.Issuer{{URL: login.URL, Audience: "touchmark-proxy"}}, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	ask := func() (auth.Caller, error) {
		return clients.Identify(request(t, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+login.token(t, login.key, nil)) }))
	}
	for range 2 {
		if caller, err := ask(); !errors.Is(err, auth.ErrUnavailable) {
			t.Errorf("got %+v, %v", caller, err)
		}
	}
	login.down = false
	now = now.Add(time.Minute)
	if caller, err := ask(); err != nil || caller.Who != "oidc:1234" {
		t.Errorf("well again: got %+v, %v", caller, err)
	}
}

// An issuer that is down is not asked about another's tokens.
func TestPX25_AnotherIssuerIsDown(t *testing.T) {
	dead, well := newIssuer(t), newIssuer(t)
	dead.down = true
	clients, err := auth.New(auth.Config{Issuers: []auth.Issuer{{Name: "dead", URL: dead.URL, Audience: "touchmark-proxy"}, {Name: "well", URL: well.URL, Audience: "touchmark-proxy"}}})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(token string) (auth.Caller, error) {
		return clients.Identify(request(t, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }))
	}
	if caller, err := ask(well.token(t, well.key, nil)); err != nil || caller.Who != "oidc:well:1234" {
		t.Errorf("got %+v, %v", caller, err)
	}
	for _, token := range []string{well.token(t, dead.key, nil), "ey.ey.", "eyJ.!.x"} {
		if caller, err := ask(token); !errors.Is(err, auth.ErrCredentials) {
			t.Errorf("%s: got %+v, %v", token, caller, err)
		}
	}
	if n := dead.asked.Load(); n != 0 {
		t.Errorf("the issuer that is down was asked %d times", n)
	}
	if caller, err := ask(dead.token(t, dead.key, nil)); !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("its own token: got %+v, %v", caller, err)
	}
}

// PX-27: strangers' tokens have the issuer asked no more often than once in a while.
func TestPX27_MadeUpTokens(t *testing.T) {
	login := newIssuer(t)
	now := time.Now()
	clients, err := auth.New(auth.Config{Issuers: []auth.Issuer{{URL: login.URL, Audience: "touchmark-proxy"}}, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(key *ecdsa.PrivateKey) error {
		_, err := clients.Identify(request(t, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+login.token(t, key, nil)) }))
		return err
	}
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for range 50 {
		if err := ask(stranger); !errors.Is(err, auth.ErrCredentials) {
			t.Fatal(err)
		}
	}
	if n := login.asked.Load(); n > 2 {
		t.Errorf("the issuer was asked %d times", n)
	}
	if err := ask(login.key); err != nil {
		t.Errorf("its own token: %v", err)
	}
	login.key = stranger // a new key
	now = now.Add(10 * time.Second)
	err = ask(stranger)
	for range 100 { // go-oidc gives the answer before once more to those who ask while it tidies up
		if err == nil {
			break
		}
		err = ask(stranger)
	}
	if err != nil {
		t.Errorf("its new key: %v", err)
	}
}

func TestMayRead(t *testing.T) {
	clients, err := auth.New(auth.Config{
		Htpasswd: htpasswd(t, user(t, "ci-1", "x"), user(t, "alice", "x"), user(t, "bob", "x")), Anonymous: true,
		Access: []auth.Rule{
			{Subjects: []string{"anonymous"}, Repositories: []string{"docker.io/library/*"}},
			{Subjects: []string{"user:ci-*"}, Repositories: []string{"registry.acme.example/app/**", "docker.io/library/*"}},
			{Subjects: []string{"user:alice"}, Repositories: []string{"**"}, Page: true},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		user       string
		repository string
		want       bool
	}{
		{"", "docker.io/library/alpine", true},
		{"", "docker.io/library/a/b", false},
		{"", "docker.io/acme/app", false},
		{"", "evil.docker.io/library/alpine", false},
		{"ci-1", "registry.acme.example/app/web/api", true},
		{"ci-1", "registry.acme.example/apple/web", false},
		{"ci-1", "registry.acme.example/other", false},
		{"alice", "registry.acme.example/other", true},
		{"bob", "docker.io/library/alpine", false}, // there is no rule for bob, and he is not nobody
	} {
		caller, err := clients.Identify(request(t, func(r *http.Request) {
			if c.user != "" {
				r.SetBasicAuth(c.user, "x")
			}
		}))
		if err != nil || caller.MayRead(c.repository) != c.want {
			t.Errorf("%s %s: %v, %v", c.user, c.repository, !c.want, err)
		}
		if caller.MaySeePage() != (c.user == "alice") {
			t.Errorf("%s may see the page: %v", c.user, caller.MaySeePage())
		}
	}
}

// named has one issuer, with a name, and a rule about a subject.
func named(subject string) auth.Config {
	return auth.Config{
		Issuers: []auth.Issuer{{Name: "staff", URL: "https://a.example", Audience: "x"}},
		Access:  []auth.Rule{{Subjects: []string{subject}, Repositories: []string{"**"}}},
	}
}

// A file or a rule that is wrong is refused, by its place.
func TestBroken(t *testing.T) {
	for _, c := range []struct {
		config auth.Config
		want   string
	}{
		{auth.Config{Htpasswd: "/nowhere/users"}, "/nowhere/users"},
		{auth.Config{Htpasswd: htpasswd(t, "alice:$apr1$x$y")}, `users:1: the hash of "alice" is not bcrypt's`},
		{auth.Config{Htpasswd: htpasswd(t, "alice:{SHA}x")}, "users:1: "},
		{auth.Config{Htpasswd: htpasswd(t, "", "alice")}, "users:2: is not NAME:HASH"},
		{auth.Config{Htpasswd: htpasswd(t, user(t, "a", "x"), user(t, "a", "y"))}, `users:2: "a" stands twice`},
		{auth.Config{Htpasswd: htpasswd(t, "a:$2y$20$abcdefghijklmnopqrstuuAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")}, "has cost 20"},
		{auth.Config{Issuers: []auth.Issuer{{URL: "https://a.example"}}}, "oidc[0].audience"},
		{auth.Config{Issuers: []auth.Issuer{{URL: "http://a.example", Audience: "x"}}}, "oidc[0].issuer"},
		{auth.Config{Issuers: []auth.Issuer{{URL: "https://a.example", Audience: "x", CA: "/nowhere/ca.pem"}}}, "/nowhere/ca.pem"},
		{auth.Config{Issuers: []auth.Issuer{{URL: "https://a.example", Audience: "x"}, {Name: "b", URL: "https://b.example", Audience: "x"}}}, "oidc[0].name: is missing"},
		{auth.Config{Issuers: []auth.Issuer{{Name: "a", URL: "https://a.example", Audience: "x"}, {Name: "a", URL: "https://b.example", Audience: "x"}}}, `oidc[1].name: "a" stands twice`},
		{auth.Config{Issuers: []auth.Issuer{{Name: "a:b", URL: "https://a.example", Audience: "x"}}}, `oidc[0].name: "a:b" is not a name`},
		{named("oidc:*"), `access[0].subjects[0]: "oidc:*" names no issuer`},
		{named("oidc:staff"), `access[0].subjects[0]: "oidc:staff" names no issuer`},
		{named("oidc:*:alice"), `access[0].subjects[0]: "oidc:*:alice" names no issuer`},
		{named("oidc:other:alice"), `access[0].subjects[0]: "oidc:other:alice" names no issuer`},
		{auth.Config{Access: []auth.Rule{{Subjects: []string{"alice"}, Repositories: []string{"**"}}}}, "access[0].subjects[0]"},
		{auth.Config{Access: []auth.Rule{{Subjects: []string{"user:alice"}}}}, "access[0].repositories"},
		{auth.Config{Access: []auth.Rule{{Subjects: []string{"user:alice"}, Repositories: []string{"library:tag"}}}}, "access[0].repositories[0]"},
	} {
		_, err := auth.New(c.config)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "$") {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}
