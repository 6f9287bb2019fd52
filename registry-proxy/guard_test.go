package registryproxy

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

// transportFunc answers requests that have passed the guard.
type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// redirected is a request that some others led to.
func redirected(t *testing.T, method string, urls ...string) *http.Request {
	t.Helper()
	var req *http.Request
	for _, u := range urls {
		next, err := http.NewRequestWithContext(t.Context(), method, u, nil)
		if err != nil {
			t.Fatal(err)
		}
		if req != nil {
			next.Response = &http.Response{Request: req}
		}
		next.Header.Set("Authorization", "Bearer "+secretToken)
		next.Header.Set("Referer", urls[0])
		req = next
	}
	return req
}

func TestPX16_Guard(t *testing.T) {
	const registry, blob = "https://registry.example", "https://registry.example/v2/app/blobs/x"
	var sent *http.Request
	answer := transportFunc(func(r *http.Request) (*http.Response, error) {
		sent = r
		return &http.Response{
			StatusCode: http.StatusUnauthorized, Request: r, Body: io.NopCloser(strings.NewReader(strings.Repeat("x", 1<<20))),
			Header: http.Header{"Www-Authenticate": {`Bearer realm="https://auth.example/token",scope="repository:app:push"`}},
		}, nil
	})
	g := &guard{scheme: "https", host: "registry.example", tokenHosts: map[string]bool{"auth.example": true}, upstream: answer, elsewhere: answer}
	for _, c := range []struct {
		name       string
		req        *http.Request
		refused    bool
		authorized bool   // whether Authorization was sent
		challenge  string // what is left of the challenge
		body       int    // at most
	}{
		{"ping", redirected(t, "GET", registry+"/v2/"), false, true, `Bearer realm="https://auth.example/token",scope="repository:app:push"`, maxHandshakeBody},
		{"manifest", redirected(t, "GET", registry+"/v2/app/manifests/v1"), false, true, `Bearer error="invalid_token"`, 1 << 20},
		{"token", redirected(t, "GET", "https://auth.example/token"), false, true, "", maxHandshakeBody},
		{"token by POST", redirected(t, "POST", "https://auth.example/token"), false, true, "", maxHandshakeBody},
		{"other scheme of the upstream", redirected(t, "GET", "http://registry.example/v2/"), false, true, `Bearer realm="https://auth.example/token",scope="repository:app:push"`, maxHandshakeBody},
		{"storage", redirected(t, "GET", blob, "https://storage.example/x"), false, false, "", 1 << 20},
		{"storage and back", redirected(t, "GET", blob, "https://storage.example/x", blob), false, true, `Bearer error="invalid_token"`, 1 << 20},
		{"downgrade", redirected(t, "GET", blob, "http://registry.example/x"), true, false, "", 0},
		{"storage by HTTP", redirected(t, "GET", blob, "http://storage.example/x"), true, false, "", 0},
		{"storage with credentials", redirected(t, "GET", blob, "https://u:p@storage.example/x"), true, false, "", 0},
		{"another registry", redirected(t, "GET", "https://other.example/v2/"), true, false, "", 0},
		{"another token service", redirected(t, "GET", "https://auth.evil.example/token"), true, false, "", 0},
		{"token service by HTTP", redirected(t, "GET", "http://auth.example/token"), true, false, "", 0},
		{"token service that redirects", redirected(t, "GET", "https://auth.example/token", "https://evil.example/"), true, false, "", 0},
		{"a POST that is redirected", redirected(t, "POST", "https://auth.example/token", "https://auth.example/other"), true, false, "", 0},
		{"five redirects", redirected(t, "GET", blob, blob, blob, blob, blob, blob), false, true, `Bearer error="invalid_token"`, 1 << 20},
		{"six redirects", redirected(t, "GET", blob, blob, blob, blob, blob, blob, blob), true, false, "", 0},
	} {
		sent = nil
		resp, err := g.RoundTrip(c.req)
		if c.refused {
			if !errors.Is(err, errRefusedAddress) || sent != nil {
				t.Errorf("%s: got %v, sent %v", c.name, err, sent)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := sent.Header.Get("Authorization") != ""; got != c.authorized || sent.URL.Scheme != "https" {
			t.Errorf("%s: sent to %s with %v", c.name, sent.URL, sent.Header)
		}
		if got := resp.Header.Get("Www-Authenticate"); got != c.challenge {
			t.Errorf("%s: the challenge is %q", c.name, got)
		}
		if body, _ := io.ReadAll(resp.Body); len(body) != c.body {
			t.Errorf("%s: %d bytes were read", c.name, len(body))
		}
	}
}

func TestPX16_DialedAddresses(t *testing.T) {
	for address, refused := range map[string]bool{
		"127.0.0.1:443": true, "127.9.9.9:443": true, "[::1]:443": true, "[::ffff:127.0.0.1]:443": true, "0.0.0.0:443": true, "[::]:443": true,
		"169.254.169.254:80": true, "[fe80::1%eth0]:443": true, "224.0.0.1:443": true, "[::ffff:169.254.169.254]:80": true, "nonsense": true,
		"192.0.2.1:443": false, "10.0.0.1:443": false, "[2001:db8::1]:443": false,
	} {
		if err := refuseLocal("tcp", address, nil); (err != nil) != refused {
			t.Errorf("%s: %v", address, err)
		}
	}
}
