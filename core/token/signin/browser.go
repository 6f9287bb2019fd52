package signin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// callbackPath is where Sigstore's clients, whose redirections issuers have registered, listen for their code.
const callbackPath = "/auth/callback"

// Browser has a person sign in with a browser on this machine.
type Browser struct {
	Issuer Issuer
	// Open shows the person an address: it opens a browser, or prints it, or both. An error ends the sign-in.
	Open func(address string) error
}

// Token waits until the person has signed in, for ten minutes at most. The error wraps [ErrDenied] if they declined.
func (b Browser) Token(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("nobody signed in within %s", patience))
	defer cancel()
	ctx, provider, config, err := b.Issuer.open(ctx)
	if err != nil {
		return "", err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("signing in: listening for the browser: %w", err)
	}
	config.RedirectURL = fmt.Sprintf("http://localhost:%d%s", listener.Addr().(*net.TCPAddr).Port, callbackPath)
	state, nonce, verifier := random(), random(), oauth2.GenerateVerifier()
	back := newCallback(state)
	server := &http.Server{Handler: back, ReadHeaderTimeout: timeout, WriteTimeout: timeout}
	go server.Serve(listener) //nolint:errcheck // it ends with Shutdown
	defer func() {
		// The page that says "done" is still under way when the code is here.
		wait, stop := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer stop()
		if server.Shutdown(wait) != nil {
			server.Close()
		}
	}()
	if err := b.Open(config.AuthCodeURL(state, oidc.Nonce(nonce), oauth2.S256ChallengeOption(verifier))); err != nil {
		return "", fmt.Errorf("signing in: showing the address: %w", err)
	}
	select {
	case <-ctx.Done():
		return "", b.Issuer.failed(context.Cause(ctx))
	case got := <-back.result:
		if got.err != nil {
			return "", b.Issuer.failed(got.err)
		}
		answer, err := config.Exchange(ctx, got.code, oauth2.VerifierOption(verifier))
		if err != nil {
			return "", b.Issuer.failed(err)
		}
		return b.Issuer.check(ctx, provider, answer, nonce)
	}
}

// callback receives the redirection from the issuer.
type callback struct {
	state  string
	result chan result // the first counts
}

type result struct {
	code string
	err  error
}

func newCallback(state string) *callback {
	return &callback{state: state, result: make(chan result, 1)}
}

// ServeHTTP takes the issuer's answer (RFC 6749 section 4.1.2). A request without the state that only the issuer and the browser know changes nothing: any web
// page can make the browser ask here.
func (c *callback) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	query := r.URL.Query()
	if r.Method != http.MethodGet || r.URL.Path != callbackPath || query.Get("state") != c.state {
		http.Error(w, "This is not the answer to a sign-in that is under way here.", http.StatusBadRequest)
		return
	}
	got := result{code: query.Get("code")}
	switch {
	case query.Get("error") == "access_denied":
		got.err = fmt.Errorf("%w: %.200q", ErrDenied, query.Get("error_description"))
	case query.Get("error") != "":
		got.err = fmt.Errorf("%.60q: %.200q", query.Get("error"), query.Get("error_description"))
	case got.code == "":
		got.err = errors.New("its redirection holds no code")
	}
	select {
	case c.result <- got:
	default:
		http.Error(w, "This sign-in has been answered already.", http.StatusBadRequest)
		return
	}
	if got.err != nil {
		http.Error(w, "You did not sign in. You can close this page.", http.StatusForbidden)
		return
	}
	fmt.Fprintln(w, "You have signed in. You can close this page and go back to the terminal.")
}
