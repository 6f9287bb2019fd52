// Package issuer is the stack's own OpenID Connect issuer: the party that says who a signer is.
//
// It publishes what a relying party needs to check a token (the discovery document of OpenID Connect Discovery 1.0 and a key
// set, RFC 7517) and, when it is told to, hands a development token to anyone on this machine who asks:
//
//	GET /.well-known/openid-configuration     the discovery document
//	GET /issuer/keys                          the key set (one RS256 key; its kid is the RFC 7638 thumbprint)
//	GET /dev/token?sub=alice@acme.example     a token as plain text; only with Config.InsecureDevTokens
//
// Tokens are RS256 because cosign takes an inline token only when its header says so. Their audience is "sigstore".
//
// The development endpoint authenticates nobody. So it exists only when [Config.InsecureDevTokens] is set and the issuer's URL
// is a loopback address, and it answers only requests that come from loopback and name a loopback host: a web page that points
// a name of its own at 127.0.0.1 gets nothing.
//
// Logging a person in (authorization code, device flow) is not here yet; a provider library takes its place beside the
// development endpoint and makes its tokens with [Issuer.Token].
package issuer

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/mail"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

const (
	// Audience is the audience of every token: the client identifier that Sigstore's clients and authorities share.
	Audience = "sigstore"

	// TokenLifetime is how long a token may be used. It is as long as a certificate lives: enough to sign, little to steal.
	TokenLifetime = 10 * time.Minute

	// KeysPath is where the key set is served, below the issuer's URL.
	KeysPath = "/issuer/keys"

	// minKeyBits is what NIST SP 800-131A and RFC 7518 section 3.3 ask of an RSA key.
	minKeyBits = 2048

	// maxAddress is the longest e-mail address that can be written in SMTP (RFC 5321 section 4.5.3.1.3, less the brackets).
	maxAddress = 254
)

// ErrAddress is wrapped by the errors of [Issuer.Token] that the caller's address is to blame for.
var ErrAddress = errors.New("not a plain e-mail address")

// Config says what an issuer is.
type Config struct {
	// URL is the issuer's identifier, exactly as it stands in each token's iss claim and in certificates: scheme and host,
	// with neither a path nor a trailing slash. Required.
	URL string

	// Key signs the tokens: RSA of 2048 bits or more. Required.
	Key crypto.Signer

	// InsecureDevTokens mounts /dev/token, which gives anyone on this machine a token for any address. New refuses it unless URL
	// is a loopback address.
	InsecureDevTokens bool

	// Clock tells the time; nil means time.Now.
	Clock func() time.Time

	// Logger receives one line per token, without the token; nil discards.
	Logger *slog.Logger
}

// An Issuer makes tokens and publishes the key to check them with. It is safe for concurrent use.
type Issuer struct {
	url    string
	dev    bool
	keys   jose.JSONWebKeySet
	signer jose.Signer
	clock  func() time.Time
	logger *slog.Logger

	discoveryJSON, keysJSON []byte
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
	public, ok := config.Key.Public().(*rsa.PublicKey)
	if !ok || public.N.BitLen() < minKeyBits {
		return nil, fmt.Errorf("configuring issuer: Key must be RSA of at least %d bits", minKeyBits)
	}
	i := &Issuer{url: config.URL, dev: config.InsecureDevTokens, clock: config.Clock, logger: config.Logger}
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
	if i.keysJSON, err = json.Marshal(i.keys); err != nil {
		return nil, fmt.Errorf("encoding issuer keys: %w", err)
	}
	// No authorization_endpoint or token_endpoint: there is none to name until a login flow exists.
	i.discoveryJSON, err = json.Marshal(map[string]any{
		"issuer":                                i.url,
		"jwks_uri":                              i.url + KeysPath,
		"response_types_supported":              []string{"id_token"},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": []string{string(jose.RS256)},
		"claims_supported":                      []string{"iss", "sub", "aud", "exp", "iat", "nbf", "jti", "nonce", "email", "email_verified"},
	})
	if err != nil {
		return nil, fmt.Errorf("encoding discovery document: %w", err)
	}
	return i, nil
}

// URL returns the issuer's identifier, the iss claim of its tokens.
func (i *Issuer) URL() string { return i.url }

// Keys returns the public keys that tokens are checked with, so that a certificate authority in the same process needs no
// request to itself.
func (i *Issuer) Keys() jose.JSONWebKeySet { return i.keys }

// claims is the body of a token. Times are whole seconds: the certificate authority takes no others.
type claims struct {
	Issuer        string `json:"iss"`
	Subject       string `json:"sub"`
	Audience      string `json:"aud"`
	Expiry        int64  `json:"exp"`
	NotBefore     int64  `json:"nbf"`
	IssuedAt      int64  `json:"iat"`
	ID            string `json:"jti"`
	Nonce         string `json:"nonce"`
	Email         string `json:"email"`
	EmailVerified bool   `json:"email_verified"`
}

// Token returns a signed token which says that its bearer is address, an e-mail address that the caller has verified. An address
// that is not one gives an error that wraps [ErrAddress].
func (i *Issuer) Token(address string) (string, error) {
	if err := checkAddress(address); err != nil {
		return "", err
	}
	now := i.clock().Truncate(time.Second)
	token, err := jwt.Signed(i.signer).Claims(claims{
		Issuer:        i.url,
		Subject:       address,
		Audience:      Audience,
		Expiry:        now.Add(TokenLifetime).Unix(),
		NotBefore:     now.Unix(),
		IssuedAt:      now.Unix(),
		ID:            rand.Text(),
		Nonce:         rand.Text(),
		Email:         address,
		EmailVerified: true,
	}).Serialize()
	if err != nil {
		return "", fmt.Errorf("signing token: %w", err)
	}
	return token, nil
}

// checkAddress accepts an address that net/mail reads and would write in the very same bytes: no display name, no comment, no
// quoting, nothing that two readers of a certificate could read differently.
func checkAddress(address string) error {
	if address == "" {
		return fmt.Errorf("sub is missing: %w", ErrAddress)
	}
	if len(address) > maxAddress {
		return fmt.Errorf("sub of %d bytes, at most %d are allowed: %w", len(address), maxAddress, ErrAddress)
	}
	if strings.ContainsFunc(address, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("sub %q holds a character outside printable ASCII: %w", address, ErrAddress)
	}
	parsed, err := mail.ParseAddress(address)
	if err != nil || parsed.Name != "" || parsed.Address != address {
		return fmt.Errorf("sub %q: %w", address, ErrAddress)
	}
	return nil
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
