package stackcmd

import (
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/services/stack"
)

// NewClient makes touchmark client.
func NewClient() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "client",
		Short: "Add, list and remove the machines that may sign",
		Long: `client administers machines, such as build systems, that fetch identity tokens from
"touchmark up" with a secret (OAuth client credentials). Their certificates say
NAME@clients.HOST, where HOST is the host of the public URL. A running "touchmark up"
sees each change at once.

Exit status: 0 done, 2 wrong usage, or a name that exists, does not exist or cannot be
used, 3 the accounts cannot be read or written.`,
	}
	data := cmd.PersistentFlags().String("data", "touchmark-data", "the data `directory` of touchmark up")
	cmd.AddCommand(newClientAdd(data), newClientList(data), newClientRemove(data))
	return cmd
}

func newClientAdd(data *string) *cobra.Command {
	return &cobra.Command{
		Use:   "add NAME",
		Short: "Add a machine and print its secret",
		Long: `add makes a secret and prints it, and nothing else, on standard output. It is shown
this once and kept only as a digest. Whom its certificates name is said on standard
error.`,
		Example: `  (umask 077; touchmark client add ci > ci.secret)
  cosign sign --fulcio-auth-flow client_credentials --oidc-client-id ci --oidc-client-secret-file ci.secret ...`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			store, err := stack.OpenAccounts(*data)
			if err != nil {
				return exit.Undecided(err)
			}
			secret, err := store.AddClient(args[0], time.Now())
			if err != nil {
				return accountError(err)
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "Added %s, who signs as %s. Its secret is not shown again:\n", args[0], store.ClientAddress(args[0]))
			_, err = fmt.Fprintln(cmd.OutOrStdout(), secret)
			return err
		},
	}
}

func newClientRemove(data *string) *cobra.Command {
	return &cobra.Command{
		Use:     "remove NAME",
		Short:   "Remove a machine",
		Example: `  touchmark client remove ci`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			store, err := stack.OpenAccounts(*data)
			if err != nil {
				return exit.Undecided(err)
			}
			if err := store.RemoveClient(args[0]); err != nil {
				return accountError(err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Removed %s.\n", args[0])
			return nil
		},
	}
}

func newClientList(data *string) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the machines that may sign, with the address of each",
		Example: `  touchmark client list`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			store, err := stack.OpenAccounts(*data)
			if err != nil {
				return exit.Undecided(err)
			}
			clients, err := store.Clients()
			if err != nil {
				return exit.Undecided(err)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			for _, c := range clients {
				fmt.Fprintf(w, "%s\t%s\t%s\n", c.Name, store.ClientAddress(c.Name), c.Created.Format(time.RFC3339))
			}
			return w.Flush()
		},
	}
}
