package agentcmd

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/console"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/rules"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/services/agent"
	"github.com/touchmark/touchmark/services/agent/store"
)

// NewReport makes touchmark report.
func NewReport() *cobra.Command {
	var f rules.HostFlags
	var output string
	cmd := &cobra.Command{
		Use:   "report",
		Short: "List the images that were refused on this host, or would be by enforcing",
		Long: `report lists, by image, reason and host, what the agent refused, what it could not
decide, and, where a policy or the whole site only observes, what enforcing would
refuse. It is what to read before "mode: observe" is taken out of a policy.

"touchmark why IMAGE" tells more of each. If the agent is not running, the file in its
state directory is read.

Exit status: 0 listed (also if the list is empty), 2 wrong usage, 3 the record cannot
be read.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := console.CheckOutput(output); err != nil {
				return err
			}
			ctx := cmd.Context()
			found, err := recorded(ctx, f, func(c *agent.Client) (agent.Decisions, error) { return c.Report(ctx) },
				func(s *store.Store) ([]store.Decision, error) { return s.Problems(ctx) })
			if err != nil {
				return err
			}
			if output == "json" {
				return console.JSON(cmd.OutOrStdout(), agent.Decisions{Decisions: found})
			}
			return printReport(cmd.OutOrStdout(), found)
		},
	}
	f.Register(cmd)
	console.OutputFlag(cmd, &output, "text or json")
	return cmd
}

// printReport shows a report to a person.
func printReport(w io.Writer, found []store.Decision) error {
	if len(found) == 0 {
		_, err := fmt.Fprintln(w, "Nothing was refused, and nothing would be.")
		return err
	}
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 4, 2, ' ', 0)
	fmt.Fprintln(table, "IMAGE\tWHAT\tCLIENT\tTIMES\tLAST\tHOST")
	for _, d := range found {
		what := string(d.Outcome) + ": " + string(d.Code)
		if d.Code == gate.CodeObserved {
			what = "would not be admitted"
		}
		fmt.Fprintf(table, "%s@%.19s\t%s\t%s\t%d\t%s\t%s\n", d.Repository, d.Digest, what, cmp.Or(d.Client, "-"), d.Count, d.Last.Format(time.RFC3339), d.Host)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(&text)
	for _, d := range found {
		fmt.Fprintf(&text, "%s@%.19s: %s\n", d.Repository, d.Digest, d.Reason)
	}
	_, err := fmt.Fprint(w, console.Printable(text.String()))
	return err
}
