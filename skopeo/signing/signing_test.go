package signing_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.podman.io/image/v5/pkg/cli/sigstore/params"

	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/skopeo/signing"
)

var (
	now   = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	valid = trust.Window{Start: now.Add(-time.Hour)}
)

func services() *trust.SigningConfig {
	at := func(url string, major uint32) trust.Service {
		return trust.Service{URL: url, MajorAPIVersion: major, Window: valid}
	}
	return &trust.SigningConfig{
		CAs:  []trust.Service{at("https://ca.example", 1)},
		OIDC: []trust.Service{at("https://login.example", 1)},
		Logs: []trust.Service{at("https://log2.example", 2), at("https://log.example", 1)},
	}
}

// idToken has the form of a token.
const idToken = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.c2ln"

// What is written is what containers/image reads, strictly.
func TestFile(t *testing.T) {
	for _, c := range []struct {
		what   string
		config signing.Config
		want   params.SigningParameterFileFulcio
	}{
		{"device", signing.Config{SignIn: signing.Device, ClientID: "sigstore"},
			params.SigningParameterFileFulcio{OIDCMode: "deviceGrant", OIDCIssuerURL: "https://login.example", OIDCClientID: "sigstore"}},
		{"browser, another issuer, a secret", signing.Config{SignIn: signing.Browser, Issuer: "https://idp.example/x", ClientID: "app", ClientSecret: "s: #x"},
			params.SigningParameterFileFulcio{OIDCMode: "interactive", OIDCIssuerURL: "https://idp.example/x", OIDCClientID: "app", OIDCClientSecret: "s: #x"}},
		{"token", signing.Config{SignIn: signing.Token, IDToken: idToken, ClientID: "unused"},
			params.SigningParameterFileFulcio{OIDCMode: "staticToken", OIDCIDToken: idToken}},
	} {
		t.Run(c.what, func(t *testing.T) {
			c.config.Services, c.config.Now, c.want.FulcioURL = services(), now, "https://ca.example"
			text, err := c.config.File()
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "params.yaml")
			if err := os.WriteFile(path, text, 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := params.ParseFile(path)
			if err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			if diff := cmp.Diff(&params.SigningParameterFile{Fulcio: &c.want, RekorURL: "https://log.example"}, got); diff != "" {
				t.Errorf("%s\n%s", diff, text)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		what string
		edit func(*signing.Config)
		want string
	}{
		{"no authority", func(c *signing.Config) { c.Services.CAs = nil }, "choosing certificate authority"},
		{"no Rekor v1", func(c *signing.Config) { c.Services.Logs = c.Services.Logs[:1] }, "Rekor v1 alone"},
		{"no issuer", func(c *signing.Config) { c.Services.OIDC = nil }, "choosing issuer"},
		{"an issuer that is no URL", func(c *signing.Config) { c.Issuer = "login.example" }, "issuer: \"login.example\""},
		{"another machine without TLS", func(c *signing.Config) { c.Services.CAs[0].URL = "http://ca.example" }, "certificate authority"},
		{"no token", func(c *signing.Config) { c.SignIn = signing.Token }, "identity token"},
		{"a file in the place of a token", func(c *signing.Config) { c.SignIn, c.IDToken = signing.Token, "token.jwt" }, "identity token"},
		{"another way", func(c *signing.Config) { c.SignIn = "password" }, "\"password\""},
		{"expired", func(c *signing.Config) { c.Now = now.Add(-24 * time.Hour) }, "valid now"},
	} {
		config := signing.Config{Services: services(), SignIn: signing.Device, ClientID: "sigstore", Now: now}
		c.edit(&config)
		if _, err := config.File(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.what, err, c.want)
		}
	}
	insecure := signing.Config{Services: services(), SignIn: signing.Device, Now: now, InsecureHTTP: true}
	insecure.Services.CAs[0].URL = "http://ca.example"
	if _, err := insecure.File(); err != nil {
		t.Error(err)
	}
}
