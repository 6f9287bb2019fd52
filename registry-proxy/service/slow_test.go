package service

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/touchmark/touchmark/registry-proxy/config"
)

// The limits that are for slow requests cut no answer: a layer may take hours.
func TestPX27_LongAnswersAreNotCut(t *testing.T) {
	if testing.Short() {
		t.Skip("takes longer than the read timeout")
	}
	t.Parallel()
	p := newPlace(t)
	cert, _, certPEM, keyPEM := certificate(t, &x509.Certificate{Subject: pkix.Name{CommonName: "proxy"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}, nil, nil)
	p.write("proxy.pem", certPEM)
	p.write("proxy.key", keyPEM)
	drip := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for end := time.After(readTimeout + 2*time.Second); ; {
			io.WriteString(w, "x")
			http.NewResponseController(w).Flush()
			select {
			case <-end:
				io.WriteString(w, "end")
				return
			case <-r.Context().Done():
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	})
	s, err := listen("127.0.0.1:0", config.TLS{Cert: p.path("proxy.pem"), Key: p.path("proxy.key")}, drip, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve(t.Context(), nil)
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	for _, http2 := range []bool{false, true} {
		t.Run(map[bool]string{true: "HTTP 2", false: "HTTP 1.1"}[http2], func(t *testing.T) {
			t.Parallel()
			client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: http2}}
			if _, body := get(t, client, s.URL()); len(body) < 3 || body[len(body)-3:] != "end" {
				t.Errorf("it was cut off after %d bytes", len(body))
			}
		})
	}
}
