package stackcmd

import (
	"errors"
	"fmt"
	"net/http"
	"os"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/core/token"
)

// NewToken makes touchmark token.
func NewToken() *cobra.Command {
	var source token.DevIssuer
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Print an identity token of a development server",
		Long: `token asks the development issuer of "touchmark up --insecure-dev-issuer" for an
identity token and prints it, and nothing else, on standard output. The token says
that its bearer is whoever --as names; it can be used for ten minutes, by touchmark
sign --identity-token, by cosign --identity-token, and as podman's oidcIDToken.

Exit status: 0 printed, 2 wrong usage, 3 the server cannot be asked or has no
development issuer.`,
		Example: `  touchmark token --as alice@acme.example
  cosign sign --identity-token "$(touchmark token --as alice@acme.example)" ...`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if source.Subject == "" {
				return exit.Usage(errors.New("--as is missing: whose token is wanted? --as alice@acme.example"))
			}
			text, err := source.Token(cmd.Context())
			var fetch *token.FetchError
			switch {
			case errors.As(err, &fetch) && fetch.Status == http.StatusBadRequest:
				return exit.Usage(fmt.Errorf("--as %s: %w", source.Subject, err))
			case err != nil:
				return exit.Undecided(err)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), text)
			return err
		},
	}
	server := os.Getenv("TOUCHMARK_SERVER")
	if server == "" {
		server = "http://127.0.0.1:7465"
	}
	cmd.Flags().StringVar(&source.Server, "server", server, "`URL` of the development server; also TOUCHMARK_SERVER")
	cmd.Flags().StringVar(&source.Subject, "as", "", "the e-mail `address` to be")
	return cmd
}
