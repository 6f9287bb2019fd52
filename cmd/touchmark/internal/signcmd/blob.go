package signcmd

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/console"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/userfile"
	"github.com/touchmark/touchmark/core/predicate"
	"github.com/touchmark/touchmark/core/sign"
)

// NewSignBlob makes touchmark sign-blob.
func NewSignBlob() *cobra.Command {
	var flags signFlags
	var bundle string
	cmd := &cobra.Command{
		Use:   "sign-blob FILE",
		Short: "Sign a file",
		Long: `sign-blob signs a file of any size and writes the signature with all that belongs
to it, the log's proof and a timestamp among it, to the Sigstore bundle --bundle.
cosign reads it too. - is standard input.

` + signWhoText + `

Exit status: 0 signed, 2 wrong usage, 3 could not sign.`,
		Example: `  touchmark sign-blob --bundle app.tar.gz.sigstore.json app.tar.gz`,
		Args:    userfile.One,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkBundleFlag(bundle); err != nil {
				return err
			}
			in, err := userfile.Open(cmd, args[0])
			if err != nil {
				return exit.Usage(err)
			}
			defer in.Close()
			config, err := flags.config(cmd)
			if err != nil {
				return err
			}
			signed, err := sign.Reader(cmd.Context(), config, in)
			if err != nil {
				return signError(err)
			}
			return writeBundle(cmd, bundle, signed, "signed", args[0], config)
		},
	}
	flags.register(cmd)
	cmd.Flags().StringVar(&bundle, "bundle", "", "`file` to write the bundle to")
	return cmd
}

// NewAttestBlob makes touchmark attest-blob.
func NewAttestBlob() *cobra.Command {
	var flags signFlags
	var p predicateFlags
	var bundle string
	cmd := &cobra.Command{
		Use:   "attest-blob FILE",
		Short: "Sign a statement about a file: provenance, an SBOM, a scan",
		Long: `attest-blob signs an in-toto statement that says the predicate in --predicate of a
file, by its SHA-256 digest, and writes it to the Sigstore bundle --bundle.

` + predicateText + `

` + signWhoText + `

Exit status: 0 attested, 2 wrong usage, 3 could not sign.`,
		Example: `  touchmark attest-blob --type slsaprovenance1 --predicate provenance.json --bundle app.tar.gz.provenance.json app.tar.gz`,
		Args:    userfile.One,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkBundleFlag(bundle); err != nil {
				return err
			}
			if args[0] == "-" && p.file == "-" {
				return exit.Usage(errors.New("file and predicate can't both be standard input"))
			}
			attestation, err := p.load(cmd)
			if err != nil {
				return err
			}
			statement, err := blobStatement(cmd, args[0], attestation)
			if err != nil {
				return exit.Usage(err)
			}
			config, err := flags.config(cmd)
			if err != nil {
				return err
			}
			signed, err := sign.Statement(cmd.Context(), config, statement)
			if err != nil {
				return signError(err)
			}
			return writeBundle(cmd, bundle, signed, "attested", args[0], config)
		},
	}
	flags.register(cmd)
	p.register(cmd)
	cmd.Flags().StringVar(&bundle, "bundle", "", "`file` to write the bundle to")
	return cmd
}

// blobStatement makes the statement about a file.
func blobStatement(cmd *cobra.Command, path string, a sign.Attestation) ([]byte, error) {
	in, err := userfile.Open(cmd, path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, in); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	about := predicate.Subject{Algorithm: "sha256", Digest: hash.Sum(nil)}
	if path != "-" {
		about.Name = filepath.Base(path)
	}
	return predicate.Statement(a.Type, about, a.Predicate, time.Now())
}

func writeBundle(cmd *cobra.Command, path string, bundle []byte, verb, what string, config sign.Config) error {
	if err := userfile.Write(path, append(bundle, '\n')); err != nil {
		return exit.Undecided(fmt.Errorf("--bundle: %w", err))
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%s: %s, bundle in %s\n", verb, console.Printable(what), console.Printable(path))
	if config.Root == nil {
		fmt.Fprintln(cmd.ErrOrStderr(), "not verified: no --trusted-root given")
	}
	return nil
}

func checkBundleFlag(bundle string) error {
	if bundle == "" {
		return exit.Usage(errors.New("--bundle is missing: the file for the signature and what belongs to it"))
	}
	return nil
}
