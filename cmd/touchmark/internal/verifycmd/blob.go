package verifycmd

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/console"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/keyopen"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/predicatetype"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/rules"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/userfile"
	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/identity"
	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/verify"
)

// NewVerifyBlob makes touchmark verify-blob.
func NewVerifyBlob() *cobra.Command {
	var v blobVerification
	cmd := &cobra.Command{
		Use:   "verify-blob FILE",
		Short: "Decide whether a file was signed by the right signer",
		Long: `verify-blob checks the Sigstore bundle --bundle (of sign-blob, or of cosign) against
a file and against the signer given by flags. It contacts nothing: what it trusts is
in --trusted-root. - is standard input.

Exit status: 0 verified, 1 refused, 2 wrong usage.`,
		Example: `  touchmark verify-blob --bundle app.tar.gz.sigstore.json --trusted-root trusted_root.json \
    --certificate-identity alice@acme.example --certificate-oidc-issuer https://login.acme.example app.tar.gz
  touchmark verify-blob --bundle app.tar.gz.sigstore.json --trusted-root trusted_root.json --key release.pub app.tar.gz`,
		Args: userfile.One,
		RunE: func(cmd *cobra.Command, args []string) error { return v.run(cmd, args[0], "") },
	}
	v.register(cmd, "text, or json for all that was verified")
	return cmd
}

// NewVerifyBlobAttestation makes touchmark verify-blob-attestation.
func NewVerifyBlobAttestation() *cobra.Command {
	v := blobVerification{forms: []string{"statement"}}
	var kind predicatetype.Flag
	cmd := &cobra.Command{
		Use:   "verify-blob-attestation FILE",
		Short: "Decide whether the right signer made a statement about a file",
		Long: `verify-blob-attestation checks the Sigstore bundle --bundle (of attest-blob, or of
cosign) as verify-blob does: its statement has to be of the given --type and about the
file. With --output statement, the verified in-toto statement is printed.

Exit status: 0 verified, 1 refused, 2 wrong usage.`,
		Example: `  touchmark verify-blob-attestation --type slsaprovenance1 --bundle app.tar.gz.provenance.json --trusted-root trusted_root.json \
    --certificate-identity alice@acme.example --certificate-oidc-issuer https://login.acme.example app.tar.gz`,
		Args: userfile.One,
		RunE: func(cmd *cobra.Command, args []string) error {
			uri, err := kind.URI()
			if err != nil {
				return err
			}
			return v.run(cmd, args[0], uri)
		},
	}
	v.register(cmd, "text, json for all that was verified, or statement")
	kind.Register(cmd)
	return cmd
}

// blobVerification verifies a bundle about a file.
type blobVerification struct {
	bundle, output string
	forms          []string // that the output can have besides text and json
	roots          rules.RootFlags
	signer         expectedFlags
}

func (v *blobVerification) register(cmd *cobra.Command, output string) {
	cmd.Flags().StringVar(&v.bundle, "bundle", "", "`file` that holds the Sigstore bundle")
	console.OutputFlag(cmd, &v.output, output, v.forms...)
	v.roots.Register(cmd)
	v.signer.register(cmd)
}

func (v *blobVerification) run(cmd *cobra.Command, path, predicateType string) error {
	if err := console.CheckOutput(v.output, v.forms...); err != nil {
		return err
	}
	if v.bundle == "" {
		return exit.Usage(errors.New("--bundle is missing: the file with the signature"))
	}
	expected, err := v.signer.expected(cmd.Context())
	if err != nil {
		return err
	}
	roots, err := v.roots.Load()
	if err != nil {
		return err
	}
	if len(roots) == 0 {
		if v.signer.key == "" || !v.signer.insecureIgnoreTlog {
			return exit.Usage(errors.New("--trusted-root is missing: what to trust"))
		}
		roots = []*trust.Root{nil}
	}
	untrusted, err := userfile.ReadFile(v.bundle, bundle.MaxSize)
	if err != nil {
		return exit.Usage(fmt.Errorf("--bundle: %w", err))
	}
	evidence, err := bundle.Parse(untrusted)
	if err != nil {
		return exit.Refused(fmt.Errorf("refused: %w", err))
	}
	artifact, err := digestFor(cmd, path, evidence)
	if err != nil {
		return exit.Usage(err)
	}
	result, err := verifyUnder(roots, verify.Input{
		Evidence: evidence, Artifact: artifact, PredicateType: predicateType, Signer: expected, Now: time.Now(),
		InsecureIgnoreLog: v.signer.insecureIgnoreTlog, InsecureIgnoreSCT: v.signer.insecureIgnoreSCT,
	})
	switch {
	case errors.Is(err, verify.ErrInput):
		return exit.Usage(err)
	case err != nil:
		return exit.Refused(fmt.Errorf("refused: %w", err))
	}
	return v.show(cmd.OutOrStdout(), path, artifact, result)
}

