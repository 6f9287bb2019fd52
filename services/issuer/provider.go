package issuer

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"

	"github.com/touchmark/touchmark/services/issuer/accounts"
)

const (
	// maxParameter bounds what an authorization request may have us remember, for each of state and nonce. cosign sends 128 random bytes as text.
	maxParameter = 1024

	// challengeSize is the length of an S256 code challenge: base64url of a SHA-256 digest.
	challengeSize = 43
)

// provider answers the library, which parses requests, checks clients' redirections, grants and response types, and writes answers and errors. What it does not
// implement (refresh tokens, token exchange, user info and the rest) the library refuses.
type provider struct {
	op.UnimplementedServer
	*Issuer
}

var _ op.Server = (*provider)(nil)

// Discovery is OpenID Connect Discovery 1.0 section 3.
func (p *provider) Discovery(context.Context, *op.Request[struct{}]) (*op.Response, error) {
	return lasting(&oidc.DiscoveryConfiguration{
		Issuer:                            p.url,
		AuthorizationEndpoint:             p.url + authorizePath,
		TokenEndpoint:                     p.url + tokenPath,
		DeviceAuthorizationEndpoint:       p.url + deviceAuthorizationPath,
		JwksURI:                           p.url + KeysPath,
		ScopesSupported:                   []string{oidc.ScopeOpenID, oidc.ScopeEmail},
		ResponseTypesSupported:            []string{string(oidc.ResponseTypeCode)},
		ResponseModesSupported:            []string{string(oidc.ResponseModeQuery)},
		GrantTypesSupported:               []oidc.GrantType{oidc.GrantTypeCode, oidc.GrantTypeDeviceCode, oidc.GrantTypeClientCredentials},
		SubjectTypesSupported:             []string{"public"},
		IDTokenSigningAlgValuesSupported:  []string{string(jose.RS256)},
		TokenEndpointAuthMethodsSupported: []oidc.AuthMethod{oidc.AuthMethodNone, oidc.AuthMethodBasic, oidc.AuthMethodPost},
		CodeChallengeMethodsSupported:     []oidc.CodeChallengeMethod{oidc.CodeChallengeMethodS256},
		ClaimsSupported: []string{
			"iss", "sub", "aud", "azp", "exp", "iat", "nbf", "auth_time", "jti", "nonce", "email", "email_verified",
		},
	}), nil
}

// Keys is RFC 7517.
func (p *provider) Keys(context.Context, *op.Request[struct{}]) (*op.Response, error) {
	return lasting(p.keys), nil
}

// lasting is an answer that may be kept: long enough to spare the issuer, short enough that a new key is seen the same hour.
func lasting(data any) *op.Response {
	response := op.NewResponse(data)
	response.Header.Set("Cache-Control", "public, max-age=300")
	return response
}

// VerifyAuthRequest finds the client of an authorization request. Nothing that is wrong here is sent to the redirection, which is not checked yet.
func (p *provider) VerifyAuthRequest(_ context.Context, r *op.Request[oidc.AuthRequest]) (*op.ClientRequest[oidc.AuthRequest], error) {
	if r.Data.ClientID != Audience {
		return nil, oidc.ErrInvalidRequestRedirectURI().WithDescription("client_id is not one that people may sign in for: want %q", Audience)
	}
	if !isPlainRedirect(r.Data.RedirectURI) {
		return nil, oidc.ErrInvalidRequestRedirectURI().WithDescription(
			"redirect_uri is not registered: want http://localhost:PORT%s, http://127.0.0.1:PORT%s or %s", callbackPath, callbackPath, outOfBand)
	}
	if len(r.Data.State) > maxParameter || len(r.Data.Nonce) > maxParameter {
		return nil, oidc.ErrInvalidRequestRedirectURI().WithDescription("state or nonce has more than %d bytes", maxParameter)
	}
	return &op.ClientRequest[oidc.AuthRequest]{Request: r, Client: client{id: Audience, public: true}}, nil
}

