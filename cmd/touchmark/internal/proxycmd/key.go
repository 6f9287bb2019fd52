package proxycmd

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/fingerprints"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/keyopen"
	"github.com/touchmark/touchmark/core/countersign"
	"github.com/touchmark/touchmark/registry-proxy/config"
)

func newKey() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Show the key that the proxy countersigns with, make or exchange it",
		Long: `key lists the certificates whose countersignatures clients accept that have the
proxy's authority file, by SHA-256: that of the key that signs first, and previous ones
that were not retired.

Clients accept what is in their copy of countersign.authority, which "touchmark
client-config podman" prints: whenever that file changes, they need it again. Replicas
have the same key and the same authority.

Exit status: 0 listed, 2 there is none, or a file is wrong.`,
		Example: `  touchmark proxy key --config /etc/touchmark/proxy.yaml
  touchmark proxy key make --config proxy.yaml && scp countersign.* other:/etc/touchmark/`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return withKey(cmd, file, nil) },
	}
	cmd.PersistentFlags().StringVar(&file, "config", "", "`file` with the proxy's configuration, whose countersign names key and authority")
	cmd.AddCommand(&cobra.Command{
		Use:   "make",
		Short: "Make the key and its authority's certificate, if they are not there",
		Long: `make makes what is missing of key and authority, and changes nothing that is there. A
proxy that is alone does so itself when it starts, where it may write; replicas are given
one key in common. Of a key in a KMS or on a token, the authority's certificate is made.

Exit status: 0 they are there, 2 a file is wrong or can't be written.`,
		Example: `  touchmark proxy key make --config proxy.yaml`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withKey(cmd, file, func(c countersign.Config) error {
				_, err := countersign.Generate(cmd.Context(), c)
				return err
			})
		},
	}, &cobra.Command{
		Use:   "rotate",
		Short: "Make a new key; the previous one is still accepted",
		Long: `rotate makes a new key in the place of the previous one. The authority file has both
from then on: give it to the clients first, then start the proxy (and its replicas, with
both files) again, which signs with the previous key until then. Take the previous one
away with "touchmark proxy key retire", ten minutes after that.

A key in a KMS or on a token is exchanged there: name the new one as countersign.key, and
run "touchmark proxy key make".

Exit status: 0 rotated, 2 a file is wrong, or the key is not in a file.`,
		Example: `  touchmark proxy key rotate --config proxy.yaml`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withKey(cmd, file, func(c countersign.Config) error { return countersign.Rotate(cmd.Context(), c) })
		},
	}, &cobra.Command{
		Use:   "retire",
		Short: "Take previous keys out of the authority file",
		Long: `retire leaves the current key's certificate alone in the authority file. Clients that
are given it then accept no countersignature by a previous key: every replica must have
been started with the current one ten minutes before.

Exit status: 0 retired, 2 a file is wrong.`,
		Example: `  touchmark proxy key retire --config proxy.yaml`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withKey(cmd, file, func(c countersign.Config) error { return countersign.Retire(cmd.Context(), c) })
		},
	})
	return cmd
}

// withKey changes the proxy's key, if it is to be changed, and lists what clients accept then.
func withKey(cmd *cobra.Command, file string, change func(countersign.Config) error) error {
	if file == "" {
		return exit.Usage(errors.New("--config is missing: the proxy's configuration names the key"))
	}
	c, err := config.Load(file)
	if err != nil {
		return exit.Usage(err)
	}
	if c.Countersign.Key == "" {
		return exit.Usage(fmt.Errorf("%s: countersign is missing: this proxy countersigns nothing", file))
	}
	key := c.Countersign.Of(keyopen.Public())
	if change != nil {
		if err := change(key); err != nil {
			return exit.Usage(err)
		}
	}
	err = fingerprints.Print(cmd.OutOrStdout(), key)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w; \"touchmark proxy key make --config %s\" makes one", err, file)
	}
	if err != nil {
		return exit.Usage(err)
	}
	return nil
}
