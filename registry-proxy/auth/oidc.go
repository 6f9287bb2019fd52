package auth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/touchmark/touchmark/core/configfile"
	"github.com/touchmark/touchmark/core/loopback"
	"github.com/touchmark/touchmark/core/steady"
)

const (
	// maxToken bounds a token, in bytes; real ones have 1 to 4 KiB.
	maxToken = 16 << 10
	// maxName bounds the name that a claim gives, in bytes.
	maxName = 256
	// issuerTimeout bounds the questions to an issuer: discovery, and its keys.
	issuerTimeout = 10 * time.Second
	// keysFresh is how long the issuer's keys are believed to be all: a token whose key is unknown may be anybody's, and each has
	// them fetched again.
	keysFresh = 10 * time.Second
	// maxKeys bounds what an issuer answers, in bytes; keys have 10 KiB at most.
	maxKeys = 1 << 20
	// discoveryPause is how long an issuer that could not be asked is left alone.
	discoveryPause = 5 * time.Second
	// maxCA bounds a file of authorities, in bytes: all public ones have 250 KiB.
	maxCA = 2 << 20
)

// Issuer is an OpenID Connect issuer whose ID tokens are believed.
type Issuer struct {
	// Name tells the issuer from others in subjects: oidc:NAME:alice. It may be missing where the issuer is the only one, whose
	// subjects then are oidc:alice.
	Name string
	// URL of the issuer, as it stands in tokens; https, or http on this machine.
	URL string
	// Audience that a token must be for. Required: a token that was made for something else is somebody else's.
	Audience string
	// Claim that is the subject's name; empty is sub. An e-mail address counts only with email_verified.
	Claim string
	// Claims that a token must have besides, by name, with exactly this text.
	Claims map[string]string
	// CA is a file with authorities of the issuer's certificate; empty for the system's.
	CA string
}

// verifier verifies the tokens of one issuer.
type verifier struct {
	Issuer
	client *http.Client
	now    func() time.Time
	steady *steady.Clock

	mu       sync.Mutex
	verifier *oidc.IDTokenVerifier // nil until the issuer has answered
	failed   time.Time             // when it last did not
}

// issuerName is what stands between two colons of a subject.
var issuerName = regexp.MustCompile(`\A[A-Za-z0-9_][A-Za-z0-9._-]{0,63}\z`)

// checkIssuers says which field is wrong.
func checkIssuers(issuers []Issuer) (field string, err error) {
	seen := map[string]bool{}
	for n, i := range issuers {
		at := fmt.Sprintf("oidc[%d].", n)
		if field, err := i.check(); err != nil {
			return at + field, err
		}
		switch {
		case i.Name == "" && len(issuers) > 1:
			return at + "name", errors.New("is missing: with several issuers, subjects are oidc:NAME:VALUE, or one could give a token for another's user")
		case i.Name != "" && !issuerName.MatchString(i.Name):
			return at + "name", fmt.Errorf("%q is not a name of letters, digits, '-', '_' and '.'", i.Name)
		case seen[i.Name]:
			return at + "name", fmt.Errorf("%q stands twice", i.Name)
		}
		seen[i.Name] = true
	}
	return "", nil
}

// subject is what an issuer's user is called.
func (i Issuer) subject(name string) string {
	if i.Name == "" {
		return "oidc:" + name
	}
	return "oidc:" + i.Name + ":" + name
}

// check says which field is wrong.
func (i Issuer) check() (field string, err error) {
	u, err := url.Parse(i.URL)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && !(u.Scheme == "http" && loopback.Host(u.Hostname())) {
		return "issuer", errors.New("want an https URL")
	}
	if i.Audience == "" {
		return "audience", errors.New("is missing: whom tokens are made for")
	}
	return "", nil
}

