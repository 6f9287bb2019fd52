// Package signcmd has the commands that sign: images (sign, attest), files (sign-blob,
// attest-blob), and the configuration with which skopeo and podman sign (client-config
// skopeo). Who signs, and with which services, all of them are told alike. The work is
// done by core/sign.
package signcmd

import (
	"context"
	"fmt"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/console"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/imageref"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/userfile"
	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/sign"
)

// NewSign makes touchmark sign.
func NewSign() *cobra.Command {
	s := signing{recursive: true}
	cmd := &cobra.Command{
		Use:   "sign IMAGE...",
		Short: "Sign images: the index of each and each platform in it",
		Long: `sign signs what each IMAGE names, and if that is an index, each platform's
manifest, too. Each gets a Sigstore bundle (read by cosign 3) and a .sig signature
(read by cosign 2, podman and skopeo) beside it in the registry, with an entry in
the log and a timestamp. With a signing config that names a Rekor v2 log only, no
.sig signatures are written: their readers know v1.

` + signWhoText + `

Registry credentials are those of docker login or podman login. Plain HTTP to the
registry is tried, after HTTPS, for loopback and private (RFC 1918) addresses,
and for others with --allow-http-registry only.

An image that cannot be signed does not keep the others from being signed.

Exit status: 0 all signed, 2 wrong usage (a key, a token or a password that is
refused among it), 3 an image could not be signed.`,
		Example: `  touchmark sign --as alice@acme.example 127.0.0.1:5000/app:1
  touchmark sign --server https://sigstore.acme.example --identity-token token.jwt registry.example/app:1 registry.example/db:1
  touchmark sign --key release.key --signing-config signing_config.v0.2.json registry.example/app:1`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.run(cmd, args, func(ctx context.Context, c sign.Config, ref name.Reference, src attach.Source, o sign.Options) (*sign.Result, error) {
				return sign.Image(ctx, c, ref, src, o)
			})
		},
	}
	s.register(cmd)
	cmd.Flags().BoolVar(&s.skipLegacy, "skip-legacy", false, "write no .sig signatures")
	return cmd
}

// signing is a command that signs or attests images.
type signing struct {
	flags                 signFlags
	registry              imageref.Flags
	output, bundle        string
	recursive, skipLegacy bool
}

func (s *signing) register(cmd *cobra.Command) {
	s.flags.register(cmd)
	s.registry.Register(cmd)
	fl := cmd.Flags()
	fl.BoolVarP(&s.recursive, "recursive", "r", s.recursive, "each platform of an index, too")
	fl.StringVar(&s.bundle, "bundle", "", "`file` to write the bundle of the (one) image to, too")
	console.OutputFlag(cmd, &s.output, "text, or json for everything that was written, one document for each image")
}

// run signs one image after the other.
func (s *signing) run(cmd *cobra.Command, images []string, one func(context.Context, sign.Config, name.Reference, attach.Source, sign.Options) (*sign.Result, error)) error {
	if err := console.CheckOutput(s.output); err != nil {
		return err
	}
	refs, err := s.references(images)
	if err != nil {
		return err
	}
	config, err := s.flags.config(cmd)
	if err != nil {
		return err
	}
	var failures []error
	for i, ref := range refs {
		p := newProgress(cmd.ErrOrStderr(), images[i])
		opts := sign.Options{SkipPlatforms: !s.recursive, SkipLegacy: s.skipLegacy, Progress: p.report}
		result, err := one(cmd.Context(), config, ref, s.registry.Source(ref.Context()), opts)
		p.clear()
		if result != nil {
			if err := s.show(cmd, result); err != nil {
				return err
			}
		}
		if err == nil {
			continue
		}
		failures = append(failures, signError(err))
		if len(refs) > 1 {
			fmt.Fprintf(cmd.ErrOrStderr(), "touchmark: %s\n", console.Printable(err.Error()))
		}
		if cmd.Context().Err() != nil {
			break
		}
	}
	return signFailure(failures, len(refs))
}

// references reads the arguments before anything is signed.
func (s *signing) references(images []string) ([]name.Reference, error) {
	if len(images) == 0 {
		return nil, exit.Usage(fmt.Errorf("want at least one image"))
	}
	if s.bundle != "" && len(images) > 1 {
		return nil, exit.Usage(fmt.Errorf("--bundle is for one image, have %d", len(images)))
	}
	var refs []name.Reference
	for _, image := range images {
		ref, err := s.registry.Parse(image)
		if err != nil {
			return nil, err
		}
		refs = append(refs, ref)
	}
	return refs, nil
}

func (s *signing) show(cmd *cobra.Command, result *sign.Result) error {
	if s.bundle != "" && result.Incomplete == "" {
		whole := result.Signatures[len(result.Signatures)-1] // what the reference named
		if err := userfile.Write(s.bundle, whole.JSON); err != nil {
			return exit.Undecided(fmt.Errorf("--bundle: %w; the image is signed nevertheless", err))
		}
	}
	if s.output == "json" {
		return console.JSON(cmd.OutOrStdout(), result)
	}
	return printSigned(cmd.OutOrStdout(), result)
}

// signFailure is the last word on a run: what failed where several images were to be signed has been said before.
func signFailure(failures []error, images int) error {
	if len(failures) == 0 {
		return nil
	}
	if images == 1 {
		return failures[0]
	}
	err := fmt.Errorf("%d of %d images could not be signed", len(failures), images)
	for _, failure := range failures {
		if exit.Status(failure) != exit.StatusUsage {
			return exit.Undecided(err)
		}
	}
	return exit.Usage(err)
}
