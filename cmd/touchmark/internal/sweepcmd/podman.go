// Package sweepcmd has touchmark sweep, which has judged again what already lies in
// podman's storage or in containerd.
package sweepcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/console"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/rules"
	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/gate/ask"
	"github.com/touchmark/touchmark/core/gate/parents"
	"github.com/touchmark/touchmark/core/gate/remote"
	"github.com/touchmark/touchmark/podman/access"
	"github.com/touchmark/touchmark/podman/sweep"
)

// New makes touchmark sweep.
func New() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sweep",
		Short: "Judge again what already lies on this host",
	}
	cmd.AddCommand(newSweepPodman(), newSweepContainerd())
	return cmd
}

func newSweepPodman() *cobra.Command {
	var f sweepFlags
	cmd := &cobra.Command{
		Use:   "podman",
		Short: "Judge again what lies in podman's storage",
		Long: `sweep podman asks podman what images it has, and the agent of this host about each,
as if it were pulled now: podman itself verifies when it pulls and never afterwards.
With --policy, it decides by itself. It is about the storage of whoever runs it:
root's, or a user's own (with --user, the user's agent is asked).

Each image is listed under each name: admitted, refused, undecided (its registry could
not be asked, or does not have it under that name), or local (built here). Nothing is
changed, unless --untag is given: then refused images lose their names, and can't be
run by them any more. Undecided ones keep theirs. Containers that run go on.

Exit status: 0 nothing is refused or undecided, 1 something is refused, 2 wrong usage,
3 something is undecided, or podman can't be asked.`,
		Example: `  touchmark sweep podman
  touchmark sweep podman --untag
  touchmark sweep podman --policy policy.yaml --trusted-root trusted_root.json -o json`,
		Args: cobra.NoArgs,
		RunE: f.run,
	}
	f.register(cmd)
	return cmd
}

// sweepFlags say whose storage is judged, and by whom.
type sweepFlags struct {
	host    rules.HostFlags
	rules   rules.Flags
	storage sweep.Storage
	untag   bool
	output  string
}

func (f *sweepFlags) register(cmd *cobra.Command) {
	f.host.Register(cmd)
	fl := cmd.Flags()
	fl.StringVar(&f.rules.Policy, "policy", "", "decide by this `file` of policy documents, or directory of them, without the agent")
	f.rules.Roots.Register(cmd)
	fl.StringVar(&f.storage.Root, "root", "", "podman's storage `directory`, if it is another than its own")
	fl.StringVar(&f.storage.RunRoot, "runroot", "", "podman's `directory` for the state of that storage")
	fl.BoolVar(&f.untag, "untag", false, "remove the names of refused images")
	console.OutputFlag(cmd, &f.output, "text or json")
}

func (f *sweepFlags) run(cmd *cobra.Command, _ []string) error {
	if f.rules.Policy == "" && len(f.rules.Roots.Files) > 0 {
		return exit.Usage(errors.New("--trusted-root goes with --policy; the agent has trust roots of its own"))
	}
	if err := console.CheckOutput(f.output); err != nil {
		return err
	}
	ctx := cmd.Context()
	admitter, closeAdmitter, err := sweepAdmitter(cmd.Context(), f.host, f.rules, "touchmark sweep")
	if err != nil {
		return err
	}
	defer closeAdmitter()
	// The storage is the caller's, and so is what podman did to fill it.
	clients, err := access.Load(rules.HostFlags{User: f.host.User || os.Getuid() != 0}.Podman())
	if err != nil {
		return exit.Usage(err)
	}
	c := sweep.Config{Storage: f.storage, Admitter: admitter, Source: func(repository string) (attach.Source, error) {
		return originOf(clients, repository)
	}}
	report, err := sweep.Run(ctx, c)
	if err != nil {
		return exit.Undecided(err)
	}
	if f.untag {
		c.Untag(ctx, report)
	}
	if f.output == "json" {
		err = console.JSON(cmd.OutOrStdout(), report)
	} else {
		err = printSweep(cmd.OutOrStdout(), report)
	}
	if err != nil {
		return err
	}
	kept := 0
	for _, i := range report.Images {
		if i.UntagError != "" {
			kept++
		}
	}
	return sweepError(report.Count(gate.OutcomeRefused), report.Count(gate.OutcomeUndecided), kept, len(report.Images), f.rules.Policy == "")
}

