// Package issuer is the stack's own OpenID Connect issuer: the party that says who a signer is. The protocol is zitadel/oidc's; this package keeps what is
// under way, asks for passwords, and makes the tokens.
//
//	GET  /.well-known/openid-configuration     the discovery document
//	GET  /issuer/keys                          the key set (one RS256 key; its kid is the RFC 7638 thumbprint)
//	GET  /issuer/authorize                     authorization code flow with PKCE (RFC 6749 section 4.1, RFC 7636), for people with a browser
//	POST /issuer/device_authorization          device flow (RFC 8628), for people whose browser is on another machine
//	POST /issuer/token                         codes, device codes and clients' secrets are exchanged for tokens
//	GET, POST /login                           the login page
//	GET  /device                               where the code of the device flow is entered
//	GET  /dev/token?sub=alice@acme.example     a token as plain text; only with Config.InsecureDevTokens
//
// # Who asks
//
// People's programs are the public client "sigstore", as for every Sigstore client: no secret, redirection to http://localhost:PORT/auth/callback or
// http://127.0.0.1:PORT/auth/callback, and "urn:ietf:wg:oauth:2.0:oob" for a terminal that opens no browser: the page shows a code to copy. PKCE with S256 is
// demanded. Machines are clients of package accounts and use client credentials (RFC 6749 section 4.4).
//
// # Tokens
//
// Tokens are RS256 because cosign takes an inline token only when its header says so. Their audience is "sigstore", sub and email are the person's address, and
// email_verified is true: who added the person vouches for the address. A machine is NAME@clients.HOST; its own name stands in aud too, because cosign looks for
// it there, and azp says that the token is meant for "sigstore". There are no refresh tokens. The access token of an answer is random and opens nothing: OAuth
// libraries insist on one.
//
// # State
//
// What is under way is in memory, bounded and short-lived: a restart asks people to sign in again. Nobody stays signed in: each token costs a password. A code
// is for one use within two minutes, and the first attempt uses it up, whether it succeeds or not.
//
// # The development endpoint
//
// It authenticates nobody. So it exists only when [Config.InsecureDevTokens] is set and the issuer's URL is a loopback address, and it answers only requests
// that come from loopback and name a loopback host: a web page that points a name of its own at 127.0.0.1 gets nothing.
package issuer

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/touchmark/touchmark/services/issuer/accounts"
)

const (
	// Audience is the audience of every token: the client identifier that Sigstore's clients and authorities share.
	Audience = "sigstore"

	// TokenLifetime is how long a token may be used. It is as long as a certificate lives: enough to sign, little to steal.
	TokenLifetime = 10 * time.Minute

	// minKeyBits is what NIST SP 800-131A and RFC 7518 section 3.3 ask of an RSA key.
	minKeyBits = 2048
)

// Paths below the issuer's URL.
const (
	KeysPath     = "/issuer/keys"
	LoginPath    = "/login"
	DevicePath   = "/device" // short: people type it
	devTokenPath = "/dev/token"

	discoveryPath           = "/.well-known/openid-configuration"
	authorizePath           = "/issuer/authorize"
	tokenPath               = "/issuer/token"
	deviceAuthorizationPath = "/issuer/device_authorization"
)

// Config says what an issuer is.
type Config struct {
	// URL is the issuer's identifier, exactly as it stands in each token's iss claim and in certificates: scheme and host,
	// with neither a path nor a trailing slash. Required.
	URL string

	// Key signs the tokens: RSA of 2048 bits or more. Required.
	Key crypto.Signer

	// Accounts are those who may sign in. Required.
	Accounts *accounts.Store

	// InsecureDevTokens mounts /dev/token, which gives anyone on this machine a token for any address. New refuses it unless URL
	// is a loopback address.
	InsecureDevTokens bool

	// Clock tells the time; nil means time.Now.
	Clock func() time.Time

	// Logger receives one line for each token and each refusal, without tokens, codes and passwords; nil discards. The library logs protocol errors with
	// slog's default logger.
	Logger *slog.Logger
}

// An Issuer makes tokens and publishes the key to check them with. It is safe for concurrent use.
type Issuer struct {
	url      string
	dev      bool
	accounts *accounts.Store
	keys     jose.JSONWebKeySet
	signer   jose.Signer
	clock    func() time.Time
	logger   *slog.Logger

	pending *pending
	limits  limits
	handler http.Handler
}

