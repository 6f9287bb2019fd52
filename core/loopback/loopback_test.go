package loopback_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/touchmark/touchmark/core/loopback"
)

func TestHost(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "127.0.0.1": true, "127.8.9.10": true, "::1": true, "::ffff:127.0.0.1": true,
		"": false, "localhost.": false, "localhost.example": false, "127.0.0.1.example": false, "127.1": false,
		"10.0.0.1": false, "0.0.0.0": false, "::": false, "[::1]": false, "127.0.0.1:80": false,
	} {
		if got := loopback.Host(host); got != want {
			t.Errorf("Host(%q) = %v, want %v", host, got, want)
		}
	}
}

// A page's own name gets nothing on loopback; elsewhere, names are what the network makes of them.
func TestGuard(t *testing.T) {
	next := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "metrics") })
	for address, guarded := range map[string]bool{
		"127.0.0.1:9465": true, "[::1]:9465": true, "localhost:0": true, "LOCALHOST:0": true, "0.0.0.0:9465": false, ":9465": false, "10.0.0.1:9465": false, "metrics.example:9465": false,
	} {
		handler := loopback.Guard(address, next)
		for host, fixed := range map[string]bool{
			"": true, "127.0.0.1": true, "127.0.0.1:9465": true, "[::1]:9465": true, "[::1]": true, "10.0.0.1:9465": true, "localhost": true, "Localhost.:9465": true, "hub.localhost": true,
			"evil.example": false, "evil.example:9465": false, "localhost.evil.example": false, "127.0.0.1.evil.example": false, "notlocalhost": false, "0x7f000001.": false, "[evil.example]": false,
		} {
			want := http.StatusOK
			if guarded && !fixed {
				want = http.StatusMisdirectedRequest
			}
			r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
			r.Host = host
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			if w.Code != want {
				t.Errorf("%q at %s: %d, want %d", host, address, w.Code, want)
			}
		}
	}
}
