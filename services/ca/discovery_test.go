package ca

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// canary counts the requests that reach it.
type canary struct {
	*httptest.Server
	hits atomic.Int64
}

func newCanary(t *testing.T) *canary {
	c := &canary{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c.hits.Add(1)
		_ = json.NewEncoder(w).Encode(issuerKeys())
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *canary) count() int64 { return c.hits.Load() }

// provider is an issuer on a server of its own, whose answers tests replace.
type provider struct {
	*httptest.Server
	discovery, keys http.HandlerFunc
	looks           atomic.Int64 // how often the keys were fetched
}

func newProvider(t *testing.T) *provider {
	p := &provider{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/.well-known/openid-configuration":
			p.discovery(w, r)
		case "/keys":
			p.looks.Add(1)
			p.keys(w, r)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(p.Close)
	p.discovery = p.document("/keys")
	p.keys = serveKeys(issuerKeys())
	return p
}

// document serves a discovery document that names the keys at a path or URL.
func (p *provider) document(keys string) http.HandlerFunc {
	if strings.HasPrefix(keys, "/") {
		keys = p.URL + keys
	}
	return func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"issuer": p.URL, "jwks_uri": keys})
	}
}

func serveKeys(set *jose.JSONWebKeySet) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(set) }
}

func (p *provider) world(t *testing.T) *world {
	return newWorld(t, func(c *Config) { c.Issuers = append(c.Issuers, Issuer{URL: p.URL}) })
}

func (p *provider) request(w *world) []byte { return w.request(w.token(map[string]any{"iss": p.URL})) }

func TestDiscovery(t *testing.T) {
	p := newProvider(t)
	w := p.world(t)
	for range 3 {
		w.issues("discovered", p.request(w))
	}
	if p.looks.Load() != 1 {
		t.Errorf("keys were fetched %d times, want once", p.looks.Load())
	}
}

func TestCA02_RefreshIsBounded(t *testing.T) {
	p := newProvider(t)
	w := p.world(t)
	w.issues("first key", p.request(w))

	// A hundred unknown identifiers bring no further look within the minute.
	claims := w.claims()
	claims["iss"] = p.URL
	rotated := func(kid string) []byte {
		return w.request(signJWT(must(json.Marshal(claims)), map[string]any{"alg": "RS256", "kid": kid}))
	}
	for i := range 100 {
		w.refuses("unknown kid", rotated(fmt.Sprint("unknown-", i)), http.StatusBadRequest)
	}
	if p.looks.Load() != 1 {
		t.Fatalf("keys were fetched %d times, want once", p.looks.Load())
	}

	// The issuer rotates: after the minute the new key is found, with one look.
	p.keys = serveKeys(&jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: issuerKey().Public(), KeyID: "rotated"}}})
	w.clock.step(refreshAfterSuccess)
	w.issues("rotated key", rotated("rotated"))
	w.refuses("withdrawn key", p.request(w), http.StatusBadRequest)
	if p.looks.Load() != 2 {
		t.Errorf("keys were fetched %d times, want twice", p.looks.Load())
	}
}