func newVerifier(i Issuer, now func() time.Time, clock *steady.Clock) (*verifier, error) {
	if i.Claim == "" {
		i.Claim = "sub"
	}
	// An issuer is asked too rarely for connections to be kept, of which one could be lost by then.
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, TLSHandshakeTimeout: issuerTimeout, ResponseHeaderTimeout: issuerTimeout, MaxResponseHeaderBytes: 64 << 10}
	if i.CA != "" {
		pem, err := configfile.Read(i.CA, maxCA)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: holds no PEM certificate", i.CA)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	return &verifier{Issuer: i, client: &http.Client{Transport: &repeating{next: transport, now: now}, Timeout: issuerTimeout}, now: now, steady: clock}, nil
}

// verify returns the subject that a token proves. The error wraps ErrCredentials or ErrUnavailable.
func (v *verifier) verify(ctx context.Context, untrusted string) (string, error) {
	if len(untrusted) > maxToken || !looksLikeToken(untrusted) {
		return "", ErrCredentials
	}
	ready, err := v.discover(ctx)
	if err != nil {
		return "", err
	}
	token, err := ready.Verify(oidc.ClientContext(ctx, v.client), untrusted)
	if err != nil {
		if strings.Contains(err.Error(), "fetching keys") { // go-oidc has no type for it
			return "", fmt.Errorf("%w: the keys of issuer %s could not be fetched", ErrUnavailable, v.URL)
		}
		return "", ErrCredentials
	}
	if v.steady.Now().After(token.Expiry) {
		return "", fmt.Errorf("%w: the token has ended by the time since this process began, and not by the clock, which was set back: if the clock is right now, restart the process", ErrUnavailable)
	}
	var claims map[string]any
	if err := token.Claims(&claims); err != nil {
		return "", ErrCredentials
	}
	name, _ := claims[v.Claim].(string)
	if name == "" || len(name) > maxName || strings.ContainsFunc(name, unprintable) {
		return "", fmt.Errorf("%w: the token has no claim %s that is a name", ErrCredentials, v.Claim)
	}
	if verified, _ := claims["email_verified"].(bool); v.Claim == "email" && !verified {
		return "", fmt.Errorf("%w: the issuer has not verified the e-mail address", ErrCredentials)
	}
	for claim, want := range v.Claims {
		if got, _ := claims[claim].(string); got != want {
			return "", fmt.Errorf("%w: claim %s is not what it must be", ErrCredentials, claim)
		}
	}
	return v.subject(name), nil
}

// whoMay are the issuers that a token can be from: one that is down keeps nobody waiting who comes with another's. Nothing vouches for
// what the token says here; where no issuer has that URL, each may know it by another name, as Google's does.
func whoMay(issuers []*verifier, untrusted string) []*verifier {
	parts := strings.Split(untrusted, ".")
	if len(untrusted) > maxToken || len(parts) != 3 {
		return nil
	}
	var claims struct {
		Issuer string `json:"iss"`
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(payload, &claims) != nil {
		return nil
	}
	var named []*verifier
	for _, v := range issuers {
		if v.URL == claims.Issuer {
			named = append(named, v)
		}
	}
	if named == nil {
		return issuers
	}
	return named
}

// discover asks the issuer once where its keys are.
func (v *verifier) discover(ctx context.Context) (*oidc.IDTokenVerifier, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.verifier != nil {
		return v.verifier, nil
	}
	unavailable := fmt.Errorf("%w: issuer %s could not be asked", ErrUnavailable, v.URL)
	if v.now().Sub(v.failed) < discoveryPause {
		return nil, unavailable
	}
	// Not the request's context: go-oidc keeps it to fetch keys with later.
	provider, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), v.client), v.URL)
	if err != nil {
		v.failed = v.now()
		return nil, errors.Join(unavailable, err)
	}
	v.verifier = provider.Verifier(&oidc.Config{ClientID: v.Audience, Now: v.now})
	return v.verifier, nil
}

// looksLikeToken reports whether a text has the three parts of a signed JWT.
func looksLikeToken(s string) bool { return strings.HasPrefix(s, "ey") && strings.Count(s, ".") == 2 }

func unprintable(r rune) bool { return r < ' ' || r == 0x7f }
