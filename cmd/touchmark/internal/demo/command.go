package demo

import (
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/console"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
)

// New makes touchmark demo.
func New() *cobra.Command {
	var c Config
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show the whole story on this machine, in a few seconds",
		Long: `demo starts a registry, a private Sigstore and a verifying proxy in this process,
on loopback only, and shows an unsigned image being refused, the same image
admitted once alice has signed it, mallory's signature refused, a moved tag and a
tampered signature found out, and pulls that go on when the Sigstore is stopped.

Nothing is left behind. With --keep everything goes on running, and commands to
try with cosign, crane, podman and skopeo are printed.

Exit status: 0 if every step went as it must, otherwise 3.`,
		Example: `  touchmark demo
  touchmark demo --keep`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			slog.SetDefault(slog.New(slog.DiscardHandler)) // the library of the issuer logs there
			c.Out = cmd.OutOrStdout()
			c.Color = c.Out == os.Stdout && console.IsTerminal(c.Out) && os.Getenv("NO_COLOR") == ""
			if err := Run(cmd.Context(), c); err != nil {
				return exit.Undecided(err)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&c.Keep, "keep", false, "leave everything running until interrupted, and print commands to try")
	return cmd
}
