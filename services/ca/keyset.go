package ca

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"golang.org/x/sync/singleflight"
)

const (
	// discoveryTimeout bounds one look at an issuer, both documents together. A signer waits for it.
	discoveryTimeout = 5 * time.Second

	// maxDocument bounds a discovery document and a key set; the largest known have about 20 KiB.
	maxDocument = 256 << 10

	// keysTTL is how long an issuer's keys are used without asking again: a key that an issuer withdraws stops working here
	// within the hour.
	keysTTL = time.Hour

	// refreshAfterSuccess and refreshAfterFailure are the least time between two looks at an issuer, whatever key identifiers
	// tokens name: nobody makes this authority a tool to flood an issuer with.
	refreshAfterSuccess = time.Minute
	refreshAfterFailure = 5 * time.Second

	// maxKeys bounds the keys of one issuer; each may cost a signature check. Providers publish two or three.
	maxKeys = 32
)

// keySource finds the keys of an issuer that a token's header may mean.
type keySource interface {
	// find returns one key or more; having none is a refusal of the token, not being able to tell is an outage.
	find(ctx context.Context, h header) ([]crypto.PublicKey, error)
}

// fixedKeys are keys that were given by configuration.
type fixedKeys jose.JSONWebKeySet

func (k fixedKeys) find(_ context.Context, h header) ([]crypto.PublicKey, error) {
	if found := matching(k.Keys, h); len(found) > 0 {
		return found, nil
	}
	return nil, invalid(msgToken, fmt.Errorf("key %.64q is not one of the issuer's", h.keyID))
}

// discoveredKeys are keys that an issuer publishes. They are looked for when they are first needed, so that an issuer that is down
// keeps neither the authority from starting nor other issuers from being used.
type discoveredKeys struct {
	issuer    string
	crossHost bool
	client    *http.Client
	clock     func() time.Time
	group     singleflight.Group

	mu      sync.Mutex
	keys    []jose.JSONWebKey
	fetched time.Time // when keys were fetched; zero before
	next    time.Time // no look at the issuer before this
	lastErr error     // why the last look failed; nil if it did not
}

func (k *discoveredKeys) find(ctx context.Context, h header) ([]crypto.PublicKey, error) {
	found, fresh := k.known(h)
	if len(found) > 0 {
		return found, nil
	}
	// One look serves all requests that wait for it, and outlives the one that began it.
	result := k.group.DoChan("", func() (any, error) { return nil, k.refresh(context.WithoutCancel(ctx)) })
	select {
	case <-ctx.Done():
		return nil, unavailable(msgIssuer, ctx.Err())
	case r := <-result:
		if r.Err != nil && !fresh {
			return nil, unavailable(msgIssuer, r.Err)
		}
	}
	if found, _ = k.known(h); len(found) > 0 {
		return found, nil
	}
	return nil, invalid(msgToken, fmt.Errorf("key %.64q is not one of the issuer's", h.keyID))
}

// known returns the fitting keys that are at hand, and whether those at hand are fresh enough to be used at all.
func (k *discoveredKeys) known(h header) (found []crypto.PublicKey, fresh bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fetched.IsZero() || k.clock().Sub(k.fetched) > keysTTL {
		return nil, false
	}
	return matching(k.keys, h), true
}

// refresh fetches the keys unless it is too early to ask again.
func (k *discoveredKeys) refresh(ctx context.Context) error {
	k.mu.Lock()
	now := k.clock()
	if now.Before(k.next) {
		defer k.mu.Unlock()
		return k.lastErr
	}
	k.next = now.Add(refreshAfterFailure)
	k.mu.Unlock()

	ctx, cancel := context.WithTimeout(ctx, discoveryTimeout)
	defer cancel()
	keys, err := k.fetch(ctx)

	k.mu.Lock()
	defer k.mu.Unlock()
	k.lastErr = err
	if err != nil {
		return err
	}
	k.keys, k.fetched, k.next = keys, now, now.Add(refreshAfterSuccess)
	return nil
}

