package issuer

import (
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

const (
	// callbackPath is where Sigstore's clients listen for their code.
	callbackPath = "/auth/callback"

	// outOfBand asks for a page with the code instead of a redirection.
	outOfBand = "urn:ietf:wg:oauth:2.0:oob"
)

// client tells the library what a client may do. Both kinds are the same type: the public client of people, and machines.
type client struct {
	id     string
	public bool
}

var _ op.Client = client{}

func (c client) GetID() string { return c.id }

// RedirectURIs are compared without the port where they are loopback (RFC 8252 section 7.3).
func (c client) RedirectURIs() []string {
	if !c.public {
		return nil
	}
	return []string{"http://localhost" + callbackPath, "http://127.0.0.1" + callbackPath, outOfBand}
}

func (c client) ApplicationType() op.ApplicationType {
	if c.public {
		return op.ApplicationTypeNative
	}
	return op.ApplicationTypeWeb
}

func (c client) AuthMethod() oidc.AuthMethod {
	if c.public {
		return oidc.AuthMethodNone
	}
	return oidc.AuthMethodPost
}

func (c client) ResponseTypes() []oidc.ResponseType {
	if !c.public {
		return nil
	}
	return []oidc.ResponseType{oidc.ResponseTypeCode}
}

func (c client) GrantTypes() []oidc.GrantType {
	if c.public {
		return []oidc.GrantType{oidc.GrantTypeCode, oidc.GrantTypeDeviceCode}
	}
	return []oidc.GrantType{oidc.GrantTypeClientCredentials}
}

func (c client) PostLogoutRedirectURIs() []string     { return nil } // nobody stays logged in
func (c client) LoginURL(id string) string            { return LoginPath + "?id=" + url.QueryEscape(id) }
func (c client) AccessTokenType() op.AccessTokenType  { return op.AccessTokenTypeBearer }
func (c client) IDTokenLifetime() time.Duration       { return TokenLifetime }
func (c client) DevMode() bool                        { return false }
func (c client) IsScopeAllowed(string) bool           { return false } // beyond OpenID's own
func (c client) IDTokenUserinfoClaimsAssertion() bool { return true }
func (c client) ClockSkew() time.Duration             { return 0 }

func (c client) RestrictAdditionalIdTokenScopes() func([]string) []string {
	return slices.Clone[[]string]
}
func (c client) RestrictAdditionalAccessTokenScopes() func([]string) []string {
	return slices.Clone[[]string]
}

// isPlainRedirect is stricter than the library: a loopback redirection has one spelling, so that it can stand in a content security policy, and no other
// scheme, user, query or fragment.
func isPlainRedirect(s string) bool {
	if s == outOfBand {
		return true
	}
	u, err := url.Parse(s)
	if err != nil || (u.Hostname() != "localhost" && u.Hostname() != "127.0.0.1") {
		return false
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	return err == nil && port > 0 && s == "http://"+u.Hostname()+":"+strconv.FormatUint(port, 10)+callbackPath
}
