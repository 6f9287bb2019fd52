package agentcmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/fingerprints"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/keyopen"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/rules"
	"github.com/touchmark/touchmark/core/countersign"
	"github.com/touchmark/touchmark/services/agent"
)

func newAgentKey() *cobra.Command {
	var f rules.HostFlags
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Show the key of this host's countersignatures, or exchange it",
		Long: `key lists the keys whose countersignatures podman, skopeo, buildah and CRI-O accept
here, by fingerprint: the one that signs first, and previous ones that were not
retired. docs/countersignatures.md says what the key is for.

Exit status: 0 listed, 2 there is none, or a file is wrong.`,
		Example: `  touchmark agent key
  touchmark agent key rotate && systemctl restart touchmark-agent`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := hostKey(f)
			if err != nil {
				return err
			}
			return showKeys(cmd, c)
		},
	}
	f.Register(cmd)
	cmd.AddCommand(newAgentKeyRotate(), newAgentKeyRetire())
	return cmd
}

func newAgentKeyRotate() *cobra.Command {
	var f rules.HostFlags
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Make a new key; the previous one is still accepted",
		Long: `rotate makes a new key in the place of the previous one. Clients accept both from
then on: the agent signs with the previous key until it is started again. Take the
previous one away with "touchmark agent key retire", ten minutes after that.

A key in a KMS or on a token is exchanged there: name the new one as podman.key in
config.yaml, run "touchmark install podman", and start the agent again.

Exit status: 0 rotated, 2 a file is wrong, or the key is not in a file.`,
		Example: `  touchmark agent key rotate && systemctl restart touchmark-agent`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := changeKeys(cmd, f, func(c countersign.Config) error { return countersign.Rotate(cmd.Context(), c) }); err != nil {
				return err
			}
			fmt.Fprintln(cmd.ErrOrStderr(), "now restart the agent, and ten minutes later: touchmark agent key retire")
			return nil
		},
	}
	f.Register(cmd)
	return cmd
}

func newAgentKeyRetire() *cobra.Command {
	var f rules.HostFlags
	cmd := &cobra.Command{
		Use:   "retire",
		Short: "Stop accepting countersignatures by previous keys",
		Long: `retire takes previous keys out of the file that policy.json names. Images that an
agent admits with one of them can't be pulled any more: start it with the new key ten
minutes before. As long as the running agent signs with a previous key, nothing is done.

Exit status: 0 retired, 2 a file is wrong, or the agent has a previous key.`,
		Example: `  touchmark agent key retire`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return changeKeys(cmd, f, func(c countersign.Config) error {
				if err := agentHasKey(cmd.Context(), f, c); err != nil {
					return err
				}
				return countersign.Retire(cmd.Context(), c)
			})
		},
	}
	f.Register(cmd)
	return cmd
}

// agentHasKey reports that the running agent signs with another key than the current
// one. An agent that does not run will have the current one.
func agentHasKey(ctx context.Context, f rules.HostFlags, key countersign.Config) error {
	c, err := f.Load()
	if err != nil {
		return err
	}
	status, err := agent.NewClient(c.Agent.Socket).Status(ctx)
	if errors.Is(err, agent.ErrAway) || err == nil && status.Key == "" { // it signs nothing
		return nil
	}
	if err != nil {
		return err
	}
	keys, err := countersign.Fingerprints(key)
	if err == nil && keys[0] != status.Key {
		err = fmt.Errorf("retiring countersigning keys: the running agent signs with %s still: restart it, and retire ten minutes later", status.Key)
	}
	return err
}

// hostKey is where the host's key lies.
func hostKey(f rules.HostFlags) (countersign.Config, error) {
	c, err := f.Load()
	if err != nil {
		return countersign.Config{}, err
	}
	return countersign.ForHost(c, keyopen.Public()), nil
}

// changeKeys changes the host's keys, and lists what they are then.
func changeKeys(cmd *cobra.Command, f rules.HostFlags, change func(countersign.Config) error) error {
	c, err := hostKey(f)
	if err != nil {
		return err
	}
	if _, err := countersign.Fingerprints(c); err != nil {
		return noKeys(err)
	}
	if err := change(c); err != nil {
		return exit.Usage(err)
	}
	return showKeys(cmd, c)
}

func showKeys(cmd *cobra.Command, c countersign.Config) error {
	if err := fingerprints.Print(cmd.OutOrStdout(), c); err != nil {
		return noKeys(err)
	}
	return nil
}

// noKeys is what a host without keys is told.
func noKeys(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w; \"touchmark install podman\" makes a key", err)
	}
	return exit.Usage(err)
}
