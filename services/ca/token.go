package ca

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/mail"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/touchmark/touchmark/core/identity"
)

const (
	// maxToken bounds an identity token. CI providers' tokens, the largest in use, have about 2 KiB.
	maxToken = 16 << 10

	// clockSkew is how far the clock of an issuer may be ahead of ours. Tokens are used within seconds of being made, so without
	// it an issuer that is one second ahead could not be used at all. There is none for the end of a token's life.
	clockSkew = 30 * time.Second

	// maxAddress is the longest e-mail address that SMTP can carry (RFC 5321 section 4.5.3.1.3, less the brackets).
	maxAddress = 254

	// maxSubject is the longest sub claim (OpenID Connect Core 1.0 section 2).
	maxSubject = 255
)

// algorithms are the signature algorithms of tokens that are accepted: asymmetric ones only, so that a public key can never be
// taken for a shared secret.
var algorithms = []string{
	oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.EdDSA,
}

// principal is whom a token speaks of.
type principal struct {
	identity identity.Identity
	// name is what proof of possession is made over.
	name string
}

// authenticate verifies an identity token and returns whom it speaks of. The signature and the first reading of the claims are
// go-oidc's; every claim that counts is then read again, strictly, from the bytes that were signed.
func (c *CA) authenticate(ctx context.Context, untrustedToken string) (principal, error) {
	header, untrustedClaims, err := splitToken(untrustedToken)
	if err != nil {
		return principal{}, invalid(msgToken, err)
	}
	// The issuer's name is compared byte for byte: no prefix, no case, no trailing slash, no other spelling of the same URL.
	name, err := untrustedClaims.text("iss", "iss")
	if err != nil {
		return principal{}, invalid(msgToken, err)
	}
	issuer := c.issuers[name]
	if issuer == nil {
		return principal{}, invalid(msgToken, fmt.Errorf("issuer %.128q is not one that this authority accepts", name))
	}
	keys, err := issuer.keys.find(ctx, header)
	if err != nil {
		return principal{}, err
	}
	verifier := oidc.NewVerifier(issuer.URL, &oidc.StaticKeySet{PublicKeys: keys}, &oidc.Config{
		ClientID:             issuer.Audience,
		SupportedSigningAlgs: []string{header.algorithm},
		Now:                  c.clock,
	})
	token, err := verifier.Verify(ctx, untrustedToken)
	if err != nil {
		return principal{}, invalid(msgToken, err)
	}
	var signed json.RawMessage
	if err := token.Claims(&signed); err != nil {
		return principal{}, invalid(msgToken, err)
	}
	claims, err := parseClaims(signed)
	if err != nil {
		return principal{}, invalid(msgToken, err)
	}
	if err := claims.check(issuer.Issuer, c.clock()); err != nil {
		return principal{}, invalid(msgToken, err)
	}
	members, err := parseObject(signed)
	if err != nil {
		return principal{}, invalid(msgToken, err)
	}
	who, err := issuer.principal(claims, members)
	if err != nil {
		return principal{}, invalid(msgToken, err)
	}
	return who, nil
}

// header is what is used of a token's header.
type header struct {
	algorithm string
	keyID     string
}

// splitToken takes apart a compact JWS (RFC 7515 section 7.1) without verifying it. The JSON serialisations, padding, line breaks
// and non-canonical base64 are refused, and so is every header that would let a token bring its own key or change what is signed.
func splitToken(untrustedToken string) (header, object, error) {
	if len(untrustedToken) > maxToken {
		return header{}, nil, fmt.Errorf("it has %d bytes, at most %d are allowed", len(untrustedToken), maxToken)
	}
	parts := strings.Split(untrustedToken, ".")
	if len(parts) != 3 {
		return header{}, nil, errors.New("it is not a compact JWS of three parts")
	}
	var decoded [3][]byte
	for i, part := range parts {
		bytes, err := base64.RawURLEncoding.Strict().DecodeString(part)
		if err != nil || part == "" || strings.ContainsAny(part, "\r\n") {
			return header{}, nil, fmt.Errorf("part %d is not base64url without padding", i+1)
		}
		decoded[i] = bytes
	}
	members, err := parseObject(decoded[0])
	if err != nil {
		return header{}, nil, fmt.Errorf("its header %w", err)
	}
	for _, name := range []string{"jwk", "jku", "x5c", "x5u", "crit", "b64", "zip"} {
		if _, present := members[name]; present {
			return header{}, nil, fmt.Errorf("its header holds %s, which is not accepted", name)
		}
	}
	var h header
	if h.algorithm, err = members.text("alg", "alg"); err != nil {
		return header{}, nil, err
	}
	if !slices.Contains(algorithms, h.algorithm) {
		return header{}, nil, fmt.Errorf("its algorithm %.32q is not accepted", h.algorithm)
	}
	if h.keyID, err = members.text("kid", "kid"); err != nil {
		return header{}, nil, err
	}
	claims, err := parseObject(decoded[1])
	if err != nil {
		return header{}, nil, fmt.Errorf("its claims: the token %w", err)
	}
	return h, claims, nil
}

// claims are the claims of every token, and those that an e-mail identity is made from.
type claims struct {
	audience   []string
	party      string // azp
	expiry     time.Time
	issuedAt   time.Time
	notBefore  time.Time // zero if absent
	subject    string
	email      string
	isVerified bool
}

