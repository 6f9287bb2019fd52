package signcmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/console"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/userfile"
	"github.com/touchmark/touchmark/core/token"
	"github.com/touchmark/touchmark/core/token/signin"
	"github.com/touchmark/touchmark/core/trust"
)

// whoFlags say who signs.
type whoFlags struct {
	identityToken, as, key             string
	flow                               string
	issuer, clientID, clientSecretFile string
}

// The ways to sign in, by cosign's names.
const (
	flowBrowser = "normal"
	flowDevice  = "device"
	flowMachine = "client_credentials"
)

func (f *whoFlags) register(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.identityToken, "identity-token", "", "identity `token`, or the file that holds it")
	fl.StringVar(&f.as, "as", "", "e-mail `address` to get a token for from the server's development issuer")
	fl.StringVar(&f.key, "key", "", "private key to sign with instead of a certificate: a PEM `file` that only its owner can read, env://NAME, or a KMS or PKCS#11 reference")
	fl.StringVar(&f.flow, "fulcio-auth-flow", "", "sign in: normal (with a browser here), device (with a browser elsewhere), or client_credentials (a machine with a secret)")
	fl.StringVar(&f.issuer, "oidc-issuer", "", "`URL` of the issuer to sign in with, instead of the signing config's")
	fl.StringVar(&f.clientID, "oidc-client-id", token.DefaultAudience, "client `name` to sign in as")
	fl.StringVar(&f.clientSecretFile, "oidc-client-secret-file", "", "`file` with the client's secret")
}

func (f whoFlags) check() error {
	ways := 0
	for _, given := range []string{f.identityToken, f.as, f.key, f.flow} {
		if given != "" {
			ways++
		}
	}
	switch {
	case ways > 1:
		return errors.New("say who signs with only one of --identity-token, --as, --key and --fulcio-auth-flow")
	case f.flow != "" && f.flow != flowBrowser && f.flow != flowDevice && f.flow != flowMachine:
		return fmt.Errorf("--fulcio-auth-flow %q is not %s, %s or %s", f.flow, flowBrowser, flowDevice, flowMachine)
	case f.flow == flowMachine && (f.clientSecretFile == "" || f.clientID == token.DefaultAudience):
		return errors.New("--fulcio-auth-flow client_credentials needs --oidc-client-id and --oidc-client-secret-file")
	}
	return nil
}

// source finds where the token comes from: what was said, what is ready, or a person at a terminal.
func (f whoFlags) source(cmd *cobra.Command, server string, signing *trust.SigningConfig) (token.Source, error) {
	switch {
	case f.as != "":
		return token.DevIssuer{Server: server, Subject: f.as}, nil
	case token.Looks(f.identityToken):
		return token.Given(f.identityToken), nil
	case f.identityToken != "":
		if _, err := os.Stat(f.identityToken); err != nil {
			return nil, errors.New("--identity-token: neither a token nor a file that can be read") // its value may be a secret
		}
		return token.File(f.identityToken), nil
	case f.flow != "":
		return f.signIn(cmd, f.flow, signing)
	}
	if source, name := (token.Ambient{}).Find(); source != nil {
		return named{source, name}, nil
	}
	if console.IsTerminal(cmd.InOrStdin()) && console.IsTerminal(cmd.ErrOrStderr()) {
		return f.signIn(cmd, flowBrowser, signing)
	}
	return nil, errors.New("nobody is there to sign: no identity token was found (looked at " + token.Places +
		"), and there is no terminal to sign in on; give --identity-token, --key, --as or --fulcio-auth-flow")
}

// named names a source that was found in its errors.
type named struct {
	token.Source
	name string
}

func (n named) Token(ctx context.Context) (string, error) {
	tok, err := n.Source.Token(ctx)
	if err != nil {
		return "", fmt.Errorf("identity token from %s: %w", n.name, err)
	}
	return tok, nil
}

// signIn makes the source for a way to sign in. The issuer is the one that the signing config puts first, as for other Sigstore clients.
func (f whoFlags) signIn(cmd *cobra.Command, flow string, signing *trust.SigningConfig) (token.Source, error) {
	issuer := signin.Issuer{URL: f.issuer, ClientID: f.clientID}
	if issuer.URL == "" {
		service, err := trust.Pick(signing.OIDC, time.Now(), 1)
		if err != nil {
			return nil, fmt.Errorf("choosing issuer: %w; give --oidc-issuer", err)
		}
		issuer.URL = service.URL
	}
	if f.clientSecretFile != "" {
		secret, err := userfile.ReadFile(f.clientSecretFile, maxSecret)
		if err != nil {
			return nil, fmt.Errorf("--oidc-client-secret-file: %w", err)
		}
		issuer.ClientSecret = strings.TrimSpace(string(secret))
	}
	out := cmd.ErrOrStderr()
	switch flow {
	case flowMachine:
		return signin.Machine{Issuer: issuer}, nil
	case flowDevice:
		return signin.Device{Issuer: issuer, Show: func(address, code, complete string) error {
			_, err := fmt.Fprintf(out, "To sign in, open %s on any machine and enter the code %s\n", console.Printable(address), console.Printable(code))
			if complete != "" && err == nil {
				_, err = fmt.Fprintf(out, "(or open %s)\n", console.Printable(complete))
			}
			return err
		}}, nil
	}
	return signin.Browser{Issuer: issuer, Open: func(address string) error {
		_, err := fmt.Fprintf(out, "To sign in, open this address in a browser on this machine:\n  %s\n", console.Printable(address))
		if console.IsTerminal(out) {
			openBrowser(cmd.Context(), address)
		}
		return err
	}}, nil
}

// maxSecret bounds a client secret's file, in bytes.
const maxSecret = 4 << 10
