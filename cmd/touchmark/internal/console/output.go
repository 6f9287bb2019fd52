package console

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
)

// OutputFlag adds --output to a command: text, which is the default, json, or more forms. Shells complete them.
func OutputFlag(cmd *cobra.Command, output *string, usage string, more ...string) {
	cmd.Flags().StringVarP(output, "output", "o", "text", usage)
	// The only errors are a flag that the command does not have, and one that was registered before.
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(forms(more), cobra.ShellCompDirectiveNoFileComp))
}

// CheckOutput checks an --output that is text, JSON, or one of more forms.
func CheckOutput(output string, more ...string) error {
	all := forms(more)
	if !slices.Contains(all, output) {
		last := len(all) - 1
		return exit.Usage(fmt.Errorf("--output %q is not %s or %s", output, strings.Join(all[:last], ", "), all[last]))
	}
	return nil
}

// forms are all values of an --output.
func forms(more []string) []string { return append([]string{"text", "json"}, more...) }

// JSON prints a value, indented.
func JSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
