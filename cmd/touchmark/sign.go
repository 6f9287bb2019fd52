package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/core/sign"
	"github.com/touchmark/touchmark/core/token"
	"github.com/touchmark/touchmark/core/trust"
)

func newSign() *cobra.Command {
	var flags signFlags
	var registry registryFlags
	var output string
	cmd := &cobra.Command{
		Use:   "sign IMAGE",
		Short: "Sign an image: its index and each platform in it",
		Long: `sign signs what IMAGE names, and if that is an index, each platform's manifest,
too. Each gets a Sigstore bundle (read by cosign 3) and a .sig signature (read by
cosign 2, podman and skopeo) beside it in the registry, with an entry in the log
and a timestamp.

Who signs is said by an identity token, which is exchanged for a certificate that
is valid for ten minutes (--identity-token, or --as with a development server), or
by a key file (--key). The services are those of --server, or of a signing config.
With one that names a Rekor v2 log only, no .sig signatures are written: their
readers know v1.

With --trusted-root, every signature is verified under it before anything is
written to the registry. The trusted root is never fetched from the server: who
could change the one could change the other.

Registry credentials are those of docker login or podman login. Plain HTTP to the
registry is tried, after HTTPS, for loopback and private (RFC 1918) addresses,
and for others with --allow-http-registry only.
The passphrase of an encrypted cosign key is read from COSIGN_PASSWORD.

Exit status: 0 signed, 2 wrong usage, 3 could not sign.`,
		Example: `  touchmark sign --as alice@acme.example 127.0.0.1:5000/app:1
  touchmark sign --server https://sigstore.acme.example --identity-token token.jwt registry.example/app:1
  touchmark sign --key release.key --signing-config signing_config.v0.2.json registry.example/app:1`,
		Args: oneImage,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkOutput(output); err != nil {
				return err
			}
			ref, err := registry.parse(args[0])
			if err != nil {
				return err
			}
			config, err := flags.config(cmd.Context())
			if err != nil {
				return err
			}
			opts := sign.Options{SkipPlatforms: flags.skipPlatforms, SkipLegacy: flags.skipLegacy}
			result, err := sign.Image(cmd.Context(), config, ref, registry.source(ref.Context()), opts)
			if err != nil {
				return undecided(err)
			}
			if output == "json" {
				return printJSON(cmd.OutOrStdout(), result)
			}
			printSigned(cmd.OutOrStdout(), result)
			return nil
		},
	}
	flags.register(cmd)
	registry.register(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text, or json for everything that was written")
	return cmd
}

// signFlags say who signs, with which services.
type signFlags struct {
	server, signingConfig, trustedRoot string
	identityToken, as, key             string
	insecureHTTP                       bool
	skipPlatforms, skipLegacy          bool
}

func (f *signFlags) register(cmd *cobra.Command) {
	server := os.Getenv("TOUCHMARK_SERVER")
	if server == "" {
		server = "http://127.0.0.1:7465"
	}
	fl := cmd.Flags()
	fl.StringVar(&f.server, "server", server, "`URL` of a Touchmark server, whose signing config is used; also TOUCHMARK_SERVER")
	fl.StringVar(&f.signingConfig, "signing-config", "", "`file` that names the services, instead of the server's")
	fl.StringVar(&f.trustedRoot, "trusted-root", "", "`file` with which each signature is verified before it is written")
	fl.StringVar(&f.identityToken, "identity-token", "", "identity `token`, or the file that holds it")
	fl.StringVar(&f.as, "as", "", "e-mail `address` to get a token for from the server's development issuer")
	fl.StringVar(&f.key, "key", "", "private key `file` (PEM, readable by its owner only) to sign with instead of a certificate")
	fl.BoolVar(&f.insecureHTTP, "allow-http-server", false, "allow plain HTTP to services on other machines, which shows them the identity token")
	fl.BoolVar(&f.skipPlatforms, "skip-platforms", false, "sign an index without the manifests in it")
	fl.BoolVar(&f.skipLegacy, "skip-legacy", false, "write no .sig signatures")
}

func (f signFlags) config(ctx context.Context) (sign.Config, error) {
	c := sign.Config{InsecureHTTP: f.insecureHTTP}
	if err := f.signer(&c); err != nil {
		return c, usageError(err)
	}
	var err error
	if f.trustedRoot != "" {
		if c.Root, err = trust.Load(f.trustedRoot, f.trustedRoot); err != nil {
			return c, usageError(fmt.Errorf("--trusted-root: %w", err))
		}
	}
	if f.signingConfig != "" {
		if c.Signing, err = trust.LoadSigningConfig(f.signingConfig); err != nil {
			return c, usageError(fmt.Errorf("--signing-config: %w", err))
		}
		return c, nil
	}
	if c.Signing, err = sign.FetchSigningConfig(ctx, nil, f.server, f.insecureHTTP); err != nil {
		return c, undecided(err)
	}
	return c, nil
}

// signer sets who signs: exactly one of the three ways.
func (f signFlags) signer(c *sign.Config) error {
	ways := 0
	for _, given := range []string{f.identityToken, f.as, f.key} {
		if given != "" {
			ways++
		}
	}
	switch {
	case ways != 1:
		return errors.New("say who signs with exactly one of --identity-token, --as and --key")
	case f.as != "":
		c.Token = token.DevIssuer{Server: f.server, Subject: f.as}
	case f.key != "":
		file := keys.File{Path: f.key}
		if passphrase, ok := os.LookupEnv("COSIGN_PASSWORD"); ok {
			file.Passphrase = []byte(passphrase)
		}
		key, err := file.Load()
		if errors.Is(err, keys.ErrPassphrase) {
			err = fmt.Errorf("%w; it is taken from COSIGN_PASSWORD", err)
		}
		if err != nil {
			return fmt.Errorf("--key: %w", err)
		}
		c.Key = key
	case token.Looks(f.identityToken):
		c.Token = token.Given(f.identityToken)
	default:
		c.Token = token.File(f.identityToken)
		if _, err := os.Stat(f.identityToken); err != nil {
			return errors.New("--identity-token: neither a token nor a file that can be read") // its value may be a secret
		}
	}
	return nil
}

func printSigned(w io.Writer, r *sign.Result) {
	fmt.Fprintf(w, "signed: %s@%s\n", r.Repository, r.Digest)
	if r.Identity != nil {
		fmt.Fprintf(w, "by:     %s (from %s)\n", r.Identity.Subject, r.Identity.Issuer)
	} else {
		fmt.Fprintf(w, "by:     key %s\n", r.KeyHint)
	}
	if r.NoLegacy != "" {
		fmt.Fprintf(w, "no .sig signatures: %s\n", r.NoLegacy)
	}
	if !r.Verified {
		fmt.Fprintln(w, "not verified: no --trusted-root given")
	}
	for _, s := range r.Signatures {
		what := s.Platform
		if what == "" {
			what = "image"
		}
		fmt.Fprintf(w, "%-14s  %s  log index %d", what, s.Digest, s.Bundle.LogIndex)
		if s.Legacy != nil {
			fmt.Fprintf(w, " and %d", s.Legacy.LogIndex)
		}
		if t := s.Bundle.Timestamp; t != nil {
			fmt.Fprintf(w, ", %s", t.UTC().Format(time.RFC3339))
		}
		fmt.Fprintln(w)
	}
}
