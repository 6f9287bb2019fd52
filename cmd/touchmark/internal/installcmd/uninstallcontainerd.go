package installcmd

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/containerd"
	"github.com/touchmark/touchmark/containerd/install"
)

func newUninstallContainerd() *cobra.Command {
	var root string
	var edited editedFlags
	var yes bool
	cmd := &cobra.Command{
		Use:   "containerd",
		Short: "Put containerd's configuration back as it was before it was installed",
		Long: `uninstall containerd restores, byte for byte, every file that "touchmark install
containerd" changed, and takes away what it made. What the agent remembers (verdicts, its
log) stays in its state directory.

From then on every image is admitted. A file that somebody edited in between is not
touched, and nothing else is either: undo the edit, or say --leave FILE to keep it as it
is now, or --restore FILE to lose the edit. In config.yaml, which others share, what is Touchmark's is taken out.

Exit status: 0 done; 2 wrong usage, or not confirmed; 3 could not be done.`,
		Example: `  touchmark uninstall containerd
  touchmark uninstall containerd --leave /etc/containerd/config.toml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			changes, err := install.Removal(containerd.Host{Root: root}, edited.Edited)
			if err != nil {
				return exit.Usage(err)
			}
			if err := confirm(cmd, install.Conceal(changes.Diff()), changes.Notes, yes); err != nil {
				return err
			}
			if err := changes.Apply(cmd.Context()); err != nil {
				return exit.Undecided(fmt.Errorf("%w; run it again to finish", err))
			}
			next := "stop the agent, if nobody else asks it"
			if changes.Restart {
				next = "restart containerd, whose configuration has changed, and then " + next
			}
			fmt.Fprintln(cmd.OutOrStdout(), "uninstalled; "+next)
			return nil
		},
	}
	cmd.Flags().StringVar(&root, "root", "", "`directory` in the place of /, such as a mounted image of a node")
	edited.register(cmd)
	cmd.Flags().BoolVar(&yes, "yes", false, "change it without asking")
	return cmd
}