// New returns an issuer, or an error that names the field of the configuration that is wrong.
func New(config Config) (*Issuer, error) {
	if err := checkURL(config.URL); err != nil {
		return nil, fmt.Errorf("configuring issuer: URL %q: %w", config.URL, err)
	}
	if config.InsecureDevTokens && !loopbackURL(config.URL) {
		return nil, fmt.Errorf("configuring issuer: development tokens are for loopback only, and URL %q is not", config.URL)
	}
	if config.Key == nil {
		return nil, errors.New("configuring issuer: Key is missing")
	}
	if config.Accounts == nil {
		return nil, errors.New("configuring issuer: Accounts is missing")
	}
	public, ok := config.Key.Public().(*rsa.PublicKey)
	if !ok || public.N.BitLen() < minKeyBits {
		return nil, fmt.Errorf("configuring issuer: Key must be RSA of at least %d bits", minKeyBits)
	}
	i := &Issuer{
		url: config.URL, dev: config.InsecureDevTokens, accounts: config.Accounts, clock: config.Clock, logger: config.Logger,
		pending: newPending(), limits: newLimits(),
	}
	if i.clock == nil {
		i.clock = time.Now
	}
	if i.logger == nil {
		i.logger = slog.New(slog.DiscardHandler)
	}

	key := jose.JSONWebKey{Key: public, Algorithm: string(jose.RS256), Use: "sig"}
	thumbprint, err := key.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("naming issuer key: %w", err)
	}
	key.KeyID = base64.RawURLEncoding.EncodeToString(thumbprint)
	i.keys = jose.JSONWebKeySet{Keys: []jose.JSONWebKey{key}}

	private := jose.JSONWebKey{Key: config.Key, KeyID: key.KeyID, Algorithm: string(jose.RS256)}
	i.signer, err = jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: private}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, fmt.Errorf("configuring issuer: Key: %w", err)
	}
	i.handler = i.routes()
	return i, nil
}

// URL returns the issuer's identifier, the iss claim of its tokens.
func (i *Issuer) URL() string { return i.url }

// Keys returns the public keys that tokens are checked with, so that a certificate authority in the same process needs no
// request to itself.
func (i *Issuer) Keys() jose.JSONWebKeySet { return i.keys }

// claims is the body of a token. Times are whole seconds: the certificate authority takes no others.
type claims struct {
	Issuer        string       `json:"iss"`
	Subject       string       `json:"sub"`
	Audience      jwt.Audience `json:"aud"` // one is written as a string
	Party         string       `json:"azp,omitempty"`
	Expiry        int64        `json:"exp"`
	NotBefore     int64        `json:"nbf"`
	IssuedAt      int64        `json:"iat"`
	AuthTime      int64        `json:"auth_time,omitempty"`
	ID            string       `json:"jti"`
	Nonce         string       `json:"nonce,omitempty"`
	Email         string       `json:"email"`
	EmailVerified bool         `json:"email_verified"`
}

// Token returns a signed token which says that its bearer is address, an e-mail address that the caller has verified. An address
// that is not one gives an error that wraps [accounts.ErrInput].
func (i *Issuer) Token(address string) (string, error) {
	if err := accounts.CheckAddress(address); err != nil {
		return "", fmt.Errorf("making token: %w", err)
	}
	return i.sign(address, claims{Audience: jwt.Audience{Audience}, Nonce: rand.Text()})
}

// sign completes the claims about an address and signs them.
func (i *Issuer) sign(address string, c claims) (string, error) {
	now := i.clock().Truncate(time.Second)
	c.Issuer, c.Subject, c.Email, c.EmailVerified = i.url, address, address, true
	c.Expiry, c.NotBefore, c.IssuedAt, c.ID = now.Add(TokenLifetime).Unix(), now.Unix(), now.Unix(), rand.Text()
	token, err := jwt.Signed(i.signer).Claims(c).Serialize()
	if err != nil {
		return "", fmt.Errorf("signing token: %w", err)
	}
	return token, nil
}

func checkURL(s string) error {
	u, err := url.Parse(s)
	if err != nil {
		return errors.New("is not a URL")
	}
	if u.Scheme != "https" && u.Scheme != "http" {
		return errors.New("must begin with https:// or http://")
	}
	if u.Host == "" || u.Scheme+"://"+u.Host != s {
		return errors.New("must be scheme and host alone")
	}
	return nil
}

// isSecure reports whether browsers reach the issuer by TLS.
func (i *Issuer) isSecure() bool { return strings.HasPrefix(i.url, "https://") }
