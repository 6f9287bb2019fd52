package agentcmd

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/console"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/rules"
	"github.com/touchmark/touchmark/services/agent"
)

// newAgentStatus is "touchmark agent status".
func newAgentStatus() *cobra.Command {
	var f rules.HostFlags
	var output string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what the agent enforces, and what is wrong",
		Long: `status asks the running agent which policy is in force and since when, whether the
files on disk are other ones that cannot be used, how its trust roots are, and which
exceptions end soon.

Exit status: 0 all is well, 2 wrong usage, 3 the agent does not answer, or something
needs to be seen to.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := console.CheckOutput(output); err != nil {
				return err
			}
			c, err := f.Find().Load()
			if err != nil {
				return err
			}
			s, err := agent.NewClient(c.Agent.Socket).Status(cmd.Context())
			if err != nil {
				return exit.Undecided(err)
			}
			if output == "json" {
				err = console.JSON(cmd.OutOrStdout(), s)
			} else {
				printStatus(cmd.OutOrStdout(), s, time.Now())
			}
			if problems := s.Problems(); err == nil && len(problems) > 0 {
				return exit.Undecided(errors.Join(problems...))
			}
			return err
		},
	}
	f.Register(cmd)
	console.OutputFlag(cmd, &output, "text or json")
	return cmd
}

// printStatus shows an agent's status to a person.
func printStatus(w io.Writer, s agent.Status, now time.Time) {
	var text strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&text, format+"\n", args...) }
	ago := func(t time.Time) string {
		if t.IsZero() {
			return "never"
		}
		return now.Sub(t).Round(time.Second).String() + " ago"
	}
	mode := "enforcing"
	if !s.Enforcing {
		mode = "observing"
	}
	line("agent:       %s, up since %s, %s", s.Version, s.Started.Format(time.RFC3339), mode)
	line("policy:      sha256 %.16s..., loaded %s", s.Policy.Digest, ago(s.Policy.Loaded))
	if len(s.Observing) > 0 {
		line("             only observed: %s", strings.Join(s.Observing, ", "))
	}
	for _, r := range s.Roots {
		text := fmt.Sprintf("%s, sha256 %.16s..., loaded %s", r.Name, r.Digest, ago(r.Loaded))
		if r.Mirror != "" {
			text += fmt.Sprintf(", refreshed %s, good until %s", ago(r.Refreshed), r.Until.Format(time.RFC3339))
		}
		line("trust root:  %s", text)
	}
	for _, p := range s.Parts {
		state := "asked by " + p.Peer + " since " + ago(p.Since)
		if !p.Connected {
			state = "NOT CONNECTED since " + ago(p.Since)
		}
		line("part:        %s, %s; admitted %d, refused %d", p.Name, state, p.Admitted, p.Refused)
	}
	for _, n := range s.Notices {
		line("notice:      %s", n)
	}
	fmt.Fprint(w, console.Printable(text.String()))
}
