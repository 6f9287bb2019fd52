// Package trustcmd has touchmark trust, which fetches trust roots by TUF.
package trustcmd

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/console"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/rules"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/userfile"
	"github.com/touchmark/touchmark/core/configfile"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/trust/publicgood"
	"github.com/touchmark/touchmark/core/trust/tuf"
)

// New makes touchmark trust.
func New() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "trust",
		Short: "Follow the trust root of a Sigstore",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return exit.Usage(errors.New("say what to do: touchmark trust fetch"))
		},
	}
	cmd.AddCommand(newTrustFetch())
	return cmd
}

// fetchFlags say what is followed and where the result goes.
type fetchFlags struct {
	mirror, root, out, signingConfig, cache string
	maxStale                                string // a duration, with days
	offline                                 bool
}

func newTrustFetch() *cobra.Command {
	var f fetchFlags
	cmd := &cobra.Command{
		Use:   "fetch",
		Short: "Fetch the newest trusted_root.json by TUF",
		Long: `fetch writes the newest trusted_root.json that a Sigstore publishes by TUF (The
Update Framework). It starts from --root, the root.json that its operators handed
out ("touchmark up" writes it to DIR/trust/root.json), and verifies everything from
there on. The mirror need not be trusted: it cannot change anything, and not take
anybody back to what was before.

--mirror public-good stands for Sigstore's public instance, whose root is built in.

What was seen is kept in --cache, by default in the user's cache directory; with
--offline it is all that is read. Metadata that has expired is reported, and refused
--max-stale after its end.

The file is replaced only by one that can be read as a trusted root. Run fetch from a
timer, and give the file to --trusted-root.

Exit status: 0 written, 2 wrong usage, 3 not fetched or not verified; then the files
are as they were.`,
		Example: `  touchmark trust fetch --mirror https://sigstore.acme.example/tuf --root root.json --out trusted_root.json
  touchmark trust fetch --mirror public-good --out public-good.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.mirror, "mirror", "", "`URL` of the TUF repository, or public-good")
	fl.StringVar(&f.root, "root", "", "`file` with the root.json to start from")
	fl.StringVar(&f.out, "out", "trusted_root.json", "`file` to write the trusted root to")
	fl.StringVar(&f.signingConfig, "signing-config-out", "", "`file` to write the signing config to, for signers")
	fl.StringVar(&f.cache, "cache", "", "`directory` for what was seen of this repository")
	fl.BoolVar(&f.offline, "offline", false, "read the cache only")
	fl.StringVar(&f.maxStale, "max-stale", fmt.Sprintf("%dd", tuf.DefaultMaxStale/(24*time.Hour)), "how `long` after its end metadata is accepted, such as 30d or 36h; 0 is strict")
	return cmd
}

func (f fetchFlags) run(cmd *cobra.Command) error {
	client, err := f.client()
	if err != nil {
		return exit.Usage(err)
	}
	result, err := f.fetch(cmd.Context(), client)
	if err != nil {
		return exit.Undecided(err)
	}
	for _, warning := range result.Warnings {
		fmt.Fprintf(cmd.ErrOrStderr(), "touchmark: warning: %s\n", console.Printable(warning))
	}
	// Both are looked at before either is written.
	fetched, err := trust.Parse("fetched", result.TrustedRoot)
	if err == nil {
		err = fetched.Check()
	}
	if err != nil {
		return exit.Undecided(fmt.Errorf("the repository publishes what cannot be used: %w", err))
	}
	if f.signingConfig != "" {
		if result.SigningConfig == nil {
			return exit.Undecided(errors.New("the repository publishes no signing config"))
		}
		if _, err := trust.ParseSigningConfig(result.SigningConfig); err != nil {
			return exit.Undecided(fmt.Errorf("the repository publishes what cannot be used: %w", err))
		}
		if err := userfile.Replace(f.signingConfig, result.SigningConfig, 0o644); err != nil {
			return exit.Undecided(err)
		}
	}
	if err := userfile.Replace(f.out, result.TrustedRoot, 0o644); err != nil {
		return exit.Undecided(err)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s: by root version %d, good until %s\n", f.out, result.RootVersion, result.Expires.UTC().Format(time.RFC3339))
	return nil
}

func (f fetchFlags) fetch(ctx context.Context, client tuf.Client) (*tuf.Result, error) {
	if f.offline {
		return client.Offline()
	}
	return client.Refresh(ctx)
}

// client is the client for these flags. Its cache is named after the root that it starts from, which tells repositories apart.
func (f fetchFlags) client() (tuf.Client, error) {
	maxStale, err := configfile.ParseDuration(f.maxStale)
	if err != nil {
		return tuf.Client{}, fmt.Errorf("--max-stale: %w", err)
	}
	client := tuf.Client{Mirror: f.mirror, CacheDir: f.cache, MaxStale: maxStale}
	switch {
	case f.mirror == "":
		return client, errors.New("--mirror is missing: the URL of the TUF repository, or public-good")
	case maxStale < 0:
		return client, fmt.Errorf("--max-stale %s is negative", f.maxStale)
	case f.out == "":
		return client, errors.New("--out is missing")
	case f.root != "":
		if client.Root, err = configfile.Read(f.root, rules.MaxTUFRoot); err != nil {
			return client, fmt.Errorf("--root: %w", err)
		}
	case f.mirror == publicgood.Name:
		client.Root = publicgood.TUFRoot()
	default:
		return client, errors.New("--root is missing: the root.json that the operators of the repository handed out")
	}
	if f.mirror == publicgood.Name {
		client.Mirror = publicgood.Mirror
	}
	if client.CacheDir == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return client, fmt.Errorf("--cache is missing, and there is no directory of the user's for it: %w", err)
		}
		sum := sha256.Sum256(client.Root)
		client.CacheDir = filepath.Join(dir, "touchmark", "tuf", hex.EncodeToString(sum[:8]))
	}
	return client, nil
}
