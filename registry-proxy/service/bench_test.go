package service

import (
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// BenchmarkIdleConnections has a client pull while others hold connections on which they send nothing, or half a request
// (PX-27): its p99 is to stay what it is without them. Both ends of a connection are this process's, so that ten thousand
// need twice as many descriptors; with fewer, as many as there are.
func BenchmarkIdleConnections(b *testing.B) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		b.Fatal(err)
	}
	many := min(10_000, int(limit.Cur)/2-500)
	for _, idle := range []struct {
		name string
		n    int
	}{{"none", 0}, {"many", many}} {
		b.Run(idle.name, func(b *testing.B) {
			p := newPlace(b)
			s, _ := p.run()
			for i := range idle.n {
				conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL(), "http://"))
				if err != nil {
					b.Fatal(err)
				}
				defer conn.Close()
				if i%2 == 0 {
					io.WriteString(conn, "GET /v2/ HTTP/1.1\r\nHost: p\r\nX: ")
				}
			}
			var took []time.Duration
			for b.Loop() {
				start := time.Now()
				if status, body := get(b, http.DefaultClient, s.URL()+"/v2/app/manifests/v1"); status != 200 {
					b.Fatal(status, body)
				}
				took = append(took, time.Since(start))
			}
			slices.Sort(took)
			b.ReportMetric(float64(idle.n), "connections")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
		})
	}
}
