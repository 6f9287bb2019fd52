package policycmd

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"time"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/console"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/imageref"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/policyfile"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/rules"
	"github.com/touchmark/touchmark/core/configfile"
	"github.com/touchmark/touchmark/core/identity"
	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/core/policy"
)

// NewAllow makes touchmark allow.
func NewAllow() *cobra.Command {
	var f policyfile.File
	var reason, by, expires string
	cmd := &cobra.Command{
		Use:   "allow IMAGE",
		Short: "Make an exception of an image, for a while",
		Long: `allow writes an exception into a policy file: this very image is admitted until
--expires, whatever the policies say of it. A tag is resolved first, and the digest
is what is written. Of an index, the manifests of all its platforms are written too.

An exception lasts for 90 days at most. It overrides a refusal, never a revocation.
Its end is announced 14, 7 and 1 day ahead.

Exit status: 0 written, 2 wrong usage, 3 the registry or the file could not be used.`,
		Example: `  touchmark allow registry.example/acme/app:7 --reason "release 7 is not signed yet" --expires 14d`,
		Args:    imageref.One,
		RunE: func(cmd *cobra.Command, args []string) error {
			now := time.Now()
			if reason == "" || expires == "" {
				return exit.Usage(errors.New("--reason and --expires are required: somebody will ask why, and nothing should last by accident"))
			}
			until, err := parseAhead("expires", expires, now)
			if err != nil {
				return err
			}
			switch {
			case !until.After(now):
				return exit.Usage(fmt.Errorf("--expires %s is over already", expires))
			case until.After(now.Add(policy.MaxException)):
				return exit.Usage(fmt.Errorf("--expires %s is more than 90 days ahead", expires))
			}
			image, err := f.Resolve(cmd, args[0])
			if err != nil {
				return err
			}
			var changes []policy.Change
			image.Each(reason, func(digest, reason string) {
				x := policy.Exception{Repository: image.Repository, Digest: digest, Reason: reason, By: by, Expires: until}
				changes = append(changes, x.Change())
			})
			if err := f.Change(cmd.Context(), changes...); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: allowed until %s (%s)\n", image, until.Format(time.RFC3339), f.Path)
			return nil
		},
	}
	f.Register(cmd)
	cmd.Flags().StringVar(&reason, "reason", "", "`why`, for whoever asks later (required)")
	cmd.Flags().StringVar(&expires, "expires", "", "`when` it ends: a date (its last second, in UTC), a time, or days from now such as 14d (required)")
	cmd.Flags().StringVar(&by, "by", whoami(), "`who` decides")
	return cmd
}

// NewPin makes touchmark pin.
func NewPin() *cobra.Command {
	var f policyfile.File
	var reason, by, review string
	cmd := &cobra.Command{
		Use:   "pin IMAGE",
		Short: "Admit an image by its digest, without looking at signatures",
		Long: `pin writes a pin into a policy file: this very image is admitted until the pin is
taken out, without a request to its registry. A tag is resolved first, and the
digest is what is written. Of an index, the manifests of all its platforms are
written too.

At --review, somebody should look at it again. It is announced; nothing is refused
for it.

Exit status: 0 written, 2 wrong usage, 3 the registry or the file could not be used.`,
		Example: `  touchmark pin docker.io/library/postgres:17 --review 90d`,
		Args:    imageref.One,
		RunE: func(cmd *cobra.Command, args []string) error {
			at, err := parseAhead("review", review, time.Now())
			if err != nil {
				return err
			}
			image, err := f.Resolve(cmd, args[0])
			if err != nil {
				return err
			}
			var changes []policy.Change
			image.Each(reason, func(digest, reason string) {
				p := policy.Pin{Repository: image.Repository, Digest: digest, Reason: reason, By: by, Review: at}
				changes = append(changes, p.Change())
			})
			if err := f.Change(cmd.Context(), changes...); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: pinned, to be reviewed by %s (%s)\n", image, at.Format(time.DateOnly), f.Path)
			return nil
		},
	}
	f.Register(cmd)
	cmd.Flags().StringVar(&review, "review", "90d", "`when` to look at it again: a date, a time, or days from now")
	cmd.Flags().StringVar(&reason, "reason", "", "`why`, for whoever asks later")
	cmd.Flags().StringVar(&by, "by", whoami(), "`who` decides")
	return cmd
}

// revokeFlags say what is revoked.
type revokeFlags struct {
	file                                           policyfile.File
	identity, identityRegexp, issuer, issuerRegexp string
	key, from, until, reason                       string
}

