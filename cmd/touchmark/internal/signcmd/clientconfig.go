package signcmd

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/userfile"
	"github.com/touchmark/touchmark/core/sign"
	"github.com/touchmark/touchmark/core/token"
	"github.com/touchmark/touchmark/core/trust"
	skopeosigning "github.com/touchmark/touchmark/skopeo/signing"
)

// NewClientConfig makes touchmark client-config skopeo.
func NewClientConfig() *cobra.Command {
	var f clientConfigFlags
	cmd := &cobra.Command{
		Use:   "skopeo",
		Short: "Write the file with which skopeo and podman sign",
		Long: `client-config skopeo writes the parameter file with which stock skopeo and podman
sign with a private Sigstore: --sign-by-sigstore FILE. It names the server's
certificate authority and log, and says how to sign in:

  --fulcio-auth-flow device   with a browser anywhere (the default)
  --fulcio-auth-flow normal   with a browser on the same machine
  --identity-token, --as, --fulcio-auth-flow client_credentials
                              as whom the token names, with nobody there

For the last three, the token is fetched now and stands in the file: sign with it at
once, as a token is valid for some minutes only.

The file is printed, or written by --file so that only its owner can read it. The
clients write signatures to a registry only where registries.d says
"use-sigstore-attachments: true"; docs/skopeo.md shows it.

Exit status: 0 written, 2 wrong usage, 3 the server cannot be asked.`,
		Example: `  touchmark client-config skopeo --server https://sigstore.acme.example --file sign.yaml
  skopeo copy --sign-by-sigstore sign.yaml docker://registry.example/app:1 docker://registry.example/app:1
  touchmark client-config skopeo --as alice@acme.example --file sign.yaml && podman push --sign-by-sigstore sign.yaml registry.example/app:1`,
		Args: cobra.NoArgs,
		RunE: f.run,
	}
	f.register(cmd)
	return cmd
}

// clientConfigFlags say with which services to sign, and as whom.
type clientConfigFlags struct {
	server, signingConfig, file string
	who                         whoFlags
	insecureHTTP                bool
}

func (f *clientConfigFlags) register(cmd *cobra.Command) {
	server := os.Getenv("TOUCHMARK_SERVER")
	if server == "" {
		server = "http://127.0.0.1:7465"
	}
	fl := cmd.Flags()
	fl.StringVar(&f.server, "server", server, "`URL` of a Touchmark server, whose signing config is used; also TOUCHMARK_SERVER")
	fl.StringVar(&f.signingConfig, "signing-config", "", "`file` that names the services, instead of the server's")
	fl.StringVar(&f.file, "file", "", "`file` to write, instead of standard output")
	fl.BoolVar(&f.insecureHTTP, "allow-http-server", false, "allow plain HTTP to services on other machines, which shows them the identity token")
	fl.StringVar(&f.who.identityToken, "identity-token", "", "identity `token`, or the file that holds it")
	fl.StringVar(&f.who.as, "as", "", "e-mail `address` to get a token for from the server's development issuer")
	fl.StringVar(&f.who.flow, "fulcio-auth-flow", "", "sign in: device (with a browser elsewhere), normal (with a browser here), or client_credentials (a machine with a secret)")
	fl.StringVar(&f.who.issuer, "oidc-issuer", "", "`URL` of the issuer to sign in with, instead of the signing config's")
	fl.StringVar(&f.who.clientID, "oidc-client-id", token.DefaultAudience, "client `name` to sign in as")
	fl.StringVar(&f.who.clientSecretFile, "oidc-client-secret-file", "", "`file` with the client's secret")
}

func (f *clientConfigFlags) run(cmd *cobra.Command, _ []string) error {
	if err := f.who.check(); err != nil {
		return exit.Usage(err)
	}
	services, err := f.services(cmd.Context())
	if err != nil {
		return err
	}
	c := skopeosigning.Config{Services: services, Issuer: f.who.issuer, ClientID: f.who.clientID, InsecureHTTP: f.insecureHTTP, Now: time.Now()}
	if err := f.signIn(cmd, &c); err != nil {
		return err
	}
	text, err := c.File()
	if err != nil {
		return exit.Usage(err)
	}
	if f.file == "" {
		_, err = cmd.OutOrStdout().Write(text)
		return err
	}
	if err := userfile.Replace(f.file, text, 0o600); err != nil { // it may hold a secret
		return exit.Usage(fmt.Errorf("--file: %w", err))
	}
	return nil
}

func (f *clientConfigFlags) services(ctx context.Context) (*trust.SigningConfig, error) {
	if f.signingConfig == "" {
		services, err := sign.FetchSigningConfig(ctx, http.DefaultClient, f.server, f.insecureHTTP)
		if err != nil {
			return nil, exit.Undecided(err)
		}
		return services, nil
	}
	data, err := userfile.ReadFile(f.signingConfig, trust.MaxSize)
	if err != nil {
		return nil, exit.Usage(fmt.Errorf("--signing-config: %w", err))
	}
	services, err := trust.ParseSigningConfig(data)
	if err != nil {
		return nil, exit.Usage(fmt.Errorf("--signing-config: %s: %w", f.signingConfig, err))
	}
	return services, nil
}

// signIn fills in how the client gets its token: by itself, or here and now.
func (f *clientConfigFlags) signIn(cmd *cobra.Command, c *skopeosigning.Config) error {
	if f.who.as == "" && f.who.identityToken == "" && f.who.flow != flowMachine {
		c.SignIn = skopeosigning.Device
		if f.who.flow == flowBrowser {
			c.SignIn = skopeosigning.Browser
		}
		if f.who.clientSecretFile != "" {
			secret, err := userfile.ReadFile(f.who.clientSecretFile, maxSecret)
			if err != nil {
				return exit.Usage(fmt.Errorf("--oidc-client-secret-file: %w", err))
			}
			c.ClientSecret = strings.TrimSpace(string(secret))
		}
		return nil
	}
	source, err := f.who.source(cmd, f.server, c.Services)
	if err != nil {
		return exit.Usage(err)
	}
	c.SignIn = skopeosigning.Token
	if c.IDToken, err = source.Token(cmd.Context()); err != nil {
		return exit.Undecided(err)
	}
	return nil
}
