package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// Shells offer the forms of every command's --output, and no files.
func TestOutputIsCompleted(t *testing.T) {
	completed := map[string][]string{}
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		if flag := cmd.Flags().Lookup("output"); flag != nil {
			complete, ok := cmd.GetFlagCompletionFunc("output")
			if !ok {
				t.Errorf("%s: files are offered for --output", cmd.CommandPath())
				return
			}
			forms, directive := complete(cmd, nil, "")
			if directive != cobra.ShellCompDirectiveNoFileComp {
				t.Errorf("%s: files are offered beside %q", cmd.CommandPath(), forms)
			}
			for _, form := range forms {
				if !strings.Contains(flag.Usage, form) {
					t.Errorf("%s: %s is not in %q", cmd.CommandPath(), form, flag.Usage)
				}
			}
			completed[cmd.CommandPath()] = forms
		}
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(newRoot())
	for command, want := range map[string][]string{
		"touchmark verify": {"text", "json"}, "touchmark doctor proxy": {"text", "json", "prometheus"},
		"touchmark verify-blob": {"text", "json"}, "touchmark verify-blob-attestation": {"text", "json", "statement"},
	} {
		if got := completed[command]; !slices.Equal(got, want) {
			t.Errorf("%s: %q is offered, want %q", command, got, want)
		}
	}
}