// NewRevoke makes touchmark revoke.
func NewRevoke() *cobra.Command {
	var f revokeFlags
	cmd := &cobra.Command{
		Use:   "revoke [IMAGE]",
		Short: "Take back trust in an image, an identity or a key",
		Long: `revoke writes a revocation into a policy file. Nothing overrides it.

An image is refused wherever it lies; of an index, the manifests of all its platforms
are revoked too. Signatures by an identity or a key do not count if they were made
between --from and --until, or do not say when they were made; without these bounds,
none counts.

Exit status: 0 written, 2 wrong usage, 3 the registry or the file could not be used.`,
		Example: `  touchmark revoke registry.example/acme/app@sha256:... --reason "holds a miner"
  touchmark revoke --certificate-identity alice@acme.example --certificate-oidc-issuer https://login.acme.example \
    --from 2027-03-01 --until 2027-03-02 --reason "stolen token"
  touchmark revoke --key old.pub --reason "the laptop is gone"`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	f.file.Register(cmd)
	fl := cmd.Flags()
	fl.StringVar(&f.identity, "certificate-identity", "", "`identity` (e-mail address, URI) whose signatures are revoked")
	fl.StringVar(&f.identityRegexp, "certificate-identity-regexp", "", "regular `expression` that the whole identity must match")
	fl.StringVar(&f.issuer, "certificate-oidc-issuer", "", "`URL` of the OIDC issuer that vouched for the identity")
	fl.StringVar(&f.issuerRegexp, "certificate-oidc-issuer-regexp", "", "regular `expression` that the whole issuer must match")
	fl.StringVar(&f.key, "key", "", "PEM `file` of the public key whose signatures are revoked")
	fl.StringVar(&f.from, "from", "", "`when` the revoked signatures begin: a date (its start, in UTC) or a time")
	fl.StringVar(&f.until, "until", "", "`when` they end: a date (its last second, in UTC) or a time")
	fl.StringVar(&f.reason, "reason", "", "`why`, for whoever asks later (required)")
	return cmd
}

func (f revokeFlags) run(cmd *cobra.Command, args []string) error {
	signer := f.identity+f.identityRegexp+f.issuer+f.issuerRegexp != ""
	ways := 0
	for _, given := range []bool{len(args) == 1, signer, f.key != ""} {
		if given {
			ways++
		}
	}
	switch {
	case ways != 1:
		return exit.Usage(errors.New("say what is revoked: exactly one of an image, --certificate-identity (with --certificate-oidc-issuer) and --key"))
	case f.reason == "":
		return exit.Usage(errors.New("--reason is required: somebody will ask why"))
	case len(args) == 1 && f.from+f.until != "":
		return exit.Usage(errors.New("--from and --until are about when signatures were made, and don't go with an image"))
	}
	changes, what, err := f.changes(cmd, args)
	if err != nil {
		return err
	}
	if err := f.file.Change(cmd.Context(), changes...); err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s: revoked (%s)\n", console.Printable(what), f.file.Path)
	return nil
}

// changes are the changes, and what is revoked, for people.
func (f revokeFlags) changes(cmd *cobra.Command, args []string) ([]policy.Change, string, error) {
	if len(args) == 1 {
		image, err := f.file.Resolve(cmd, args[0])
		if err != nil {
			return nil, "", err
		}
		var changes []policy.Change
		image.Each(f.reason, func(digest, reason string) {
			changes = append(changes, policy.RevocationEntry{Digest: digest, Reason: reason}.Change())
		})
		return changes, image.String(), nil
	}
	from, err := parseWhen("from", f.from, false)
	if err != nil {
		return nil, "", err
	}
	until, err := parseWhen("until", f.until, true)
	if err != nil {
		return nil, "", err
	}
	entry := policy.RevocationEntry{From: from, Until: until, Reason: f.reason}
	what := f.key
	if f.key != "" {
		pub, err := keys.LoadPublic(f.key)
		if err != nil {
			return nil, "", exit.Usage(fmt.Errorf("--key: %w", err))
		}
		text, err := keys.MarshalPublic(pub)
		if err != nil {
			return nil, "", exit.Usage(fmt.Errorf("--key: %w", err))
		}
		entry.KeyPEM = string(text)
	} else {
		spec := identity.Spec{Issuer: f.issuer, IssuerRegExp: f.issuerRegexp, Subject: f.identity, SubjectRegExp: f.identityRegexp}
		m, err := rules.MatchSigner(spec)
		if err != nil {
			return nil, "", exit.Usage(err)
		}
		entry.Identity, what = &spec, m.String()
	}
	return []policy.Change{entry.Change()}, what, nil
}

// whoami names who decides: the user on this host, unless --by says otherwise.
func whoami() string {
	who := "unknown"
	if u, err := user.Current(); err == nil {
		who = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		who += "@" + host
	}
	return who
}

// parseWhen reads a date or a time. An empty text is no time.
func parseWhen(flag, text string, end bool) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := policy.ParseTime(text, end)
	if err != nil {
		return time.Time{}, exit.Usage(fmt.Errorf("--%s: %w", flag, err))
	}
	return t, nil
}

// parseAhead reads a number of days from now, or a date or a time.
func parseAhead(flag, text string, now time.Time) (time.Time, error) {
	if d, err := configfile.ParseDuration(text); err == nil {
		return now.Add(d).UTC().Truncate(time.Second), nil
	}
	t, err := policy.ParseTime(text, true)
	if err != nil {
		return time.Time{}, exit.Usage(fmt.Errorf("--%s: %w, nor days from now such as 14d", flag, err))
	}
	return t, nil
}
