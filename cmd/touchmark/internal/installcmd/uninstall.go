package installcmd

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/core/hostfiles"
	"github.com/touchmark/touchmark/podman/install"
)

// NewUninstall makes touchmark uninstall.
func NewUninstall() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Put a host's configuration back as it was",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return exit.Usage(errors.New("say for which clients: touchmark uninstall podman, or touchmark uninstall containerd"))
		},
	}
	cmd.AddCommand(newUninstallPodman(), newUninstallContainerd())
	return cmd
}

// editedFlags say what is to become of files that somebody edited.
type editedFlags struct{ hostfiles.Edited }

func (f *editedFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.Leave, "leave", nil, "`file` to leave as it is now; can be repeated")
	cmd.Flags().StringArrayVar(&f.Restore, "restore", nil, "`file` to put back as it was, though somebody edited it; can be repeated")
}

func newUninstallPodman() *cobra.Command {
	var where Where
	var edited editedFlags
	var yes bool
	cmd := &cobra.Command{
		Use:   "podman",
		Short: "Put podman's configuration back as it was before it was installed",
		Long: `uninstall podman restores, byte for byte, every file that "touchmark install podman"
changed, and takes away what it made, the host's key too. What the agent remembers
(verdicts, its log) stays in its state directory.

A file that somebody edited in between is not touched, and nothing else is either: undo
the edit, or say --leave FILE to keep it as it is now, or --restore FILE to lose the edit.

Exit status: 0 done; 2 wrong usage, or not confirmed; 3 could not be done.`,
		Example: `  touchmark uninstall podman
  touchmark uninstall podman --leave /etc/containers/policy.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			host, _, err := where.Host()
			if err != nil {
				return err
			}
			changes, err := install.PlanRemoval(host, edited.Edited)
			if err != nil {
				return exit.Usage(err)
			}
			if err := confirm(cmd, changes.Diff(), changes.Notes, yes); err != nil {
				return err
			}
			if err := changes.Apply(cmd.Context()); err != nil {
				return exit.Undecided(fmt.Errorf("%w; run it again to finish", err))
			}
			fmt.Fprintln(cmd.OutOrStdout(), "uninstalled; stop the agent, if it still runs")
			return nil
		},
	}
	where.Register(cmd)
	edited.register(cmd)
	cmd.Flags().BoolVar(&yes, "yes", false, "change it without asking")
	return cmd
}
