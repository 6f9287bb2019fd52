package stack

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

	"github.com/touchmark/touchmark/core/configfile/tlsfiles"
	"github.com/touchmark/touchmark/core/serving"
)

const (
	// readHeaderTimeout ends connections that send their headers byte by byte.
	readHeaderTimeout = 10 * time.Second

	// readTimeout is for a whole request: the largest, an entry with its statement, has 4 MiB.
	readTimeout = time.Minute

	// writeTimeout is for a whole answer; services end their own work after 25 seconds.
	writeTimeout = time.Minute

	idleTimeout = 2 * time.Minute

	// drainTimeout is how long requests under way may take after the order to stop; clients give up after 30 seconds.
	drainTimeout = 30 * time.Second

	// maxHeader bounds a request's headers, in which an identity token of 16 KiB may stand.
	maxHeader = 32 << 10
)

// ServerConfig says where to listen, and how.
type ServerConfig struct {
	// Addr is HOST:PORT; port 0 takes a free one.
	Addr string

	// CertFile and KeyFile are PEM files for TLS; both or neither. They are read again when they change; what cannot be used then is
	// logged, and the certificate before it stays in use.
	CertFile, KeyFile string

	// Logger receives what goes wrong with connections; nil discards.
	Logger *slog.Logger
}

// A Server listens before there is a stack: until [Server.Use] it answers everything with 503, so that whoever waits for the stack
// can ask, and the port is known before the stack is.
type Server struct {
	listener net.Listener
	server   *http.Server
	scheme   string
	handler  atomic.Pointer[http.Handler]
}

// ErrTLSFiles is wrapped by the errors of [Listen] that the TLS files are to blame for.
var ErrTLSFiles = errors.New("the TLS files cannot be used")

// Listen opens the listener and checks the TLS files. The error names the address or the file.
func Listen(config ServerConfig) (*Server, error) {
	logger := config.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{scheme: "http"}
	var tlsConfig *tls.Config
	if config.CertFile != "" || config.KeyFile != "" {
		files, err := tlsfiles.Open(config.CertFile, config.KeyFile, func(renewed *x509.Certificate, err error) {
			if err != nil {
				logger.Error("TLS files changed but cannot be used, the certificate before stays", "err", err)
				return
			}
			logger.Info("TLS certificate reloaded", "file", config.CertFile, "not_after", renewed.NotAfter)
		})
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrTLSFiles, err)
		}
		s.scheme = "https"
		tlsConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: files.Get}
	}
	listener, err := net.Listen("tcp", config.Addr)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", config.Addr, err)
	}
	s.listener = listener
	s.Use(starting())
	s.server = &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*s.handler.Load()).ServeHTTP(w, r) }),
		TLSConfig:         tlsConfig,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
	return s, nil
}

// URL returns scheme, host and port as they are listened on.
func (s *Server) URL() string { return s.scheme + "://" + s.listener.Addr().String() }

// Use answers requests with a handler from now on.
func (s *Server) Use(handler http.Handler) { s.handler.Store(&handler) }

// Serve answers requests until ctx ends, and then waits for those under way, up to 30 seconds. It returns nil if all were answered.
func (s *Server) Serve(ctx context.Context) error {
	return serving.Run(ctx, s.server, s.listener, drainTimeout, nil)
}

// Close stops listening at once. It is for when Serve was never called.
func (s *Server) Close() error { return s.listener.Close() }