// sweepAdmitter is the agent, asked in a client's name, or with --policy a gate of our
// own.
func sweepAdmitter(ctx context.Context, host rules.HostFlags, demanded rules.Flags, client string) (gate.Admitter, func(), error) {
	if demanded.Policy == "" {
		c, err := host.Load()
		if err != nil {
			return nil, nil, err
		}
		agent := remote.Dial(c.Agent.Socket)
		agent.Name = client
		return agent, func() {}, nil
	}
	set, roots, err := demanded.Load(ctx)
	if err != nil {
		return nil, nil, err
	}
	g, err := rules.NewGate(set, roots)
	if err != nil {
		return nil, nil, err
	}
	finder := parents.New(parents.Config{Admitter: g, Rule: g.IndexRule})
	return finder, func() { _ = finder.Close() }, nil
}

// originOf is where a client would fetch an image from, if no mirror has it.
func originOf(clients *access.Access, repository string) (attach.Source, error) {
	places, err := clients.Table().Places(repository)
	if err != nil {
		return attach.Source{}, err
	}
	for _, p := range places {
		if !p.Mirror {
			return clients.Source(p.Repository, true)
		}
	}
	return attach.Source{}, fmt.Errorf("registries.conf leads %s nowhere", repository)
}

// sweepError gives a sweep's exit status. kept are the images that could not be
// removed though told; asked says that the agent was to decide.
func sweepError(refusals, open, kept, all int, asked bool) error {
	switch {
	case kept > 0:
		return exit.Undecided(fmt.Errorf("not everything was removed or labelled: %d of %d were not", kept, all))
	case refusals > 0:
		return exit.Refused(fmt.Errorf("refused: %d of %d", refusals, all))
	case open == all && open > 0 && asked:
		return exit.Undecided(fmt.Errorf("undecided: %d of %d; --policy FILE decides without the agent", open, all))
	case open > 0:
		return exit.Undecided(fmt.Errorf("undecided: %d of %d", open, all))
	}
	return nil
}

func printSweep(out io.Writer, r *sweep.Report) error {
	return printTable(out, "OUTCOME\tIMAGE\tDIGEST\tREASON", func(table io.Writer) {
		for _, i := range r.Images {
			reason := briefly(i.Reason, i.Repository, i.Digest)
			switch {
			case i.UntagError != "":
				reason += " (its names could not be removed: " + i.UntagError + ")"
			case len(i.Untagged) > 0:
				reason += " (untagged)"
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", i.Outcome, sweptName(i), shortDigest(i.Digest), reason)
		}
	})
}

// printTable prints rows below a head, of which rows writes one with a tab between each two cells.
func printTable(out io.Writer, head string, rows func(table io.Writer)) error {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, head)
	rows(table)
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprint(out, console.Printable(text.String()))
	return err
}

// briefly is a reason without the image's name and digest, which stand in its row.
func briefly(reason, repository, digest string) string {
	return strings.TrimPrefix(reason, ask.CannotDecide(repository, digest))
}

// shortDigest is as much of a digest as podman shows.
func shortDigest(digest string) string {
	const shown = len("sha256:") + 12
	return digest[:min(len(digest), shown)]
}

// sweptName is an image's names, its repository, or its ID.
func sweptName(i sweep.Image) string {
	switch {
	case len(i.Names) > 0:
		return strings.Join(i.Names, ", ")
	case i.Repository != "":
		return i.Repository
	}
	return "<none> " + i.ID[:min(len(i.ID), 12)]
}