// claimNames are the claims that are read. encoding/json, and so go-oidc, does not mind their case; a token in which case matters is
// refused.
var claimNames = []string{"iss", "aud", "azp", "exp", "iat", "nbf", "sub", "email", "email_verified"}

func parseClaims(signed []byte) (claims, error) {
	members, err := parseObject(signed)
	if err != nil {
		return claims{}, fmt.Errorf("its claims: the token %w", err)
	}
	for name := range members {
		for _, known := range claimNames {
			if name != known && strings.EqualFold(name, known) {
				return claims{}, fmt.Errorf("claim %.64q looks like %s", name, known)
			}
		}
	}
	var c claims
	if c.audience, err = members.audience(); err != nil {
		return claims{}, err
	}
	if c.expiry, err = members.date("exp"); err != nil {
		return claims{}, err
	}
	if c.issuedAt, err = members.date("iat"); err != nil {
		return claims{}, err
	}
	if _, present := members["nbf"]; present {
		if c.notBefore, err = members.date("nbf"); err != nil {
			return claims{}, err
		}
	}
	if c.party, err = members.text("azp", "azp"); err != nil {
		return claims{}, err
	}
	if c.subject, err = members.text("sub", "sub"); err != nil {
		return claims{}, err
	}
	if c.email, err = members.text("email", "email"); err != nil {
		return claims{}, err
	}
	// Some providers write the boolean as a string, and clients take both (sigstore/pkg/oauthflow).
	verified := string(members["email_verified"])
	c.isVerified = verified == `true` || verified == `"true"`
	return c, nil
}

// date reads a NumericDate (RFC 7519 section 2): whole seconds, positive, without fraction or exponent.
func (o object) date(name string) (time.Time, error) {
	raw, present := o[name]
	if !present {
		return time.Time{}, fmt.Errorf("claim %s is missing", name)
	}
	seconds, err := strconv.ParseUint(string(raw), 10, 40) // 40 bits reach into the year 36812
	if err != nil {
		return time.Time{}, fmt.Errorf("claim %s is not a number of seconds", name)
	}
	return time.Unix(int64(seconds), 0), nil
}

// audience reads the aud claim, one string or an array of them.
func (o object) audience() ([]string, error) {
	raw, present := o["aud"]
	if !present {
		return nil, errors.New("claim aud is missing")
	}
	var one string
	if err := json.Unmarshal(raw, &one); err == nil && one != "" {
		return []string{one}, nil
	}
	var many []string
	if err := json.Unmarshal(raw, &many); err != nil || len(many) == 0 {
		return nil, errors.New("claim aud is neither a string nor an array of strings")
	}
	return many, nil
}

// check holds the claims against the issuer's configuration and the time. OpenID Connect Core 1.0 section 3.1.3.7 is the list;
// RFC 7519 section 4.1 the meaning of each.
func (c claims) check(issuer Issuer, now time.Time) error {
	if !slices.Contains(c.audience, issuer.Audience) {
		return fmt.Errorf("claim aud is %.128q, want %q", c.audience, issuer.Audience)
	}
	// A token for several parties is taken only if it says that it was made for us.
	if (len(c.audience) > 1 || c.party != "") && c.party != issuer.Audience {
		return fmt.Errorf("claim azp is %.128q, want %q", c.party, issuer.Audience)
	}
	if !now.Before(c.expiry) {
		return fmt.Errorf("it expired at %s", c.expiry.UTC().Format(time.RFC3339))
	}
	if c.issuedAt.After(now.Add(clockSkew)) {
		return fmt.Errorf("claim iat lies in the future: %s", c.issuedAt.UTC().Format(time.RFC3339))
	}
	if c.notBefore.After(now.Add(clockSkew)) {
		return fmt.Errorf("claim nbf lies in the future: %s", c.notBefore.UTC().Format(time.RFC3339))
	}
	if age := now.Sub(c.issuedAt); age > issuer.MaxTokenAge {
		return fmt.Errorf("it was made %s ago, at most %s are allowed", age.Truncate(time.Second), issuer.MaxTokenAge)
	}
	if c.subject == "" || len(c.subject) > maxSubject || strings.ContainsFunc(c.subject, isNotPrintable) {
		return fmt.Errorf("claim sub must be printable ASCII of 1 to %d characters", maxSubject)
	}
	return nil
}

// checkEmail demands an address that the issuer has verified.
func (c claims) checkEmail() error {
	if err := checkAddress(c.email); err != nil {
		return err
	}
	if !c.isVerified {
		return errors.New("claim email_verified is not true")
	}
	return nil
}

// checkAddress accepts an e-mail address only in the form that every reader of the certificate reads alike: as net/mail would
// write it itself, without display name, comment or quoting.
func checkAddress(address string) error {
	if address == "" {
		return errors.New("claim email is missing")
	}
	if len(address) > maxAddress || strings.ContainsFunc(address, isNotPrintable) {
		return fmt.Errorf("claim email must be printable ASCII of at most %d characters", maxAddress)
	}
	if parsed, err := mail.ParseAddress(address); err != nil || parsed.Name != "" || parsed.Address != address || strings.Contains(address, `"`) {
		return errors.New("claim email is not a plain e-mail address")
	}
	return nil
}

func isNotPrintable(r rune) bool { return r < ' ' || r > '~' }
