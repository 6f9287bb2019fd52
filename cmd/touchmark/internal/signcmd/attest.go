package signcmd

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/predicatetype"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/userfile"
	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/predicate"
	"github.com/touchmark/touchmark/core/sign"
)

// NewAttest makes touchmark attest.
func NewAttest() *cobra.Command {
	var s signing
	var p predicateFlags
	cmd := &cobra.Command{
		Use:   "attest IMAGE...",
		Short: "Attach a signed statement to images: provenance, an SBOM, a scan",
		Long: `attest signs an in-toto statement that says the predicate in --predicate of what
each IMAGE names, by its digest, and writes it beside the image: as a Sigstore
bundle (read by cosign 3) and as .att (read by cosign 2 and policy-controller),
with an entry in the log and a timestamp. An attestation is about the digest that
is named; with --recursive each platform of an index gets one, too.

` + predicateText + `

` + signWhoText + `

Exit status: 0 all attested, 2 wrong usage (a predicate of the wrong shape, a key, a
token or a password that is refused among it), 3 an image could not be attested.`,
		Example: `  touchmark attest --type slsaprovenance1 --predicate provenance.json registry.example/app:1
  syft registry.example/app:1 -o spdx-json | touchmark attest --type spdxjson --predicate - registry.example/app:1`,
		RunE: func(cmd *cobra.Command, args []string) error {
			attestation, err := p.load(cmd)
			if err != nil {
				return err
			}
			return s.run(cmd, args, func(ctx context.Context, c sign.Config, ref name.Reference, src attach.Source, o sign.Options) (*sign.Result, error) {
				return sign.Attest(ctx, c, ref, src, attestation, o)
			})
		},
	}
	s.register(cmd)
	p.register(cmd)
	cmd.Flags().BoolVar(&s.skipLegacy, "skip-legacy", false, "write no .att attestations")
	return cmd
}

const predicateText = `The predicate is one JSON object of at most 700 KiB. Its type is a URI or one of
cosign's names for them; for these the predicate must have the members without
which readers fall over. For "custom" it may be any text.`

// predicateFlags name a predicate.
type predicateFlags struct {
	file string
	kind predicatetype.Flag
}

func (f *predicateFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.file, "predicate", "", "`file` with the predicate; - is standard input")
	f.kind.Register(cmd)
}

// load reads the predicate; what is in it is checked where it is signed.
func (f predicateFlags) load(cmd *cobra.Command) (sign.Attestation, error) {
	uri, err := f.kind.URI()
	if err != nil {
		return sign.Attestation{}, err
	}
	if f.file == "" {
		return sign.Attestation{}, exit.Usage(errors.New("--predicate is missing: the file that holds it, or -"))
	}
	in, err := userfile.Open(cmd, f.file)
	if err != nil {
		return sign.Attestation{}, exit.Usage(fmt.Errorf("--predicate: %w", err))
	}
	defer in.Close()
	text, err := userfile.Read(in, f.file, predicate.MaxSize)
	if err != nil {
		return sign.Attestation{}, exit.Usage(fmt.Errorf("--predicate: %w", err))
	}
	return sign.Attestation{Type: uri, Predicate: text}, nil
}
