package signcmd

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/keyopen"
	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/core/sign"
	"github.com/touchmark/touchmark/core/token"
	"github.com/touchmark/touchmark/core/token/signin"
	"github.com/touchmark/touchmark/core/trust"
)

// signFlags say who signs, with which services.
type signFlags struct {
	server, signingConfig, trustedRoot string
	who                                whoFlags
	tlogUpload, insecureHTTP           bool
}

func (f *signFlags) register(cmd *cobra.Command) {
	server := os.Getenv("TOUCHMARK_SERVER")
	if server == "" {
		server = "http://127.0.0.1:7465"
	}
	fl := cmd.Flags()
	fl.StringVar(&f.server, "server", server, "`URL` of a Touchmark server, whose signing config is used; also TOUCHMARK_SERVER")
	fl.StringVar(&f.signingConfig, "signing-config", "", "`file` that names the services, instead of the server's")
	fl.StringVar(&f.trustedRoot, "trusted-root", "", "`file` with which each signature is verified before it is written")
	fl.BoolVar(&f.tlogUpload, "tlog-upload", true, "enter each signature in the log; --tlog-upload=false, with --key, asks no service at all")
	fl.BoolVar(&f.insecureHTTP, "allow-http-server", false, "allow plain HTTP to services on other machines, which shows them the identity token")
	f.who.register(cmd)
}

// signWhoText is the part of the manual that the signing commands share.
const signWhoText = `Who signs is said by an identity token, which is exchanged for a certificate that
is valid for ten minutes, or by a key (--key). The token is the one of
--identity-token, or --as with a development server; else the one that a CI system
has ready (GitHub Actions, GitLab, Buildkite, Kubernetes, SPIFFE, see
docs/signing.md); else, on a terminal, you sign in with a browser. The services are
those of --server, or of a signing config.

With --trusted-root, every signature is verified under it before anything is
written. The trusted root is never fetched from the server: who could change the
one could change the other. The password of an encrypted key is read from
COSIGN_PASSWORD or the file that TOUCHMARK_PASSWORD_FILE names, or asked for on a
terminal.`

// config loads everything and gets the token. The command asks for no second one, however many things it signs.
func (f signFlags) config(cmd *cobra.Command) (sign.Config, error) {
	ctx := cmd.Context()
	c := sign.Config{InsecureHTTP: f.insecureHTTP, NoLog: !f.tlogUpload}
	if err := f.who.check(); err != nil {
		return c, exit.Usage(err)
	}
	if c.NoLog && f.who.key == "" {
		return c, exit.Usage(errors.New("--tlog-upload=false needs --key: who else signed could not be told from the signature alone"))
	}
	var err error
	if f.who.key != "" {
		if c.Key, err = keys.Open(ctx, f.who.key, keyopen.Private(cmd)); err != nil {
			return c, keyopen.Error(f.who.key, err)
		}
	}
	if f.trustedRoot != "" {
		if c.Root, err = trust.Load(f.trustedRoot, f.trustedRoot); err != nil {
			return c, exit.Usage(fmt.Errorf("--trusted-root: %w", err))
		}
	}
	if !c.NoLog {
		if c.Signing, err = f.services(ctx); err != nil {
			return c, err
		}
	}
	if c.Key != nil {
		return c, nil
	}
	source, err := f.who.source(cmd, f.server, c.Signing)
	if err != nil {
		return c, exit.Usage(err)
	}
	tok, err := source.Token(ctx)
	if err != nil {
		return c, signError(err)
	}
	c.Token = token.Given(tok)
	return c, nil
}

func (f signFlags) services(ctx context.Context) (*trust.SigningConfig, error) {
	if f.signingConfig != "" {
		signing, err := trust.LoadSigningConfig(f.signingConfig)
		if err != nil {
			return nil, exit.Usage(fmt.Errorf("--signing-config: %w", err))
		}
		return signing, nil
	}
	signing, err := sign.FetchSigningConfig(ctx, nil, f.server, f.insecureHTTP)
	if err != nil {
		return nil, exit.Undecided(err)
	}
	return signing, nil
}

// signError gives an error its exit status: the user's mistake, a wrong password and a sign-in that was declined among them, or something that could not be had.
func signError(err error) error {
	var fetch *token.FetchError
	switch {
	case errors.Is(err, sign.ErrInput), errors.Is(err, signin.ErrDenied):
		return exit.Usage(err)
	case errors.As(err, &fetch):
		switch fetch.Status {
		case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden:
			return exit.Usage(err)
		}
	}
	return exit.Undecided(err)
}
