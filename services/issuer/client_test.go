package issuer

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

func TestClientCredentials(t *testing.T) {
	w := newWorld(t)
	for name, style := range map[string]oauth2.AuthStyle{"header": oauth2.AuthStyleInHeader, "form": oauth2.AuthStyleInParams} {
		config := clientcredentials.Config{
			ClientID: "ci", ClientSecret: w.secret, TokenURL: w.provider.Endpoint().TokenURL, Scopes: []string{"openid", "email"}, AuthStyle: style,
		}
		token, err := config.Token(t.Context())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		// cosign looks for its own client identifier in aud, the certificate authority for sigstore in aud and azp.
		for _, audience := range []string{"ci", Audience} {
			c := w.check(t, token.Extra("id_token"), audience)
			if c.Email != "ci@clients.127.0.0.1" || c.Subject != c.Email || !c.EmailVerified || c.Party != Audience || !slices.Contains(c.Audience, Audience) {
				t.Errorf("%s: claims %+v", name, c)
			}
		}
	}
}

func TestClientsThatAreRefused(t *testing.T) {
	w := newWorld(t)
	ask := func(id, secret string) answered {
		return w.post(t, tokenPath, url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {secret}, "scope": {"openid email"}})
	}
	wrong, unknown := ask("ci", "wrong"), ask("nobody", "wrong")
	if wrong.Status != http.StatusUnauthorized || wrong.Error != "invalid_client" || wrong.Error != unknown.Error || wrong.Description != unknown.Description ||
		wrong.Status != unknown.Status {
		t.Errorf("wrong secret %+v, unknown client %+v", wrong, unknown)
	}
	for _, test := range [][2]string{{"ci", ""}, {Audience, ""}, {Audience, w.secret}, {"", w.secret}, {"CI", w.secret}, {"ci", w.secret + "x"}, {"ci", strings.ToUpper(w.secret)}} {
		if a := ask(test[0], test[1]); a.Status/100 != 4 || a.IDToken != "" {
			t.Errorf("%q: status %d, %s", test[0], a.Status, a.Error)
		}
	}
	if a := ask("ci", w.secret); a.IDToken == "" {
		t.Errorf("the twin: status %d, %s", a.Status, a.Error)
	}
	if err := w.accounts.RemoveClient("ci"); err != nil {
		t.Fatal(err)
	}
	if a := ask("ci", w.secret); a.Status != http.StatusUnauthorized {
		t.Errorf("removed: status %d", a.Status)
	}
}

// A machine cannot begin what is for people.
func TestClientsHaveOneGrant(t *testing.T) {
	w := newWorld(t)
	code := w.code(t).Get("code")
	for grant, form := range map[string]url.Values{
		"authorization_code":                           {"code": {code}, "redirect_uri": {callback}, "code_verifier": {w.verifier}},
		"urn:ietf:params:oauth:grant-type:device_code": {"device_code": {w.beginDevice(t).DeviceCode}},
	} {
		form.Set("grant_type", grant)
		form.Set("client_id", "ci")
		form.Set("client_secret", w.secret)
		if a := w.post(t, tokenPath, form); a.Status != http.StatusBadRequest || a.Error != "unauthorized_client" {
			t.Errorf("%s: status %d, %s", grant, a.Status, a.Error)
		}
	}
}

func TestTokenRequestsAreLimited(t *testing.T) {
	w := newWorld(t)
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {"ci"}, "client_secret": {"wrong"}}
	for n := range 100 {
		if a := w.post(t, tokenPath, form); a.Status != http.StatusUnauthorized {
			t.Fatalf("request %d: status %d", n+1, a.Status)
		}
	}
	if a := w.post(t, tokenPath, form); a.Status != http.StatusTooManyRequests || a.Error != "slow_down" || a.Header.Get("Retry-After") != "1" {
		t.Errorf("status %d, %s, Retry-After %q", a.Status, a.Error, a.Header.Get("Retry-After"))
	}
}