// Authorize begins a login and sends the browser to its page. The redirection has been checked: errors go there.
func (p *provider) Authorize(_ context.Context, r *op.ClientRequest[oidc.AuthRequest]) (*op.Redirect, error) {
	switch {
	case r.Data.RequestParam != "":
		return nil, oidc.ErrRequestNotSupported()
	case slices.Contains(r.Data.Prompt, oidc.PromptNone):
		return nil, oidc.ErrLoginRequired().WithDescription("nobody stays signed in here: a page must be shown")
	case r.Data.ResponseMode != "" && r.Data.ResponseMode != oidc.ResponseModeQuery:
		return nil, oidc.ErrInvalidRequest().WithDescription("response_mode must be query")
	case !slices.Contains(r.Data.Scopes, oidc.ScopeOpenID):
		return nil, oidc.ErrInvalidScope().WithDescription("scope must hold openid")
	case r.Data.CodeChallengeMethod != oidc.CodeChallengeMethodS256 || len(r.Data.CodeChallenge) != challengeSize:
		return nil, oidc.ErrInvalidRequest().WithDescription("PKCE is needed: code_challenge with code_challenge_method S256")
	}
	attempt, err := p.pending.begin(request{
		// Cloned: they are parts of the request's text, which would be kept whole.
		redirectURI: strings.Clone(r.Data.RedirectURI), state: strings.Clone(r.Data.State),
		nonce: strings.Clone(r.Data.Nonce), challenge: strings.Clone(r.Data.CodeChallenge),
	}, nil, p.clock())
	if err != nil {
		return nil, op.NewStatusError(oidc.ErrServerError().WithDescription("%v", err), http.StatusServiceUnavailable)
	}
	redirect := op.NewRedirect(r.Client.LoginURL(attempt.id))
	redirect.Header.Set("Set-Cookie", p.cookie(attempt).String())
	return redirect, nil
}

// VerifyClient finds and authenticates the client of a token or device authorization request.
func (p *provider) VerifyClient(ctx context.Context, r *op.Request[op.ClientCredentials]) (op.Client, error) {
	id, secret := r.Data.ClientID, r.Data.ClientSecret
	if id == Audience && secret == "" {
		return client{id: Audience, public: true}, nil
	}
	switch err := p.accounts.CheckSecret(id, secret); {
	case errors.Is(err, accounts.ErrCredentials):
		p.logger.WarnContext(ctx, "client refused", "client", id[:min(len(id), 64)])
		return nil, op.NewStatusError(oidc.ErrInvalidClient().WithDescription("the client or its secret is wrong"), http.StatusUnauthorized)
	case err != nil:
		return nil, p.outage(ctx, err)
	}
	return client{id: id}, nil
}

// CodeExchange is RFC 6749 section 4.1.3 with RFC 7636 section 4.6. The code is used up whatever comes of it.
func (p *provider) CodeExchange(ctx context.Context, r *op.ClientRequest[oidc.AccessTokenRequest]) (*op.Response, error) {
	grant, ok := p.pending.redeem(r.Data.Code, p.clock())
	if !ok {
		return nil, oidc.ErrInvalidGrant().WithDescription("the code is unknown, used or expired")
	}
	if err := op.AuthorizeCodeChallenge(r.Data.CodeVerifier, challengeOf(grant.request.challenge)); err != nil {
		return nil, err
	}
	if r.Data.RedirectURI != grant.request.redirectURI {
		return nil, oidc.ErrInvalidGrant().WithDescription("redirect_uri is not that of the authorization request")
	}
	return p.person(ctx, "code", grant.subject, grant.when, grant.request.nonce)
}

// DeviceAuthorization is RFC 8628 section 3.1.
func (p *provider) DeviceAuthorization(_ context.Context, r *op.ClientRequest[oidc.DeviceAuthorizationRequest]) (*op.Response, error) {
	if !r.Client.(client).public {
		return nil, oidc.ErrUnauthorizedClient().WithDescription("this client has a secret: use grant_type client_credentials")
	}
	if !slices.Contains(r.Data.Scopes, oidc.ScopeOpenID) {
		return nil, oidc.ErrInvalidScope().WithDescription("scope must hold openid")
	}
	challenge := strings.Clone(r.Form.Get("code_challenge"))
	if challenge != "" && (len(challenge) != challengeSize || r.Form.Get("code_challenge_method") != string(oidc.CodeChallengeMethodS256)) {
		return nil, oidc.ErrInvalidRequest().WithDescription("code_challenge must be of code_challenge_method S256")
	}
	style := op.UserCodeBase20
	userCode, err := op.NewUserCode([]rune(style.CharSet), style.CharAmount, style.DashInterval)
	if err != nil {
		return nil, op.NewStatusError(oidc.ErrServerError().WithDescription("no user code could be made"), http.StatusInternalServerError)
	}
	d, err := p.pending.beginDevice(userCode, challenge, p.clock())
	if err != nil {
		return nil, op.NewStatusError(oidc.ErrServerError().WithDescription("%v", err), http.StatusServiceUnavailable)
	}
	return op.NewResponse(&oidc.DeviceAuthorizationResponse{
		DeviceCode: d.code, UserCode: userCode, VerificationURI: p.url + DevicePath, VerificationURIComplete: p.url + DevicePath + "?user_code=" + userCode,
		ExpiresIn: int(deviceLifetime / time.Second), Interval: int(pollInterval / time.Second),
	}), nil
}

