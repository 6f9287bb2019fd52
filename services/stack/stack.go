// Package stack is a private Sigstore in one process, on one URL, in one directory.
//
//	server, err := stack.Listen(stack.ServerConfig{Addr: "127.0.0.1:7465"})
//	s, err := stack.New(ctx, stack.Config{Dir: dir, PublicURL: server.URL()})
//	server.Use(s.Handler())
//	err = server.Serve(ctx)
//	err = s.Close()
//
// [New] finds or makes everything in the data directory and returns when all services are ready. The services do not know each
// other: this package gives the certificate authority its log and its issuer, and writes down for clients what it gave.
//
// # The data directory
//
//	state.json     schema version, public URL, time of the first start
//	lock           held while a process uses the directory
//	keys/          private keys, PKCS #8 in PEM, mode 0600; ca-root, tsa-root, tuf-root-* and tuf-targets may be
//	               taken away after the first start
//	certs/         the authorities' certificates
//	ctlog/         the certificate log, see package ctlog
//	siglog/        the signature log, see package siglog
//	tuf/           the TUF repository, see package trustroot
//	users.json     who may sign in, see package accounts
//	trust/         trusted_root.json, the signing configs, and root.json, the repository's first root, for clients
//
// The public URL is fixed by the first start: it is the issuer in certificates and the name of the log. A first start that is
// interrupted, at whatever moment, is completed by the next. After it nothing is ever made anew: a key or a log that is missing is an
// error, for a new one in its place would be a different authority under the same name. What a directory never had, because an older
// program made it, is made.
package stack

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/touchmark/touchmark/core/loopback"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/tsp"
	"github.com/touchmark/touchmark/services/ca"
	"github.com/touchmark/touchmark/services/ctlog"
	"github.com/touchmark/touchmark/services/issuer"
	"github.com/touchmark/touchmark/services/issuer/accounts"
	"github.com/touchmark/touchmark/services/siglog"
	"github.com/touchmark/touchmark/services/trustroot"
	"github.com/touchmark/touchmark/services/tsa"
)

// ctPath is where the certificate log is read, below the public URL; the rest of the URL's host is the signature log's.
const ctPath = "/ct"

// Config says what a stack is.
type Config struct {
	// Dir is the data directory. It is made if it does not exist. Required.
	Dir string

	// PublicURL is how clients reach the stack: scheme, host and port. Required, and the same at each start.
	PublicURL string

	// Listen is the address that the stack is listened on at, HOST:PORT, if there is one. It is only held against InsecureDevIssuer.
	Listen string

	// InsecureDevIssuer gives identity tokens, for any e-mail address, to whoever asks from this machine. PublicURL and Listen must
	// be loopback.
	InsecureDevIssuer bool

	// Issuers are further issuers whose tokens are accepted, besides the stack's own. Clients are told of them, in this order, before the stack's own:
	// whoever configures a provider wants people to sign in there.
	Issuers []ca.Issuer

	// CertificatesPerIdentity and CertificatesTotal are limits per second; 0 means the authority's defaults, negative none.
	CertificatesPerIdentity, CertificatesTotal float64

	// RootKeys and RootThreshold are how many root keys a new TUF repository gets, and how many of them must sign; 0 means 1.
	RootKeys, RootThreshold int

	// Clock tells the time; nil means time.Now.
	Clock func() time.Time

	// Logger receives what operators must know; nil discards.
	Logger *slog.Logger
}

// A Stack is a running Sigstore. It is safe for concurrent use.
type Stack struct {
	url    string
	logger *slog.Logger
	closed atomic.Bool

	devIssuer bool
	outside   []ca.Issuer

	directory    *directory
	issuer       *issuer.Issuer
	authority    *ca.CA
	certificates *ctlog.Log
	log          *siglog.Log
	stamps       *tsa.TSA
	documents    *trustroot.Documents
	repository   *trustroot.Repository
	stopRenewing func()

	created []string
	files   []string
	serve   http.Handler
}

