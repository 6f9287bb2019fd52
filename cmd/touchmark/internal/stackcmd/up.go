// Package stackcmd has the commands of those who run a private Sigstore: touchmark up, the
// people and machines that may sign in to it (user, client), and token, which gets a token
// of its development issuer. The services themselves are in services/stack.
package stackcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/core/loopback"
	"github.com/touchmark/touchmark/services/ca"
	"github.com/touchmark/touchmark/services/stack"
)

// upFlags are what a stack is started with.
type upFlags struct {
	data, listen, publicURL, tlsCert, tlsKey string
	insecureDevIssuer                        bool
	rootKeys, rootThreshold                  int
	oidcIssuers                              []string
}

// maxRootKeys is more than any board of key holders has.
const maxRootKeys = 32

// NewUp makes touchmark up.
func NewUp() *cobra.Command {
	var f upFlags
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run a private Sigstore on one URL",
		Long: `up runs everything that signing needs in one process, on one URL, in one
directory: certificate authority (Fulcio's API), certificate log, signature log
(Rekor's API), RFC 3161 timestamps, an OpenID Connect issuer, and the trusted root
and signing config for clients. GET /healthz answers 200 when all is ready.

The first start makes the data directory and says what it made. Later starts find
everything again. The public URL is fixed by the first start, because certificates
name it as their issuer and the log as its origin; a start with another one is
refused. Without --public-url it is the address of --listen, so whoever puts a
proxy in front or listens on all addresses must say how clients reach it. Port 0
takes a free port at the first start, and the same port again later.

One process uses a data directory at a time. Back it up whole while up is stopped.
The keys keys/ca-root.pem and keys/tsa-root.pem are not used after the first start:
take them to a safe place. keys/tuf-root-*.pem and keys/tuf-targets.pem are needed
once a year, the latter also when the files for clients change: see docs/trust.md.

People sign in at its own login page, with the accounts of "touchmark user", and
machines with those of "touchmark client". --oidc-issuer URL takes the tokens of an
outside OpenID Connect provider as well, if they hold a verified e-mail address and
the audience "sigstore", or the one after "=". Clients are sent to the first that is
given. With type=TYPE it takes those of a CI system or a cluster, whose tokens name a
job and no address: github-workflow, gitlab-pipeline, buildkite-job, kubernetes,
spiffe or uri, see docs/ci.

--insecure-dev-issuer gives identity tokens, for any e-mail address and without
asking who wants them, to every program on this machine: for trying things out. It
needs a loopback address and a loopback URL.

TLS files are read again when they change. A pair that cannot be used is logged,
and the one before it stays. SIGTERM and SIGINT end the process when requests under
way are answered, at most 30 seconds later; a second one ends it at once.`,
		Example: `  touchmark up --data sigstore --insecure-dev-issuer
  touchmark up --data /var/lib/touchmark --listen :443 --public-url https://sigstore.acme.example \
    --tls-cert tls.crt --tls-key tls.key
  touchmark up --oidc-issuer https://login.acme.example=touchmark \
    --oidc-issuer https://gitlab.acme.example,type=gitlab-pipeline`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.data, "data", "touchmark-data", "the data `directory`, made if it does not exist")
	fl.StringVar(&f.listen, "listen", "127.0.0.1:7465", "`address` to listen on; port 0 takes a free one")
	fl.StringVar(&f.publicURL, "public-url", "", "the `URL` at which clients reach it (default: that of --listen)")
	fl.StringVar(&f.tlsCert, "tls-cert", "", "PEM `file` with the certificate to serve, and its chain")
	fl.StringVar(&f.tlsKey, "tls-key", "", "PEM `file` with its key")
	fl.StringArrayVar(&f.oidcIssuers, "oidc-issuer", nil, "take the tokens of this `issuer` too: URL[=AUDIENCE][,type=TYPE][,domain=DOMAIN]; may be repeated")
	fl.BoolVar(&f.insecureDevIssuer, "insecure-dev-issuer", false, "give identity tokens to anybody on this machine")
	fl.IntVar(&f.rootKeys, "tuf-root-keys", 1, "at the first start, make this `number` of root keys for the TUF repository")
	fl.IntVar(&f.rootThreshold, "tuf-root-threshold", 1, "at the first start, the `number` of root keys that must sign a new root")
	return cmd
}

func (f upFlags) run(cmd *cobra.Command) error {
	if err := f.check(); err != nil {
		return exit.Usage(err)
	}
	outside, err := f.issuers()
	if err != nil {
		return exit.Usage(err)
	}
	recorded, err := stack.RecordedURL(f.data)
	if err != nil {
		return exit.Undecided(err)
	}
	logger := slog.New(slog.NewJSONHandler(cmd.ErrOrStderr(), nil))
	// The library of the issuer logs there; what it has to say below a warning is
	// for those who debug it.
	slog.SetDefault(slog.New(slog.NewJSONHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn})))
	server, err := stack.Listen(stack.ServerConfig{Addr: f.address(recorded), CertFile: f.tlsCert, KeyFile: f.tlsKey, Logger: logger})
	if errors.Is(err, stack.ErrTLSFiles) {
		return exit.Usage(fmt.Errorf("--tls-cert, --tls-key: %w", err))
	}
	if err != nil {
		return exit.Undecided(err)
	}
	if f.publicURL == "" {
		f.publicURL = server.URL()
	}
	if recorded != "" && recorded != f.publicURL {
		_ = server.Close()
		return exit.Usage(fmt.Errorf("the public URL is %s, but %s was set up for %s, which its certificates' issuer and its log's origin name: "+
			"give --public-url %s, or another --data", f.publicURL, f.data, recorded, recorded))
	}

	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx) }() // 503 until there is a stack

	s, err := stack.New(ctx, stack.Config{
		Dir: f.data, PublicURL: f.publicURL, Listen: f.listen, InsecureDevIssuer: f.insecureDevIssuer, Issuers: outside, Logger: logger,
		RootKeys: f.rootKeys, RootThreshold: f.rootThreshold,
	})
	if err != nil {
		cancel()
		return exit.Undecided(errors.Join(err, <-served))
	}
	server.Use(s.Handler())
	f.announce(cmd.OutOrStdout(), s, server.URL())
	if strings.HasPrefix(f.publicURL, "http://") && !loopbackURL(f.publicURL) {
		logger.Warn("the public URL is plain http: identity tokens can be read and used by anybody on the way", "url", f.publicURL)
	}
	if err := errors.Join(<-served, s.Close()); err != nil {
		return exit.Undecided(err)
	}
	return nil
}

