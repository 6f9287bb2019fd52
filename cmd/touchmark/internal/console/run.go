// Package console is how touchmark speaks with whoever called it: what it prints is safe
// for a terminal whatever registries and certificates contain ([Printable], which every
// command prints by), JSON looks the same everywhere, questions are asked without
// echoing the answer, and [Run] ends a command with its message and its exit status.
package console

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
)

// Run runs a command with arguments, says what went wrong, and returns the exit
// status.
func Run(ctx context.Context, root *cobra.Command, args []string, stdout, stderr io.Writer) int {
	root.SilenceUsage, root.SilenceErrors = true, true
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintf(stderr, "touchmark: %s\n", Printable(err.Error()))
	}
	return exit.Status(err)
}
