package service

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// PX-34: a web page whose name resolves to this machine reads neither metrics nor health.
func TestPX34_DNSRebindingOfMetrics(t *testing.T) {
	p := newPlace(t)
	s, _ := p.run()
	for _, path := range []string{"/metrics", "/healthz", "/readyz"} {
		for host, want := range map[string]int{"": 200, "localhost:9465": 200, "127.0.0.1": 200, "evil.example": 421, "evil.example:9465": 421} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.MetricsURL()+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = host
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || resp.StatusCode != want || want == 421 && !strings.Contains(string(body), "ask for localhost") {
				t.Errorf("%s of %q: %d %.100q, %v", path, host, resp.StatusCode, body, err)
			}
		}
	}
}
