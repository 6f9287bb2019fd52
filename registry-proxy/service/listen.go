package service

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/touchmark/touchmark/core/configfile"
	"github.com/touchmark/touchmark/core/configfile/tlsfiles"
	"github.com/touchmark/touchmark/core/serving"
	"github.com/touchmark/touchmark/core/steady"
	"github.com/touchmark/touchmark/registry-proxy/config"
)

const (
	// readTimeout is for a whole request: it has a header and nothing else, and whoever
	// sends that byte by byte is cut off.
	readTimeout = 10 * time.Second
	// writeTimeout is for an answer that sets no limit of its own, from the end of the
	// request, and for an HTTP/2 connection on which the client takes nothing at all: its
	// streams have limits, which end no connection.
	writeTimeout = time.Minute
	// idleTimeout closes connections that nobody uses; clients keep theirs for 90 seconds.
	idleTimeout = 2 * time.Minute
	// maxHeader is net/http's own limit. It is above the front's, whose answer has the
	// registry's form.
	maxHeader = 64 << 10
	// DrainTimeout is how long answers under way may take after the order to stop. Layers
	// of some gigabytes get through; clients ask again for the rest of others.
	DrainTimeout = 2 * time.Minute
)

// ErrListen is wrapped by errors about an address that cannot be listened on.
var ErrListen = errors.New("cannot listen")

// server is a listener and what answers there.
type server struct {
	listener net.Listener
	http     *http.Server
	scheme   string
	clients  atomic.Pointer[x509.CertPool] // authorities of clients' certificates; nil if they have none
	clock    *steady.Clock                 // by which these certificates end
}

// listen opens a listener. An error about TLS files names them.
func listen(address string, files config.TLS, handler http.Handler, logger *slog.Logger) (*server, error) {
	s := &server{scheme: "http", clock: steady.New(time.Now)}
	s.http = &http.Server{
		Handler:           s.standing(handler),
		ConnContext:       s.accepted,
		ReadHeaderTimeout: readTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		HTTP2:             &http.HTTP2Config{WriteByteTimeout: writeTimeout},
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug), // what strangers send
		// OPTIONS * is answered like everything else.
		DisableGeneralOptionsHandler: true,
	}
	if files.Cert != "" {
		certificate, err := tlsfiles.Open(files.Cert, files.Key, func(renewed *x509.Certificate, err error) {
			if err != nil {
				logger.Error("the changed TLS certificate cannot be used; the one before stays", "error", err)
				return
			}
			logger.Info("the TLS certificate was read again", "until", renewed.NotAfter)
		})
		if err != nil {
			return nil, fmt.Errorf("tls: %w", err)
		}
		if err := s.renewClients(files); err != nil {
			return nil, err
		}
		s.scheme, s.http.TLSConfig = "https", s.tls(certificate)
	}
	var err error
	if s.listener, err = net.Listen("tcp", address); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrListen, err)
	}
	return s, nil
}

// tls is the configuration of all connections. The authorities of clients are those of
// the moment; whether a client needs a certificate is for the access rules to say.
func (s *server) tls(certificate *tlsfiles.Files) *tls.Config {
	base := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: certificate.Get, NextProtos: []string{"h2", "http/1.1"}}
	base.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		pool := s.clients.Load()
		if pool == nil {
			return nil, nil
		}
		own := base.Clone()
		own.ClientCAs, own.ClientAuth = pool, tls.VerifyClientCertIfGiven
		return own, nil
	}
	return base
}

// renewClients reads the authorities of clients' certificates again.
func (s *server) renewClients(files config.TLS) error {
	if files.ClientCA == "" {
		s.clients.Store(nil)
		return nil
	}
	pem, err := configfile.Read(files.ClientCA, maxCA)
	if err != nil {
		return fmt.Errorf("tls.clientCA: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return fmt.Errorf("tls.clientCA: %s: holds no PEM certificate", files.ClientCA)
	}
	if before := s.clients.Load(); before == nil || !before.Equal(pool) {
		s.clients.Store(pool)
	}
	return nil
}

// URL returns scheme, host and port as they are listened on.
func (s *server) URL() string { return s.scheme + "://" + s.listener.Addr().String() }

// Close stops listening. It is for when Serve was never called.
func (s *server) Close() error { return s.listener.Close() }

// Serve answers requests until ctx ends; then it calls draining, if it is not nil, and
// waits for those under way. It returns nil if all were answered.
func (s *server) Serve(ctx context.Context, draining func()) error {
	return serving.Run(ctx, s.http, s.listener, DrainTimeout, draining)
}
