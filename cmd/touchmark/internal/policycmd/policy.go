// Package policycmd has the commands that write policies, and that examine them before they
// are in force: policy check, test and learn, and the exceptions that people make for
// single images (allow, pin, revoke).
package policycmd

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/console"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/rules"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/trust/publicgood"
)

// NewPolicy makes touchmark policy.
func NewPolicy() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Check policies, try them out, and draft one from what runs",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return exit.Usage(errors.New("say what to do: touchmark policy check, test or learn"))
		},
	}
	cmd.AddCommand(newPolicyCheck(), newPolicyTest(), newPolicyLearn())
	return cmd
}

// checkFlags say what is checked.
type checkFlags struct {
	roots              rules.RootFlags
	ignoreClusterMatch bool
	output             string
}

func newPolicyCheck() *cobra.Command {
	var f checkFlags
	cmd := &cobra.Command{
		Use:   "check FILE...",
		Short: "Find what is wrong with policies, or looks like a mistake",
		Long: `check reads policy files, or directories of them, as one set and says what is wrong
with them. Of what can be read, it finds what admits by accident (an identity that
accepts everybody, a broad glob without signatures), what can never match, which
policies are demanded together, which trust roots are missing, and which exceptions
and pins are about to end.

Trust roots are looked for among those of --trusted-root; without any, they are taken
to be there.

Exit status: 0 nothing found but notes, 1 warnings, 2 the files are refused.`,
		Example: `  touchmark policy check /etc/touchmark/policy.d
  touchmark policy check -o json policy.yaml --trusted-root private=trusted_root.json`,
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	fl := cmd.Flags()
	f.roots.Register(cmd)
	fl.BoolVar(&f.ignoreClusterMatch, "ignore-cluster-match", false, "ignore what only has a meaning in a Kubernetes cluster, instead of refusing it")
	console.OutputFlag(cmd, &f.output, "text, or json")
	return cmd
}

// checkResult is what "policy check -o json" prints.
type checkResult struct {
	Policies   int              `json:"policies"`
	Exceptions int              `json:"exceptions"`
	Pins       int              `json:"pins"`
	Revoked    int              `json:"revocations"`
	Findings   []policy.Finding `json:"findings"`
}

func (f checkFlags) run(cmd *cobra.Command, args []string) error {
	if err := console.CheckOutput(f.output); err != nil {
		return err
	}
	if len(args) == 0 {
		return exit.Usage(errors.New("want policy files, or directories of them"))
	}
	files, err := policyFiles(args)
	if err != nil {
		return exit.Usage(err)
	}
	set, err := policy.LoadFiles(cmd.Context(), files, rules.PolicyOptions(f.ignoreClusterMatch))
	if err != nil {
		return exit.Usage(err)
	}
	roots, err := f.roots.Load()
	if err != nil {
		return err
	}
	var names []string
	for _, r := range roots {
		if err := r.Check(); err != nil {
			return exit.Usage(fmt.Errorf("--trusted-root: %w", err))
		}
		names = append(names, r.Name)
	}
	if names != nil {
		names = append(names, publicgood.Name)
	}
	result := checkResult{
		Policies: len(set.Policies), Exceptions: len(set.Enforcement.Exceptions), Pins: len(set.Enforcement.Pins),
		Revoked: len(set.Enforcement.Revocations), Findings: set.Check(time.Now(), names),
	}
	return result.report(cmd.OutOrStdout(), f.output)
}

// report prints the result; warnings are an error.
func (r checkResult) report(w io.Writer, output string) error {
	warnings := 0
	for _, f := range r.Findings {
		if f.Level == policy.Warning {
			warnings++
		}
	}
	if output == "json" {
		if r.Findings == nil {
			r.Findings = []policy.Finding{}
		}
		if err := console.JSON(w, r); err != nil {
			return err
		}
	} else {
		for _, f := range r.Findings {
			fmt.Fprintln(w, console.Printable(f.String()))
		}
		fmt.Fprintf(w, "policies: %d, exceptions: %d, pins: %d, revocations: %d, warnings: %d, notes: %d\n",
			r.Policies, r.Exceptions, r.Pins, r.Revoked, warnings, len(r.Findings)-warnings)
	}
	if warnings > 0 {
		return exit.Refused(fmt.Errorf("warnings: %d", warnings))
	}
	return nil
}

// policyFiles are the files of a command line, with those of its directories.
func policyFiles(args []string) ([]string, error) {
	var files []string
	for _, arg := range args {
		info, err := os.Stat(arg)
		if err != nil {
			return nil, fmt.Errorf("reading policy: %w", err)
		}
		if !info.IsDir() {
			files = append(files, arg)
			continue
		}
		inside, err := policy.Files(arg)
		if err != nil {
			return nil, err
		}
		files = append(files, inside...)
	}
	return files, nil
}