func TestCA13_DiscoveryGoesNowhereElse(t *testing.T) {
	other := newCanary(t)
	redirect := func(to string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) }
	}
	text := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status); _, _ = w.Write([]byte(body)) }
	}
	for name, change := range map[string]func(*provider){
		"discovery redirects":      func(p *provider) { p.discovery = redirect(other.URL) },
		"jwks_uri on another host": func(p *provider) { p.discovery = p.document(other.URL + "/keys") },
		"jwks_uri with a user": func(p *provider) {
			p.discovery = p.document(strings.Replace(p.URL, "http://", "http://u@", 1) + "/keys")
		},
		"jwks_uri is a file":         func(p *provider) { p.discovery = p.document("file:///etc/passwd") },
		"jwks_uri is relative":       func(p *provider) { p.discovery = p.document("keys") },
		"jwks_uri is empty":          func(p *provider) { p.discovery = p.document("") },
		"jwks_uri at cloud metadata": func(p *provider) { p.discovery = p.document("http://169.254.169.254/latest") },
		"keys redirect":              func(p *provider) { p.keys = redirect(other.URL) },
		"discovery of another issuer": func(p *provider) {
			p.discovery = text(200, `{"issuer":"https://evil.example","jwks_uri":"`+p.URL+`/keys"}`)
		},
		"discovery is HTML":     func(p *provider) { p.discovery = text(200, "<html>") },
		"discovery is huge":     func(p *provider) { p.discovery = text(200, `{"issuer":"`+strings.Repeat("x", 1<<20)) },
		"discovery is an error": func(p *provider) { p.discovery = text(500, "") },
		"keys are HTML":         func(p *provider) { p.keys = text(200, "<html>") },
		"keys are huge":         func(p *provider) { p.keys = text(200, `{"keys":[`+strings.Repeat(" ", 1<<20)+`]}`) },
		"keys are an error":     func(p *provider) { p.keys = text(404, "") },
		"too many keys":         func(p *provider) { p.keys = text(200, `{"keys":[`+strings.Repeat("{},", 40)+`{}]}`) },
	} {
		p := newProvider(t)
		change(p)
		w := p.world(t)
		w.refuses(name, p.request(w), http.StatusServiceUnavailable)
		w.issues(name+": other issuers", w.request(w.token(nil)))
	}
	if other.count() != 0 {
		t.Errorf("%d requests went to another host", other.count())
	}

	// What is refused above is allowed when it is configured.
	p := newProvider(t)
	p.discovery = p.document(other.URL + "/keys")
	w := newWorld(t, func(c *Config) { c.Issuers = []Issuer{{URL: p.URL, AllowOtherHost: true}} })
	w.issues("configured other host", p.request(w))
}

// Keys that cannot verify a token do not spoil the set, and are never used.
func TestCA13_KeysOfOtherKinds(t *testing.T) {
	p := newProvider(t)
	set := string(must(json.Marshal(issuerKeys())))
	p.keys = func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"keys":[{"kty":"oct","kid":"issuer-1","k":"c2VjcmV0"},{"kty":"OKP","crv":"Ed448","x":"AA"},{"kty":"new"},` + set[len(`{"keys":[`):]))
	}
	w := p.world(t)
	w.issues("among others", p.request(w))
}

func TestCA13_SlowIssuer(t *testing.T) {
	p := newProvider(t)
	released := make(chan struct{})
	t.Cleanup(func() { close(released) })
	p.discovery = func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-released:
		}
	}
	w := p.world(t)
	start := time.Now()
	w.refuses("slow issuer", p.request(w), http.StatusServiceUnavailable)
	if spent := time.Since(start); spent > discoveryTimeout+2*time.Second {
		t.Errorf("a slow issuer held a request for %v", spent)
	}
	w.issues("another issuer", w.request(w.token(nil)))
}

func TestCA14_IssuerDown(t *testing.T) {
	p := newProvider(t)
	w := p.world(t)
	w.issues("up", p.request(w))
	p.Close()
	w.clock.step(keysTTL - time.Second)
	w.issues("down, within the time keys are kept", p.request(w))
	w.clock.step(2 * time.Second)
	w.refuses("down, after it", p.request(w), http.StatusServiceUnavailable)
	w.issues("another issuer", w.request(w.token(nil)))
}

// A caller that goes away does not end the look that others wait for.
func TestCallerGoesAway(t *testing.T) {
	p := newProvider(t)
	k := &discoveredKeys{issuer: p.URL, client: guardClient(nil, false), clock: time.Now}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := k.find(ctx, header{algorithm: "RS256", keyID: testKeyID}); err == nil {
		// The look may have been faster than noticing the end of the context; both are right.
		t.Log("found before the end was noticed")
	}
	if found, err := k.find(context.Background(), header{algorithm: "RS256", keyID: testKeyID}); err != nil || len(found) != 1 {
		t.Errorf("found %d keys, %v", len(found), err)
	}
}
