// Package predicatetype is the flag --type of those commands that make attestations about
// files and images, and of those that verify them.
package predicatetype

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/core/predicate"
)

// Flag names the type of a predicate.
type Flag struct{ kind string }

// Register adds the flag to a command.
func (f *Flag) Register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.kind, "type", "", "predicate `type`: "+strings.Join(predicate.Names(), ", ")+", or a URI")
}

// URI is the predicate type. None is an error: cosign's default, custom, would hide an SBOM from those who look for one.
func (f Flag) URI() (string, error) {
	if f.kind == "" {
		return "", exit.Usage(fmt.Errorf("--type is missing: one of %s, or a URI", strings.Join(predicate.Names(), ", ")))
	}
	uri, err := predicate.TypeURI(f.kind)
	if err != nil {
		return "", exit.Usage(fmt.Errorf("--type: %w", err))
	}
	return uri, nil
}
