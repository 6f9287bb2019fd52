package service

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
)

// A connection may be open for days, and a client's certificate is verified when it
// begins. So that a certificate that has ended, or an authority that was replaced,
// lets nobody in through a connection from before, both are looked at again with each
// request.

// authoritiesKey is where a connection's context has the authorities that were in
// force when it was accepted.
type authoritiesKey struct{}

func (s *server) accepted(ctx context.Context, _ net.Conn) context.Context {
	return context.WithValue(ctx, authoritiesKey{}, s.clients.Load())
}

// standing answers those whose certificate is no longer good as those without one, and
// ends their connections.
func (s *server) standing(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 && !s.stands(r) {
			w.Header().Set("Connection", "close") // HTTP/2 says GOAWAY for it
			state := *r.TLS
			state.VerifiedChains = nil
			r = r.WithContext(r.Context()) // a copy
			r.TLS = &state
		}
		next.ServeHTTP(w, r)
	})
}

// stands reports whether a client's certificate would be taken if it came now.
func (s *server) stands(r *http.Request) bool {
	now := s.clock.Now()
	for _, c := range r.TLS.VerifiedChains[0] {
		if now.After(c.NotAfter) {
			return false
		}
	}
	pool := s.clients.Load()
	if pool == nil {
		return false
	}
	return r.Context().Value(authoritiesKey{}) == pool || verified(r.TLS, pool)
}

// verified is the handshake's own check.
func verified(state *tls.ConnectionState, roots *x509.CertPool) bool {
	between := x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return err == nil
}
