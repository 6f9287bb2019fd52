package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/core/predicate"
)

// typeFlag names the type of a predicate.
type typeFlag struct{ kind string }

func (f *typeFlag) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.kind, "type", "", "predicate `type`: "+strings.Join(predicate.Names(), ", ")+", or a URI")
}

// uri is the predicate type. None is an error: cosign's default, custom, would hide an SBOM from those who look for one.
func (f typeFlag) uri() (string, error) {
	if f.kind == "" {
		return "", usageError(fmt.Errorf("--type is missing: one of %s, or a URI", strings.Join(predicate.Names(), ", ")))
	}
	uri, err := predicate.TypeURI(f.kind)
	if err != nil {
		return "", usageError(fmt.Errorf("--type: %w", err))
	}
	return uri, nil
}