// check refuses flags that contradict each other, before anything is made.
func (f upFlags) check() error {
	host, _, err := net.SplitHostPort(f.listen)
	if err != nil {
		return fmt.Errorf("--listen %s: want HOST:PORT", f.listen)
	}
	if f.data == "" {
		return errors.New("--data is missing")
	}
	if f.rootThreshold < 1 || f.rootKeys < f.rootThreshold || f.rootKeys > maxRootKeys {
		return fmt.Errorf("--tuf-root-threshold %d of --tuf-root-keys %d: want 1 to %d keys, and a threshold between 1 and their number", f.rootThreshold, f.rootKeys, maxRootKeys)
	}
	if (f.tlsCert == "") != (f.tlsKey == "") {
		return errors.New("--tls-cert and --tls-key are needed together")
	}
	ip := net.ParseIP(host)
	if f.publicURL == "" && (host == "" || ip != nil && ip.IsUnspecified()) {
		return fmt.Errorf("--listen %s is every address of this machine: say with --public-url at which URL clients reach it", f.listen)
	}
	if f.insecureDevIssuer && !loopback.Host(host) {
		return fmt.Errorf("--insecure-dev-issuer gives tokens to anybody who asks: it needs a loopback address, and --listen is %s", f.listen)
	}
	if f.publicURL == "" {
		return nil
	}
	u, err := url.Parse(f.publicURL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.Scheme+"://"+u.Host != f.publicURL {
		return fmt.Errorf("--public-url %s: want https://HOST[:PORT], or http://, without a path", f.publicURL)
	}
	if f.insecureDevIssuer && !loopbackURL(f.publicURL) {
		return fmt.Errorf("--insecure-dev-issuer gives tokens to anybody who asks: it needs a loopback URL, and --public-url is %s", f.publicURL)
	}
	return nil
}

// issuers reads --oidc-issuer.
func (f upFlags) issuers() ([]ca.Issuer, error) {
	var issuers []ca.Issuer
	seen := map[string]bool{f.publicURL: true}
	for _, text := range f.oidcIssuers {
		parsed, err := stack.ParseIssuer(text)
		if err != nil {
			return nil, fmt.Errorf("--oidc-issuer %w", err)
		}
		if seen[parsed.URL] {
			return nil, fmt.Errorf("--oidc-issuer %s is given twice, or is this stack's own URL, whose tokens are always taken", parsed.URL)
		}
		seen[parsed.URL] = true
		issuers = append(issuers, parsed)
	}
	return issuers, nil
}

// address is where to listen: the recorded port in the place of port 0, so that the public URL stays what it is.
func (f upFlags) address(recorded string) string {
	host, port, err := net.SplitHostPort(f.listen)
	if err != nil || port != "0" || f.publicURL != "" {
		return f.listen
	}
	if u, err := url.Parse(recorded); err == nil && u.Hostname() == host && u.Port() != "" {
		return net.JoinHostPort(host, u.Port())
	}
	return f.listen
}

// announce says what was made, where it is, and what to do next.
func (f upFlags) announce(w io.Writer, s *stack.Stack, listening string) {
	if created := s.Created(); len(created) > 0 {
		fmt.Fprintf(w, "Created in %s:\n", f.data)
		for _, path := range created {
			fmt.Fprintf(w, "  %s\n", path)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "Ready at %s", s.PublicURL())
	if listening != s.PublicURL() {
		fmt.Fprintf(w, ", listening at %s", listening)
	}
	fmt.Fprint(w, "\n\nClients need these files:\n")
	files := s.ClientFiles()
	for _, path := range files {
		fmt.Fprintf(w, "  %s\n", path)
	}
	if f.insecureDevIssuer {
		fmt.Fprintf(w, "\nTry:\n  touchmark token --server %s --as alice@acme.example\n", s.PublicURL())
		fmt.Fprintf(w, "  touchmark sign --server %s --as alice@acme.example --trusted-root %s IMAGE\n", s.PublicURL(), files[0])
	} else {
		fmt.Fprintf(w, "\nTry:\n  touchmark user add alice@acme.example --data %s\n", f.data)
		fmt.Fprintf(w, "  cosign sign --signing-config %s --trusted-root %s IMAGE\n", files[1], files[0])
	}
	fmt.Fprintf(w, "  touchmark verify --trusted-root %s --certificate-identity alice@acme.example --certificate-oidc-issuer %s IMAGE\n", files[0], s.PublicURL())
}

func loopbackURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && loopback.Host(u.Hostname())
}
