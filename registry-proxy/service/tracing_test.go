package service

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// PX-17: with tracing, the upstream is sent the proxy's own span in the client's trace; without it nothing. The collector gets a
// repository, a digest and an outcome, and no secret.
func TestPX17_Tracing(t *testing.T) {
	const trace = "0af7651916cd43dd8448eb211c80319c"
	const parent = "00-" + trace + "-b7ad6b7169203331-01"
	for _, traced := range []bool{true, false} {
		p := newPlace(t)
		var mu sync.Mutex
		var seen []http.Header
		target, err := url.Parse("http://" + p.host)
		if err != nil {
			t.Fatal(err)
		}
		registry := httputil.NewSingleHostReverseProxy(target)
		upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			seen = append(seen, r.Header.Clone())
			mu.Unlock()
			registry.ServeHTTP(w, r)
		}))
		t.Cleanup(upstream.Close)
		var sent strings.Builder
		collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			if _, err := io.Copy(&sent, r.Body); err != nil {
				t.Error(err)
			}
		}))
		t.Cleanup(collector.Close)
		p.host = strings.TrimPrefix(upstream.URL, "http://")
		text := p.least()
		if traced {
			text += "tracing: {endpoint: \"" + collector.URL + "\"}\n"
		}
		p.write("proxy.yaml", text)
		s, stop := p.run()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL()+"/v2/app/manifests/v1", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header = http.Header{"Traceparent": {parent}, "Tracestate": {"vendor=canary"}, "Baggage": {"user=canary"}, "X-Canary": {"canary"}}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("HTTP %d", resp.StatusCode)
		}
		if err := stop(); err != nil { // which sends what is left
			t.Error(err)
		}
		mu.Lock()
		for _, h := range seen {
			own := h.Get("Traceparent")
			if strings.HasPrefix(own, "00-"+trace+"-") != traced || (own != "") != traced || own == parent {
				t.Errorf("traced %v: the upstream was sent %q", traced, own)
			}
			for key, values := range h {
				if strings.Contains(strings.Join(values, " "), "canary") {
					t.Errorf("the upstream was sent the client's %s", key)
				}
			}
		}
		if len(seen) == 0 || strings.Contains(sent.String(), "canary") {
			t.Errorf("%d requests at the upstream; the collector was sent %q", len(seen), sent.String())
		}
		for _, want := range []string{"registry.acme.example/app", "sha256:", "admitted", "touchmark-proxy", "manifests"} {
			if strings.Contains(sent.String(), want) != traced {
				t.Errorf("traced %v: %q is in what the collector was sent: %v", traced, want, !traced)
			}
		}
		mu.Unlock()
	}
}
