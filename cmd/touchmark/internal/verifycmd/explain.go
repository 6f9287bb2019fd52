package verifycmd

import (
	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/imageref"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/verdict"
)

// NewExplain makes touchmark explain.
func NewExplain() *cobra.Command {
	d := decision{text: verdict.Print}
	cmd := &cobra.Command{
		Use:   "explain IMAGE",
		Short: "Show how the decision about an image comes about",
		Long: `explain decides about an image as verify does, and shows everything that led
there: which policies are about it, which signatures were found where, each
check with what was found and what was wanted, the trust roots, and every
request to the registry with its HTTP status.

Exit status: as verify.`,
		Example: `  touchmark explain --policy policy.yaml --trusted-root trusted_root.json registry.example/app:1`,
		Args:    imageref.One,
		RunE:    d.run,
	}
	d.register(cmd)
	return cmd
}
