package stack

import (
	"context"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/touchmark/touchmark/core/identity"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/services/ca"
	"github.com/touchmark/touchmark/services/issuer"
	"github.com/touchmark/touchmark/services/issuer/accounts"
	"github.com/touchmark/touchmark/services/issuer/issuertest"
)

const password = "correct horse battery"

// served is a stack on a server at its own public URL, and an OpenID Connect client for it.
type served struct {
	*Stack
	config   oauth2.Config
	accounts *accounts.Store
}

func serveStack(t *testing.T, config Config) *served {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	config.PublicURL = "http://" + server.Listener.Addr().String()
	s := &served{Stack: start(t, config)}
	server.Config.Handler = s.Handler()
	server.Start()
	t.Cleanup(server.Close)
	provider := must(oidc.NewProvider(t.Context(), s.PublicURL()))
	s.config = oauth2.Config{
		ClientID: issuer.Audience, Endpoint: provider.Endpoint(), Scopes: []string{oidc.ScopeOpenID, "email"}, RedirectURL: "http://localhost:4711/auth/callback",
	}
	// As "touchmark user add" does, beside the running stack.
	s.accounts = must(OpenAccounts(config.Dir))
	if err := s.accounts.AddUser(alice, password, time.Now()); err != nil {
		t.Fatal(err)
	}
	return s
}

// certified is whom a certificate names that is got for a token, with the issuer.
func (s *served) certified(t *testing.T, raw any, name string) (string, string) {
	t.Helper()
	text, _ := raw.(string)
	certificate, err := certify(t.Context(), s.PublicURL(), text, name)
	if err != nil {
		t.Fatal(err)
	}
	who, err := identity.FromCertificate(certificate)
	if err != nil {
		t.Fatal(err)
	}
	return who.SAN.Value, who.Issuer
}

