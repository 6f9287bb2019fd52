package registryproxy

import (
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"time"
)

// BenchmarkColdDecision is the time from nothing to a served manifest, without (own-ms/op) that in which the registry is asked. The aim is less than 5 ms. What a proxy that runs does beside
// others is measured in integration/proxy.
func BenchmarkColdDecision(b *testing.B) {
	l := newRealLab(b, true)
	l.sign("app/web", l.pushReal("app/web:v1", 1), "", "alice@acme.example")
	var waited time.Duration
	for b.Loop() {
		b.StopTimer()
		spy := &spying{next: http.DefaultTransport}
		p, err := New(Config{
			Upstream: l.upstream.URL, LogicalName: "registry.acme.example", Transport: spy, Logger: slog.New(slog.DiscardHandler),
			Admitter: realGate(b, l.sigstore, l.clock), Now: l.clock.Now,
		})
		if err != nil {
			b.Fatal(err)
		}
		rec := &recorder{header: http.Header{}}
		req, err := http.NewRequest(http.MethodGet, "http://proxy/v2/app/web/manifests/v1", nil)
		if err != nil {
			b.Fatal(err)
		}
		req.RemoteAddr = "192.0.2.1:1"
		handler := p.Handler()
		b.StartTimer()
		handler.ServeHTTP(rec, req)
		if rec.status != http.StatusOK {
			b.Fatal(rec.status, rec.body.String())
		}
		waited += spy.waited()
	}
	b.ReportMetric(float64((b.Elapsed()-waited).Microseconds())/1000/float64(b.N), "own-ms/op")
}

// spying adds up the time in which any request is under way.
type spying struct {
	next http.RoundTripper

	mu    sync.Mutex
	open  int
	since time.Time
	total time.Duration
}

// RoundTrip implements http.RoundTripper.
func (s *spying) RoundTrip(req *http.Request) (*http.Response, error) {
	s.mu.Lock()
	if s.open++; s.open == 1 {
		s.since = time.Now()
	}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.open--; s.open == 0 {
			s.total += time.Since(s.since)
		}
	}()
	return s.next.RoundTrip(req)
}

func (s *spying) waited() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total
}
