package stackcmd

import (
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/services/issuer/accounts"
	"github.com/touchmark/touchmark/services/stack"
)

// NewUser makes touchmark user.
func NewUser() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "user",
		Short: "Add, list and remove the people who may sign",
		Long: `user administers the people who sign in at the login page of "touchmark up", with an
e-mail address and a password. Who adds somebody vouches for the address: it is what
their certificates say.

The accounts are in users.json in the data directory, passwords as Argon2id. A
running "touchmark up" sees each change at once. Machines have accounts of their own:
"touchmark client".

Exit status: 0 done, 2 wrong usage, an address that exists or does not exist, or a
password that cannot be used, 3 the accounts cannot be read or written.`,
	}
	data := cmd.PersistentFlags().String("data", "touchmark-data", "the data `directory` of touchmark up")
	cmd.AddCommand(newUserAdd(data), newUserList(data), newUserRemove(data), newUserPasswd(data))
	return cmd
}

func newUserAdd(data *string) *cobra.Command {
	var fromStdin bool
	cmd := &cobra.Command{
		Use:   "add EMAIL",
		Short: "Add a person, with a password that is asked for",
		Example: `  touchmark user add alice@acme.example
  pwgen -s 24 1 | touchmark user add bob@acme.example --password-stdin --data /var/lib/touchmark`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			store, err := stack.OpenAccounts(*data)
			if err != nil {
				return exit.Undecided(err)
			}
			if err := accounts.CheckAddress(args[0]); err != nil {
				return exit.Usage(err)
			}
			password, err := readPassword(cmd, fromStdin)
			if err != nil {
				return err
			}
			if err := store.AddUser(args[0], password, time.Now()); err != nil {
				return accountError(err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Added %s.\n", args[0])
			return nil
		},
	}
	cmd.Flags().BoolVar(&fromStdin, "password-stdin", false, "read the password from standard input, one line")
	return cmd
}

func newUserPasswd(data *string) *cobra.Command {
	var fromStdin bool
	cmd := &cobra.Command{
		Use:     "passwd EMAIL",
		Short:   "Give a person another password",
		Example: `  touchmark user passwd alice@acme.example`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			store, err := stack.OpenAccounts(*data)
			if err != nil {
				return exit.Undecided(err)
			}
			password, err := readPassword(cmd, fromStdin)
			if err != nil {
				return err
			}
			if err := store.SetPassword(args[0], password); err != nil {
				return accountError(err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s has another password.\n", args[0])
			return nil
		},
	}
	cmd.Flags().BoolVar(&fromStdin, "password-stdin", false, "read the password from standard input, one line")
	return cmd
}

func newUserRemove(data *string) *cobra.Command {
	return &cobra.Command{
		Use:   "remove EMAIL",
		Short: "Remove a person",
		Long: `remove takes a person's account away. They get no more tokens. Certificates that they
have live for ten minutes at most; what they signed stays signed.`,
		Example: `  touchmark user remove alice@acme.example`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			store, err := stack.OpenAccounts(*data)
			if err != nil {
				return exit.Undecided(err)
			}
			if err := store.RemoveUser(args[0]); err != nil {
				return accountError(err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Removed %s.\n", args[0])
			return nil
		},
	}
}

func newUserList(data *string) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the people who may sign",
		Example: `  touchmark user list`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			store, err := stack.OpenAccounts(*data)
			if err != nil {
				return exit.Undecided(err)
			}
			users, err := store.Users()
			if err != nil {
				return exit.Undecided(err)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			for _, u := range users {
				fmt.Fprintf(w, "%s\t%s\n", u.Email, u.Created.Format(time.RFC3339))
			}
			return w.Flush()
		},
	}
}

// accountError tells what the caller has given from what could not be done.
func accountError(err error) error {
	if errors.Is(err, accounts.ErrInput) || errors.Is(err, accounts.ErrExists) || errors.Is(err, accounts.ErrUnknown) {
		return exit.Usage(err)
	}
	return exit.Undecided(err)
}