// A token from each flow gets a certificate.
func TestSignInFlows(t *testing.T) {
	config := testConfig(t)
	config.InsecureDevIssuer = false
	s := serveStack(t, config)

	t.Run("code", func(t *testing.T) {
		verifier := oauth2.GenerateVerifier()
		page := issuertest.New(t, false).Open(s.config.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier), oidc.Nonce("nonce")))
		back := must(url.Parse(page.SignIn(alice, password).Location))
		token, err := s.config.Exchange(t.Context(), back.Query().Get("code"), oauth2.VerifierOption(verifier))
		if err != nil {
			t.Fatal(err)
		}
		if who, by := s.certified(t, token.Extra("id_token"), alice); who != alice || by != s.PublicURL() {
			t.Errorf("certificate for %s by %s", who, by)
		}
	})
	t.Run("device", func(t *testing.T) {
		s.config.Endpoint.DeviceAuthURL = s.PublicURL() + "/issuer/device_authorization"
		begun, err := s.config.DeviceAuth(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		issuertest.New(t, false).Open(begun.VerificationURIComplete).SignIn(alice, password)
		begun.Interval = 1 // the person has decided already
		token, err := s.config.DeviceAccessToken(t.Context(), begun)
		if err != nil {
			t.Fatal(err)
		}
		if who, by := s.certified(t, token.Extra("id_token"), alice); who != alice || by != s.PublicURL() {
			t.Errorf("certificate for %s by %s", who, by)
		}
	})
	t.Run("client credentials", func(t *testing.T) {
		secret, err := s.accounts.AddClient("ci", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		token, err := (&clientcredentials.Config{ClientID: "ci", ClientSecret: secret, TokenURL: s.config.Endpoint.TokenURL}).Token(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		const ci = "ci@clients.127.0.0.1"
		if who, by := s.certified(t, token.Extra("id_token"), ci); who != ci || by != s.PublicURL() {
			t.Errorf("certificate for %s by %s", who, by)
		}
	})
	t.Run("no development tokens", func(t *testing.T) {
		if status, _ := get(t, s.PublicURL()+"/dev/token?sub="+alice); status != 404 {
			t.Errorf("status %d", status)
		}
	})
}

// Another stack's issuer stands in for an outside provider: its tokens are taken if it is configured, and clients are sent there.
func TestOutsideIssuer(t *testing.T) {
	outside := serveStack(t, testConfig(t))
	second := "https://login.acme.example"
	config := testConfig(t)
	config.Issuers = []ca.Issuer{must(ParseIssuer(outside.PublicURL() + "=sigstore")), must(ParseIssuer(second))}
	s := serveStack(t, config)
	token := must(outside.Token(alice))
	if who, by := s.certified(t, token, alice); who != alice || by != outside.PublicURL() {
		t.Errorf("certificate for %s by %s", who, by)
	}
	if who, by := s.certified(t, must(s.Token(alice)), alice); who != alice || by != s.PublicURL() {
		t.Errorf("the stack's own: certificate for %s by %s", who, by)
	}
	// The other way round it is a stranger.
	if _, err := certify(context.Background(), outside.PublicURL(), must(s.Token(alice)), alice); err == nil || !strings.Contains(err.Error(), "status 400") {
		t.Errorf("a stranger's token: %v", err)
	}
	signing := must(trust.ParseSigningConfig(s.SigningConfig()))
	var urls []string
	for _, service := range signing.OIDC {
		urls = append(urls, service.URL)
	}
	if want := []string{outside.PublicURL(), second, s.PublicURL()}; strings.Join(urls, " ") != strings.Join(want, " ") {
		t.Errorf("oidcUrls %v, want %v", urls, want)
	}
	// Clients take the one that became valid last, in whatever order they read them.
	if picked := must(trust.Pick(signing.OIDC, time.Now(), 1)); picked.URL != outside.PublicURL() {
		t.Errorf("clients take %s", picked.URL)
	}
	for i := 1; i < len(signing.OIDC); i++ {
		if !signing.OIDC[i].Window.Start.Before(signing.OIDC[i-1].Window.Start) {
			t.Errorf("oidcUrls[%d] is not older than the one before", i)
		}
	}
}

func TestParseIssuer(t *testing.T) {
	for text, want := range map[string]ca.Issuer{
		"https://login.acme.example":                             {URL: "https://login.acme.example"},
		"https://login.acme.example/realms/x=touch":              {URL: "https://login.acme.example/realms/x", Audience: "touch"},
		"https://login.acme.example=a=b":                         {URL: "https://login.acme.example", Audience: "a=b"},
		"http://127.0.0.1:5556/dex":                              {URL: "http://127.0.0.1:5556/dex"},
		"https://gitlab.acme.example=touch,type=gitlab-pipeline": {URL: "https://gitlab.acme.example", Audience: "touch", Kind: ca.GitLab},
		"https://ghe.acme.example/_services/token,type=github-workflow,domain=https://git.acme.example": {
			URL: "https://ghe.acme.example/_services/token", Kind: ca.GitHub, Domain: "https://git.acme.example",
		},
	} {
		if got, err := ParseIssuer(text); got != want || err != nil {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{
		"", "=sigstore", "login.acme.example", "http://login.acme.example", "https://login.acme.example=", "https://u@login.acme.example", "ftp://login.acme.example",
		"https://login.acme.example?x", "https://a.example,", "https://a.example,type=", "https://a.example,type=gitlab", "https://a.example,type=uri,type=uri",
		"https://a.example,domain=https://b.example", "https://a.example,type=uri,domain=b.example", "https://a.example,type=uri,domain=https://b.example/x",
		"https://a.example,type=spiffe", "https://a.example,type=spiffe,domain=spiffe://b.example", "http://127.0.0.1:80,type=gitlab-pipeline", "https://a.example,kind=uri",
	} {
		if got, err := ParseIssuer(text); err == nil {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

func TestIssuersThatAreRefused(t *testing.T) {
	for name, issuers := range map[string][]ca.Issuer{
		"own":   {{URL: testURL}},
		"twice": {{URL: "https://a.example"}, {URL: "https://a.example", Audience: "x"}},
		"plain": {{URL: "http://a.example"}},
	} {
		config := testConfig(t)
		config.Issuers = issuers
		if s, err := New(t.Context(), config); err == nil {
			t.Errorf("%s: accepted", name)
			_ = s.Close()
		}
	}
}

func TestOpenAccountsNeedsADataDirectory(t *testing.T) {
	if _, err := OpenAccounts(filepath.Join(t.TempDir(), "none")); err == nil || !strings.Contains(err.Error(), "touchmark up") {
		t.Errorf("error %v", err)
	}
}
