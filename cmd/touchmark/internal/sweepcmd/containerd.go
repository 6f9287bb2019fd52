package sweepcmd

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/asagent"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/console"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/rules"
	"github.com/touchmark/touchmark/containerd/node"
	"github.com/touchmark/touchmark/containerd/sweep"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/hostconfig"
)

func newSweepContainerd() *cobra.Command {
	var f sweepContainerdFlags
	cmd := &cobra.Command{
		Use:   "containerd",
		Short: "Judge again what lies in containerd",
		Long: `sweep containerd asks containerd what images it has in each of its namespaces, and the
agent of this host about each, as if it were pulled now: what was imported, pulled past
the image verifiers or pulled under another policy is found so. With --policy, it decides
by itself. It needs root's rights.

Each image is listed once for each repository whose name it has: admitted, refused,
undecided (its registry could not be asked, or does not have it under that name), or
local (it has no name with a registry). Nothing is changed, unless told: --label writes
the verdict to the names, as touchmark.dev/verdict, and --remove removes refused images.
Undecided ones are never removed, nor is the pause image, nor what containers are made
from, but with --in-use; containers that run go on.

Exit status: 0 nothing is refused or undecided, 1 something is refused (and, with
--remove, was removed), 2 wrong usage, 3 something is undecided, could not be removed
or labelled, or containerd can't be asked.`,
		Example: `  touchmark sweep containerd
  touchmark sweep containerd --namespace k8s.io --label --remove
  touchmark sweep containerd --policy policy.yaml --trusted-root trusted_root.json -o json`,
		Args: cobra.NoArgs,
		RunE: f.run,
	}
	f.register(cmd)
	return cmd
}

// sweepContainerdFlags say what is judged, and by whom.
type sweepContainerdFlags struct {
	host                 rules.HostFlags
	rules                rules.Flags
	socket               string
	namespaces           []string
	label, remove, inUse bool
	output               string
}

func (f *sweepContainerdFlags) register(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.host.Config, "config", "", "configuration `file`; default /etc/touchmark/config.yaml")
	fl.StringVar(&f.rules.Policy, "policy", "", "decide by this `file` of policy documents, or directory of them, without the agent")
	f.rules.Roots.Register(cmd)
	fl.StringVar(&f.socket, "address", "", "containerd's `socket`; default is that of the configuration")
	fl.StringSliceVar(&f.namespaces, "namespace", nil, "containerd's namespace to be swept; may be given again; default is the configuration's, or all")
	fl.BoolVar(&f.label, "label", false, "write the verdict to each name, as the label "+sweep.VerdictLabel)
	fl.BoolVar(&f.remove, "remove", false, "remove refused images")
	fl.BoolVar(&f.inUse, "in-use", false, "with --remove, also remove images that containers are made from")
	console.OutputFlag(cmd, &f.output, "text or json")
}

func (f *sweepContainerdFlags) run(cmd *cobra.Command, _ []string) error {
	if f.rules.Policy == "" && len(f.rules.Roots.Files) > 0 {
		return exit.Usage(errors.New("--trusted-root goes with --policy; the agent has trust roots of its own"))
	}
	if f.inUse && !f.remove {
		return exit.Usage(errors.New("--in-use goes with --remove"))
	}
	if err := console.CheckOutput(f.output); err != nil {
		return err
	}
	ctx := cmd.Context()
	c, err := f.configuration()
	if err != nil {
		return err
	}
	admitter, closeAdmitter, err := sweepAdmitter(ctx, f.host, f.rules, asagent.Client)
	if err != nil {
		return err
	}
	defer closeAdmitter()
	n, err := node.Dial(ctx, c.Containerd.Socket)
	if err != nil {
		return exit.Undecided(err)
	}
	defer func() { _ = n.Close() }() // nothing is lost
	s := sweep.Config{Containerd: n, Decide: admitter.Admit, Namespaces: c.Containerd.Namespaces, InUse: f.inUse}
	if f.rules.Policy != "" { // the agent knows by itself where containerd's images are
		decide := asagent.Containerd(c, admitter, nil)
		s.Decide = func(ctx context.Context, req gate.Request) gate.Verdict {
			return decide(ctx, req, req.Source.Repository.Name(), true)
		}
	}
	report, err := sweep.Run(ctx, s)
	if err != nil {
		return exit.Undecided(err)
	}
	if f.label {
		s.Label(ctx, report)
	}
	if f.remove {
		s.Remove(ctx, report)
	}
	if f.output == "json" {
		err = console.JSON(cmd.OutOrStdout(), report)
	} else {
		err = printContainerdSweep(cmd.OutOrStdout(), report)
	}
	if err != nil {
		return err
	}
	return sweepError(report.Count(gate.OutcomeRefused), report.Count(gate.OutcomeUndecided), report.Kept(), len(report.Images), f.rules.Policy == "")
}

// configuration is this host's, with what the flags say. With --policy there need be
// none.
func (f *sweepContainerdFlags) configuration() (*hostconfig.Config, error) {
	var c *hostconfig.Config
	if f.rules.Policy != "" && f.host.Config == "" {
		d, err := hostconfig.Default(false)
		if err != nil {
			return nil, exit.Usage(err)
		}
		c = hostconfig.New(d.File, d)
	} else {
		var err error
		if c, err = f.host.Load(); err != nil {
			return nil, err
		}
	}
	if f.socket != "" {
		c.Containerd.Socket = f.socket
	}
	if len(f.namespaces) > 0 {
		c.Containerd.Namespaces = f.namespaces
	}
	return c, nil
}

func printContainerdSweep(out io.Writer, r *sweep.Report) error {
	return printTable(out, "OUTCOME\tNAMESPACE\tIMAGE\tDIGEST\tREASON", func(table io.Writer) {
		for _, i := range r.Images {
			reason := briefly(i.Reason, i.Repository, i.Digest)
			switch {
			case i.Kept != "":
				reason += " (" + i.Kept + ")"
			case len(i.Removed) > 0:
				reason += " (removed)"
			case i.InUse && i.Outcome == gate.OutcomeRefused:
				reason += " (a container is made from it)"
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", i.Outcome, i.Namespace, i.Label(), shortDigest(i.Digest), reason)
		}
	})
}
