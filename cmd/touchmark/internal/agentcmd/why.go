package agentcmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/console"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/imageref"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/rules"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/verdict"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/services/agent"
	"github.com/touchmark/touchmark/services/agent/store"
)

// NewWhy makes touchmark why.
func NewWhy() *cobra.Command {
	var f rules.HostFlags
	var output string
	var all bool
	cmd := &cobra.Command{
		Use:   "why IMAGE",
		Short: "Show why an image was admitted or refused on this host",
		Long: `why shows what the agent of this host decided about an image, as it recorded it when
it decided: which policies were about it, which signatures it found, each check, and
every request to the registry. Nothing is asked again; "touchmark verify" decides anew.

IMAGE is a repository, with or without a digest. A tag is passed over, since the agent
is asked about digests: the last decision about the repository is shown, or with --all
every one that is kept.

The agent tells root and its own user everything, and others what it decided for
them. If it is not running, the file in its state directory is read.

Exit status: 0 the last decision admitted the image, 1 it refused it, 2 wrong usage,
3 it was not decided, nothing is recorded, or the record cannot be read.`,
		Example: `  touchmark why registry.example/acme/app
  touchmark why registry.example/acme/app@sha256:... -o json`,
		Args: imageref.One,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := console.CheckOutput(output); err != nil {
				return err
			}
			found, err := decisions(cmd.Context(), f, args[0])
			if err != nil {
				return err
			}
			if len(found) == 0 {
				return exit.Undecided(fmt.Errorf("no decision about %s is recorded here, under this very name; \"touchmark verify %s\" decides now", args[0], args[0]))
			}
			if !all {
				found = found[:1]
			}
			if output == "json" {
				err = console.JSON(cmd.OutOrStdout(), agent.Decisions{Decisions: found})
			} else {
				err = printDecisions(cmd.OutOrStdout(), found)
			}
			if err != nil {
				return err
			}
			return verdict.Error(gate.Verdict{Outcome: found[0].Outcome, Reason: found[0].Reason})
		},
	}
	f.Register(cmd)
	console.OutputFlag(cmd, &output, "text, or json for the whole record")
	cmd.Flags().BoolVar(&all, "all", false, "every decision that is kept, the latest first")
	return cmd
}

// decisions asks the agent, or reads its file if it is not running.
func decisions(ctx context.Context, f rules.HostFlags, image string) ([]store.Decision, error) {
	repository, digest, err := agent.ParseImage(image)
	if err != nil {
		return nil, exit.Usage(err)
	}
	return recorded(ctx, f, func(c *agent.Client) (agent.Decisions, error) { return c.Why(ctx, image) },
		func(s *store.Store) ([]store.Decision, error) {
			return s.Decisions(ctx, store.Query{Repository: repository, Digest: digest})
		})
}

// recorded gets decisions from the agent or, if it does not answer, from its
// file.
func recorded(ctx context.Context, f rules.HostFlags, ask func(*agent.Client) (agent.Decisions, error), read func(*store.Store) ([]store.Decision, error)) ([]store.Decision, error) {
	c, err := f.Find().Load()
	if err != nil {
		return nil, err
	}
	answer, err := ask(agent.NewClient(c.Agent.Socket))
	if err == nil {
		return answer.Decisions, nil
	}
	if !errors.Is(err, agent.ErrAway) {
		return nil, exit.Undecided(err)
	}
	s, readErr := store.Read(ctx, c.Agent.State)
	if readErr != nil {
		return nil, exit.Undecided(fmt.Errorf("%w; its record cannot be read either: %w", err, readErr))
	}
	defer func() { _ = s.Close() }() // it was only read
	found, err := read(s)
	if err != nil {
		return nil, exit.Undecided(err)
	}
	return found, nil
}

// printDecisions shows decisions to a person.
func printDecisions(w io.Writer, found []store.Decision) error {
	var text strings.Builder
	for i, d := range found {
		if i > 0 {
			fmt.Fprintln(&text)
		}
		who := "somebody"
		if d.UID >= 0 {
			who = fmt.Sprintf("user %d", d.UID)
		}
		if d.Client != "" {
			who += " with " + d.Client
		}
		fmt.Fprintf(&text, "Asked by %s on %s, %d times, last at %s.\n", who, d.Host, d.Count, d.Last.Format(time.RFC3339))
		var v gate.Verdict
		if err := json.Unmarshal(d.Verdict, &v); err != nil {
			return exit.Undecided(fmt.Errorf("reading the recorded verdict: %w", err))
		}
		verdict.Print(&text, v)
	}
	_, err := fmt.Fprint(w, console.Printable(text.String()))
	return err
}