// New opens a stack, and makes it if this is the first start. When it returns nil, every service is ready.
func New(ctx context.Context, config Config) (_ *Stack, err error) {
	if config.Dir == "" {
		return nil, errors.New("opening stack: Dir is missing")
	}
	if err := checkPublicURL(config.PublicURL); err != nil {
		return nil, fmt.Errorf("opening stack: %w", err)
	}
	if err := checkIssuers(config.PublicURL, config.Issuers); err != nil {
		return nil, fmt.Errorf("opening stack: %w", err)
	}
	if config.InsecureDevIssuer && config.Listen != "" && !onLoopback(config.Listen) {
		return nil, fmt.Errorf("opening stack: the development issuer gives tokens to anybody who asks, and %s is not a loopback address", config.Listen)
	}
	if config.Clock == nil {
		config.Clock = time.Now
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	// Absolute, so that every error and every path that is printed means the same wherever it is read.
	dir, err := filepath.Abs(config.Dir)
	if err != nil {
		return nil, fmt.Errorf("opening stack: %w", err)
	}
	s := &Stack{url: config.PublicURL, logger: config.Logger, devIssuer: config.InsecureDevIssuer, outside: config.Issuers}
	if s.directory, err = openDirectory(dir, config.PublicURL, config.Clock()); err != nil {
		return nil, fmt.Errorf("opening stack: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	first := s.directory.first
	if err := s.open(ctx, config); err != nil {
		return nil, fmt.Errorf("opening stack in %s: %w", s.directory.path, err)
	}
	if first {
		if err := s.directory.finish(); err != nil {
			return nil, fmt.Errorf("opening stack: %w", err)
		}
		s.created = append(append(s.created, s.files...), s.directory.file(stateFile))
	}
	s.serve = s.handler()
	s.stopRenewing = background(s.repository.Run)
	return s, nil
}

// open opens the services in the order in which they need each other.
func (s *Stack) open(ctx context.Context, config Config) error {
	ring, err := openKeys(s.directory)
	if err != nil {
		return err
	}
	s.created = ring.created
	if err := s.openLogs(ctx, config, ring); err != nil {
		return err
	}
	people, err := accounts.Open(s.directory.file(accounts.FileName), config.PublicURL)
	if err != nil {
		return err
	}
	s.issuer, err = issuer.New(issuer.Config{
		URL: config.PublicURL, Key: ring.issuer, Accounts: people, InsecureDevTokens: config.InsecureDevIssuer, Clock: config.Clock, Logger: config.Logger,
	})
	if err != nil {
		return err
	}
	if err := s.openAuthority(config, ring); err != nil {
		return err
	}
	s.stamps, err = tsa.New(tsa.Config{Signer: ring.tsa, Chain: ring.tsaChain, Clock: config.Clock, Logger: config.Logger})
	if err != nil {
		return err
	}
	if s.documents, err = trustroot.New(s.published(ring)); err != nil {
		return err
	}
	if err := ownDirectory(s.directory, trustDir); err != nil {
		return err
	}
	if s.files, err = s.documents.WriteFiles(s.directory.file(trustDir)); err != nil {
		return err
	}
	return s.openRepository(config, ring)
}

// openLogs opens both logs. They make themselves where nothing is, which only a first start may let them do: an empty log under the
// key of a full one is a fork.
func (s *Stack) openLogs(ctx context.Context, config Config, ring *keyRing) error {
	for _, dir := range []string{"ctlog", "siglog"} {
		entries, err := os.ReadDir(s.directory.file(dir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("looking for log: %w", err)
		}
		if len(entries) == 0 && !s.directory.first {
			return fmt.Errorf("%s is missing or empty: restore the log, it cannot be made anew", s.directory.file(dir))
		}
	}
	var err error
	s.certificates, err = ctlog.New(ctx, ctlog.Config{
		Dir: s.directory.file("ctlog"), BaseURL: s.url + ctPath, Key: ring.ct, Roots: ring.caChain[len(ring.caChain)-1:], Clock: config.Clock, Logger: config.Logger,
	})
	if err != nil {
		return err
	}
	s.log, err = siglog.New(ctx, siglog.Config{
		Dir: s.directory.file("siglog"), Hostname: hostname(s.url), V1Key: ring.v1, V2Key: ring.v2, Clock: config.Clock, Logger: config.Logger,
	})
	return err
}

func (s *Stack) openAuthority(config Config, ring *keyRing) error {
	logKey, ok := ring.ct.Public().(*ecdsa.PublicKey)
	if !ok {
		return errors.New("the certificate log's key is not ECDSA")
	}
	refused, err := ring.refused()
	if err != nil {
		return err
	}
	keys := s.issuer.Keys()
	s.authority, err = ca.New(ca.Config{
		Signer: ring.ca, Chain: ring.caChain, CTLog: s.certificates, CTLogKey: logKey,
		Issuers:     append([]ca.Issuer{{URL: s.issuer.URL(), Audience: issuer.Audience, Keys: &keys}}, config.Issuers...),
		RefusedKeys: refused, PerIdentity: config.CertificatesPerIdentity, Total: config.CertificatesTotal, Clock: config.Clock, Logger: config.Logger,
	})
	return err
}

// published is what clients are told: everything counts from the first start.
func (s *Stack) published(ring *keyRing) trustroot.Config {
	window := trust.Window{Start: s.directory.state.Created}
	last := func(chain []*x509.Certificate) *x509.Certificate { return chain[len(chain)-1] }
	service := func(path string, version uint32) []trust.Service {
		return []trust.Service{{URL: s.url + path, MajorAPIVersion: version, Window: window, Operator: hostname(s.url)}}
	}
	signing := func(logVersion uint32) *trust.SigningConfig {
		return &trust.SigningConfig{CAs: service("", 1), OIDC: s.signIn(), Logs: service("", logVersion), TSAs: service("/api/v1/timestamp", 1)}
	}
	v1, v2 := s.log.V1(), s.log.V2()
	return trustroot.Config{
		Root: &trust.Root{
			CertificateAuthorities: []trust.CertificateAuthority{{
				URI: s.url, Intermediates: ring.caChain[:len(ring.caChain)-1], Root: last(ring.caChain), Window: window,
			}},
			Logs: []trust.Log{
				{BaseURL: s.url, ID: v1.LogID, Key: v1.Key, Window: window},
				{BaseURL: s.url, ID: v2.LogID, Key: v2.Key, Window: window},
			},
			CTLogs: []trust.Log{{BaseURL: s.url + ctPath, ID: s.certificates.ID(), Key: s.certificates.PublicKey(), Window: window}},
			TimestampAuthorities: []trust.TimestampAuthority{{
				URI: s.url + "/api/v1/timestamp", Window: window,
				Authority: tsp.Authority{Leaf: ring.tsaChain[0], Intermediates: ring.tsaChain[1 : len(ring.tsaChain)-1], Root: last(ring.tsaChain)},
			}},
		},
		SigningConfig:   signing(1),
		SigningConfigV2: signing(2),
	}
}

// Handler serves all services.
func (s *Stack) Handler() http.Handler { return s.serve }

// PublicURL returns the URL that the stack was set up for.
func (s *Stack) PublicURL() string { return s.url }

// Created returns the paths of the files that this start made; none at a second start.
func (s *Stack) Created() []string { return append([]string(nil), s.created...) }

// ClientFiles returns the paths of trusted_root.json, the two signing configs and root.json.
func (s *Stack) ClientFiles() []string { return append([]string(nil), s.files...) }

// TrustedRoot returns the bytes of trusted_root.json.
func (s *Stack) TrustedRoot() []byte { return s.documents.TrustedRoot() }

// SigningConfig returns the bytes of signing_config.v0.2.json.
func (s *Stack) SigningConfig() []byte { return s.documents.SigningConfig() }

// Token returns an identity token for an e-mail address, without asking who wants it. Only a stack with InsecureDevIssuer gives any.
func (s *Stack) Token(address string) (string, error) {
	if !s.devIssuer {
		return "", errors.New("making token: the development issuer is off")
	}
	return s.issuer.Token(address)
}

// Healthy is nil while the services can do their work, and otherwise says which cannot and why.
func (s *Stack) Healthy() error {
	if s.closed.Load() {
		return errors.New("the stack is stopped")
	}
	if err := s.log.Healthy(); err != nil {
		return fmt.Errorf("signature log: %w", err)
	}
	if err := s.certificates.Healthy(); err != nil {
		return fmt.Errorf("certificate log: %w", err)
	}
	if err := s.repository.Healthy(); err != nil {
		return fmt.Errorf("TUF repository: %w", err)
	}
	return nil
}

// Close finishes what is under way, closes the logs and gives the data directory back. Handlers answer errors from then on.
func (s *Stack) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	var errs []error
	if s.stopRenewing != nil {
		s.stopRenewing()
	}
	if s.repository != nil {
		errs = append(errs, s.repository.Close())
	}
	if s.log != nil {
		errs = append(errs, s.log.Close())
	}
	if s.certificates != nil {
		errs = append(errs, s.certificates.Close())
	}
	if s.directory != nil {
		errs = append(errs, s.directory.close())
	}
	return errors.Join(errs...)
}

// hostname is the name of the logs: sigstore-go expects a log's checkpoints under the host name of its URL, without the port.
func hostname(publicURL string) string {
	u, err := url.Parse(publicURL)
	if err != nil {
		return "" // checked in New
	}
	return u.Hostname()
}

// onLoopback reports whether an address to listen on is reached from this machine alone.
func onLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	return err == nil && loopback.Host(host)
}
