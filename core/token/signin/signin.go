// Package signin gets an identity token from a person, or from a machine with a secret, at any OpenID Connect issuer.
//
//   - [Browser]: the person signs in with a browser on this machine (authorization code with PKCE, RFC 7636, and a redirection to loopback, RFC 8252);
//   - [Device]: the person signs in with a browser elsewhere, where they type a code (RFC 8628);
//   - [Machine]: a client with a secret of its own (RFC 6749 section 4.4).
//
// All three are a [token.Source], find the issuer's addresses by OpenID Connect Discovery, and check the token that they are given (signature, issuer, audience, time,
// and for the browser the nonce) before they return it. The issuer has to be https, or on this machine. Protocol and cryptography are those of go-oidc
// and x/oauth2.
package signin

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/touchmark/touchmark/core/token"
)

// Limits on what an issuer may have us wait for and read.
const (
	// patience is how long a person may take. The issuers' own codes live from two to ten minutes.
	patience = 10 * time.Minute
	// timeout bounds each request to the issuer.
	timeout = 30 * time.Second
	// maxAnswer bounds each answer, in bytes; the largest, a key set, has a few KiB.
	maxAnswer = 1 << 20
)

// ErrDenied is wrapped by the errors that say that the person, or the issuer, did not agree.
var ErrDenied = errors.New("signing in was refused")

// Issuer is whom to sign in with.
type Issuer struct {
	URL          string
	ClientID     string // "" is token.DefaultAudience, as for every Sigstore client
	ClientSecret string // most issuers ask public clients for none
	Client       *http.Client
}

// open finds the issuer's addresses. The context carries the HTTP client for everything that follows.
func (i Issuer) open(ctx context.Context) (context.Context, *oidc.Provider, oauth2.Config, error) {
	if err := token.CheckTLS(i.URL); err != nil {
		return ctx, nil, oauth2.Config{}, i.failed(err)
	}
	client := http.Client{Timeout: timeout, Transport: bounded{}}
	if i.Client != nil {
		client.Transport = bounded{i.Client.Transport}
	}
	ctx = oidc.ClientContext(ctx, &client)
	provider, err := oidc.NewProvider(ctx, i.URL)
	if err != nil {
		return ctx, nil, oauth2.Config{}, i.failed(err)
	}
	endpoint := provider.Endpoint()
	endpoint.AuthStyle = oauth2.AuthStyleInParams // finding out would ask twice, and codes are for one use
	for _, u := range []string{endpoint.AuthURL, endpoint.TokenURL, endpoint.DeviceAuthURL} {
		if u == "" {
			continue
		}
		if err := token.CheckTLS(u); err != nil {
			return ctx, nil, oauth2.Config{}, i.failed(fmt.Errorf("%s: %w", u, err))
		}
	}
	return ctx, provider, oauth2.Config{
		ClientID: i.clientID(), ClientSecret: i.ClientSecret, Endpoint: endpoint, Scopes: []string{oidc.ScopeOpenID, "email"},
	}, nil
}

func (i Issuer) clientID() string {
	if i.ClientID == "" {
		return token.DefaultAudience
	}
	return i.ClientID
}

// check takes the identity token out of the issuer's answer and verifies it. The nonce of a flow that has none is "".
func (i Issuer) check(ctx context.Context, provider *oidc.Provider, answer *oauth2.Token, nonce string) (string, error) {
	raw, ok := answer.Extra("id_token").(string)
	if !ok || raw == "" {
		return "", i.failed(errors.New("its answer holds no identity token"))
	}
	verified, err := provider.VerifierContext(ctx, &oidc.Config{ClientID: i.clientID()}).Verify(ctx, raw)
	if err != nil {
		return "", i.failed(err)
	}
	if verified.Nonce != nonce {
		return "", i.failed(errors.New("its token was made for another sign-in"))
	}
	return token.Given(raw).Token(ctx)
}

// failed names the issuer. Of what it says, only the error's name and description are shown.
func (i Issuer) failed(err error) error {
	status := 0
	if refused := (*oauth2.RetrieveError)(nil); errors.As(err, &refused) {
		if refused.Response != nil {
			status = refused.Response.StatusCode
		}
		switch {
		case refused.ErrorCode == "access_denied":
			err = fmt.Errorf("%w: %.200q", ErrDenied, refused.ErrorDescription)
		case refused.ErrorCode != "":
			err = fmt.Errorf("%.60q: %.200q", refused.ErrorCode, refused.ErrorDescription)
		default:
			err = errors.New("it gave no reason")
		}
	}
	return &token.FetchError{URL: i.URL, Status: status, Err: err}
}

// random is an unguessable text of 128 bits or more.
func random() string { return rand.Text() }

// bounded bounds answers.
type bounded struct{ next http.RoundTripper }

// RoundTrip makes a body that is too long end in an error.
func (b bounded) RoundTrip(req *http.Request) (*http.Response, error) {
	next := b.next
	if next == nil {
		next = http.DefaultTransport
	}
	resp, err := next.RoundTrip(req)
	if err == nil {
		resp.Body = http.MaxBytesReader(nil, resp.Body, maxAnswer)
	}
	return resp, err
}