// verifyUnder is satisfied by any of the roots.
func verifyUnder(roots []*trust.Root, in verify.Input) (*verify.Result, error) {
	var reasons []error
	for _, root := range roots {
		in.Root = root
		result, err := verify.Verify(in)
		if err == nil || len(roots) == 1 || errors.Is(err, verify.ErrInput) {
			return result, err
		}
		reasons = append(reasons, fmt.Errorf("under trust root %s: %w", root.Name, err))
	}
	return nil, errors.Join(reasons...)
}

// digestFor reads a file for the digest that the evidence is about. Which that is only selects a hash function: all of them are good.
func digestFor(cmd *cobra.Command, path string, untrusted *bundle.Evidence) (verify.Digest, error) {
	algorithm, hash := "sha256", crypto.SHA256
	if untrusted.Message != nil {
		switch untrusted.Message.DigestAlgorithm {
		case "sha384":
			algorithm, hash = "sha384", crypto.SHA384
		case "sha512":
			algorithm, hash = "sha512", crypto.SHA512
		}
	}
	in, err := userfile.Open(cmd, path)
	if err != nil {
		return verify.Digest{}, err
	}
	defer in.Close()
	h := hash.New()
	if _, err := io.Copy(h, in); err != nil {
		return verify.Digest{}, fmt.Errorf("%s: %w", path, err)
	}
	return verify.Digest{Algorithm: algorithm, Value: h.Sum(nil)}, nil
}

func (v *blobVerification) show(w io.Writer, path string, artifact verify.Digest, r *verify.Result) error {
	switch v.output {
	case "statement":
		_, err := fmt.Fprintf(w, "%s\n", r.Statement)
		return err
	case "json":
		return console.JSON(w, struct {
			File   string `json:"file"`
			Digest string `json:"digest"`
			*verify.Result
		}{path, artifact.String(), r})
	}
	var text strings.Builder
	fmt.Fprintf(&text, "verified: %s (%s)\nsigned by %s", path, artifact, r.Signer)
	if len(r.Times) > 0 {
		fmt.Fprintf(&text, " at %s", r.Times[0].Time.UTC().Format(time.RFC3339))
	}
	_, err := fmt.Fprintln(w, console.Printable(text.String()))
	return err
}

// expectedFlags say who must have signed.
type expectedFlags struct {
	identity, identityRegexp, issuer, issuerRegexp string
	key                                            string
	insecureIgnoreTlog, insecureIgnoreSCT          bool
}

func (f *expectedFlags) register(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.identity, "certificate-identity", "", "`identity` (e-mail address, URI) that must have signed")
	fl.StringVar(&f.identityRegexp, "certificate-identity-regexp", "", "regular `expression` that the whole identity must match")
	fl.StringVar(&f.issuer, "certificate-oidc-issuer", "", "`URL` of the OIDC issuer that must have vouched for the identity")
	fl.StringVar(&f.issuerRegexp, "certificate-oidc-issuer-regexp", "", "regular `expression` that the whole issuer must match")
	fl.StringVar(&f.key, "key", "", "public key that must have signed: a PEM `file`, env://NAME, or a KMS or PKCS#11 reference")
	fl.BoolVar(&f.insecureIgnoreTlog, "insecure-ignore-tlog", false, "with --key, accept signatures that are in no log (then no trusted root is needed)")
	fl.BoolVar(&f.insecureIgnoreSCT, "insecure-ignore-sct", false, "accept certificates that are in no certificate log")
}

func (f expectedFlags) expected(ctx context.Context) (verify.Expected, error) {
	named := f.identity+f.identityRegexp+f.issuer+f.issuerRegexp != ""
	switch {
	case named == (f.key != ""):
		return verify.Expected{}, exit.Usage(errors.New("say who must have signed with one of --certificate-identity (with --certificate-oidc-issuer) and --key"))
	case f.key != "":
		public, err := keys.OpenPublic(ctx, f.key, keyopen.Public())
		if err != nil {
			return verify.Expected{}, keyopen.Error(f.key, err)
		}
		return verify.Keyed(verify.Key{Name: keys.Redact(f.key), Public: public}), nil
	}
	m, err := rules.MatchSigner(identity.Spec{
		Issuer: f.issuer, IssuerRegExp: f.issuerRegexp, Subject: f.identity, SubjectRegExp: f.identityRegexp,
	})
	if err != nil {
		return verify.Expected{}, exit.Usage(err)
	}
	return verify.Keyless(m), nil
}