// DeviceToken is RFC 8628 section 3.4.
func (p *provider) DeviceToken(ctx context.Context, r *op.ClientRequest[oidc.DeviceAccessTokenRequest]) (*op.Response, error) {
	d, early, ok := p.pending.poll(r.Data.DeviceCode, p.clock())
	switch {
	case !ok:
		return nil, oidc.ErrExpiredDeviceCode().WithDescription("the device code is unknown, used or expired")
	case early:
		return nil, oidc.ErrSlowDown()
	case d.state == deviceWaiting:
		return nil, oidc.ErrAuthorizationPending()
	case d.state == deviceDenied:
		return nil, oidc.ErrAccessDenied().WithDescription("the person refused")
	}
	if d.challenge != "" {
		if err := op.AuthorizeCodeChallenge(r.Form.Get("code_verifier"), challengeOf(d.challenge)); err != nil {
			return nil, err
		}
	}
	return p.person(ctx, "device", d.subject, d.when, "")
}

// ClientCredentialsExchange is RFC 6749 section 4.4.2.
func (p *provider) ClientCredentialsExchange(ctx context.Context, r *op.ClientRequest[oidc.ClientCredentialsRequest]) (*op.Response, error) {
	name := r.Client.GetID()
	return p.answer(ctx, "client credentials", p.accounts.ClientAddress(name), claims{Audience: jwt.Audience{Audience, name}, Party: Audience})
}

// person answers with the token of a person who signed in, if they are still there.
func (p *provider) person(ctx context.Context, flow, address string, when time.Time, nonce string) (*op.Response, error) {
	switch known, err := p.accounts.HasUser(address); {
	case err != nil:
		return nil, p.outage(ctx, err)
	case !known:
		return nil, oidc.ErrInvalidGrant().WithDescription("the account was removed")
	}
	return p.answer(ctx, flow, address, claims{Audience: jwt.Audience{Audience}, Nonce: nonce, AuthTime: when.Unix()})
}

func (p *provider) answer(ctx context.Context, flow, address string, c claims) (*op.Response, error) {
	token, err := p.sign(address, c)
	if err != nil {
		return nil, p.outage(ctx, err)
	}
	p.logger.InfoContext(ctx, "token given", "flow", flow, "email", address)
	return op.NewResponse(&oidc.AccessTokenResponse{
		AccessToken: rand.Text(), TokenType: oidc.BearerToken, IDToken: token, ExpiresIn: uint64(TokenLifetime / time.Second),
		Scope: oidc.SpaceDelimitedArray{oidc.ScopeOpenID, oidc.ScopeEmail},
	}), nil
}

// outage is for what is our own fault; the cause is for the log alone.
func (p *provider) outage(ctx context.Context, err error) error {
	p.logger.ErrorContext(ctx, "issuer cannot answer", "err", err)
	return op.NewStatusError(oidc.ErrServerError().WithDescription("the issuer cannot answer now"), http.StatusServiceUnavailable)
}

func challengeOf(challenge string) *oidc.CodeChallenge {
	return &oidc.CodeChallenge{Challenge: challenge, Method: oidc.CodeChallengeMethodS256}
}

// plainUserCode brings a user code as people type it into the form that it was given out in.
func plainUserCode(typed string) string {
	letters := strings.ToUpper(strings.Map(func(r rune) rune {
		if r == '-' || r == ' ' || r == '\t' {
			return -1
		}
		return r
	}, typed))
	if len(letters) != op.UserCodeBase20.CharAmount {
		return ""
	}
	return letters[:op.UserCodeBase20.DashInterval] + "-" + letters[op.UserCodeBase20.DashInterval:]
}