// fetch reads the discovery document and the key set that it names.
func (k *discoveredKeys) fetch(ctx context.Context) ([]jose.JSONWebKey, error) {
	provider, err := oidc.NewProvider(oidc.ClientContext(ctx, k.client), k.issuer)
	if err != nil {
		return nil, fmt.Errorf("reading discovery document of %s: %w", k.issuer, err)
	}
	var document struct {
		KeysURL string `json:"jwks_uri"`
	}
	if err := provider.Claims(&document); err != nil {
		return nil, fmt.Errorf("reading discovery document of %s: %w", k.issuer, err)
	}
	if err := k.checkKeysURL(document.KeysURL); err != nil {
		return nil, fmt.Errorf("reading discovery document of %s: jwks_uri %q: %w", k.issuer, document.KeysURL, err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, document.KeysURL, nil)
	if err != nil {
		return nil, fmt.Errorf("reading keys of %s: %w", k.issuer, err)
	}
	response, err := k.client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("reading keys of %s: %w", k.issuer, err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("reading keys of %s: %s answered %s", k.issuer, document.KeysURL, response.Status)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("reading keys of %s: %w", k.issuer, err)
	}
	keys, err := parseKeys(body)
	if err != nil {
		return nil, fmt.Errorf("reading keys of %s: %s %w", k.issuer, document.KeysURL, err)
	}
	return keys, nil
}

// checkKeysURL holds the place of the keys against the issuer's: whoever can alter a discovery document must not be able to send
// the authority anywhere, or to have keys of another host believed.
func (k *discoveredKeys) checkKeysURL(s string) error {
	at, err := url.Parse(s)
	if err != nil || at.Host == "" || at.User != nil || at.Fragment != "" {
		return errors.New("is not the URL of a document")
	}
	home, err := url.Parse(k.issuer)
	if err != nil {
		return errors.New("the issuer is not a URL")
	}
	if at.Scheme != home.Scheme && at.Scheme != "https" {
		return errors.New("is less well protected than the issuer")
	}
	if at.Host != home.Host && !k.crossHost {
		return fmt.Errorf("is not on the issuer's host %s", home.Host)
	}
	return nil
}

// parseKeys reads a key set (RFC 7517 section 5) and keeps the keys that can verify a token's signature. Kinds of key that are not
// known are passed over, as the RFC asks; so are symmetric and private keys, which have no business there.
func parseKeys(untrusted []byte) ([]jose.JSONWebKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(untrusted, &set); err != nil {
		return nil, errors.New("is not a JSON Web Key Set")
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("holds %d keys, at most %d are allowed", len(set.Keys), maxKeys)
	}
	var keys []jose.JSONWebKey
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		if err := json.Unmarshal(raw, &key); err != nil || !key.IsPublic() || !key.Valid() {
			continue
		}
		if key.Use == "" || key.Use == "sig" {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// matching selects the keys that a header may mean: of that identifier exactly, if it names one, and of a kind that fits the
// algorithm exactly. No key is tried with another algorithm than its own.
func matching(keys []jose.JSONWebKey, h header) []crypto.PublicKey {
	var found []crypto.PublicKey
	for _, key := range keys {
		if h.keyID != "" && key.KeyID != h.keyID {
			continue
		}
		if key.Algorithm != "" && key.Algorithm != h.algorithm {
			continue
		}
		if fits(key.Key, h.algorithm) {
			found = append(found, key.Key)
		}
	}
	return found
}

func fits(key crypto.PublicKey, algorithm string) bool {
	switch key := key.(type) {
	case *rsa.PublicKey:
		return key.N.BitLen() >= 2048 && (algorithm[:2] == "RS" || algorithm[:2] == "PS")
	case *ecdsa.PublicKey:
		bits := map[string]int{oidc.ES256: 256, oidc.ES384: 384, oidc.ES512: 521}[algorithm]
		return key.Curve.Params().BitSize == bits
	case ed25519.PublicKey:
		return algorithm == oidc.EdDSA
	}
	return false
}

// guardClient returns an HTTP client that goes to one issuer's host only and reads no more than it must.
func guardClient(base *http.Client, crossHost bool) *http.Client {
	guarded := http.Client{Timeout: discoveryTimeout}
	transport := http.DefaultTransport
	if base != nil && base.Transport != nil {
		transport = base.Transport
	}
	guarded.Transport = boundedTransport{transport}
	guarded.CheckRedirect = func(request *http.Request, via []*http.Request) error {
		first := via[0].URL
		if len(via) > 3 || request.URL.Scheme != first.Scheme || (request.URL.Host != first.Host && !crossHost) {
			return fmt.Errorf("refusing to follow a redirect from %s to %s", first.Redacted(), request.URL.Redacted())
		}
		return nil
	}
	return &guarded
}

// boundedTransport makes a response body that is longer than maxDocument an error, also for go-oidc, which reads without a bound.
type boundedTransport struct{ base http.RoundTripper }

func (t boundedTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := t.base.RoundTrip(request)
	if err == nil {
		response.Body = http.MaxBytesReader(nil, response.Body, maxDocument)
	}
	return response, err
}
