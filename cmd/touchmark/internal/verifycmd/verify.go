// Package verifycmd has the commands that decide: about images (verify, explain), which ask
// a gate or this host's rules, and about files (verify-blob, verify-blob-attestation),
// which ask core/verify alone.
package verifycmd

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/asagent"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/console"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/imageref"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/rules"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/verdict"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/skopeo"
)

// NewVerify makes touchmark verify.
func NewVerify() *cobra.Command {
	d := decision{text: func(w io.Writer, v gate.Verdict) {
		if v.Admitted() {
			fmt.Fprintf(w, "admitted: %s@%s\n%s\n", v.Repository, v.Digest, v.Reason)
		}
		verdict.PrintAdvice(w, v)
	}}
	cmd := &cobra.Command{
		Use:   "verify IMAGE",
		Short: "Decide whether an image may run, and say who signed it",
		Long: `verify decides about an image exactly as the enforcement points do: it looks
for signatures beside the image in its registry and holds them against a policy
file, or against the signer given by flags. It contacts the registry and nothing
else.

IMAGE may lie in an OCI layout (oci:DIRECTORY[:NAME]) or archive
(oci-archive:FILE[:NAME]), as "touchmark copy" writes them: then nothing at all is
contacted. Say with --repository what the image is; a layout's own word is not
taken for it.

With --client containerd it decides as this host's agent would for containerd: by the
configuration of --config, and with the registries reached as containerd reaches them. touchmark-containerd runs it so where there is no agent.

Exit status: 0 admitted, 1 refused, 2 wrong usage, 3 could not decide.`,
		Example: `  touchmark verify --policy policy.yaml --trusted-root trusted_root.json registry.example/app:1
  touchmark verify --certificate-identity alice@acme.example \
    --certificate-oidc-issuer https://login.acme.example \
    --trusted-root trusted_root.json registry.example/app:1
  touchmark verify --key release.pub --trusted-root trusted_root.json registry.example/app:1
  touchmark verify --type slsaprovenance1 --certificate-identity ci@acme.example \
    --certificate-oidc-issuer https://login.acme.example \
    --trusted-root trusted_root.json registry.example/app:1
  touchmark verify --policy policy.yaml --trusted-root trusted_root.json \
    --repository registry.example/app oci-archive:app.tar
  touchmark verify --client containerd registry.example/app@sha256:...`,
		Args: imageref.One,
		RunE: d.run,
	}
	d.register(cmd)
	d.registerClient(cmd)
	return cmd
}

// decision is a command that decides about one image.
type decision struct {
	rules      rules.Flags
	registry   imageref.Flags
	repository string
	output     string
	text       func(io.Writer, gate.Verdict) // shows the verdict to a person

	client string // to decide as the agent does for it; "" for none
}

// registerClient adds the flag for deciding as this host's agent.
func (d *decision) registerClient(cmd *cobra.Command) {
	cmd.Flags().StringVar(&d.client, "client", "", "decide as this host's agent does for this `program`: containerd")
	cmd.MarkFlagsMutuallyExclusive("client", "repository")
	cmd.MarkFlagsMutuallyExclusive("client", "allow-http-registry")
}

func (d *decision) register(cmd *cobra.Command) {
	d.rules.Register(cmd)
	d.registry.Register(cmd)
	cmd.Flags().StringVar(&d.repository, "repository", "", "the `name` under which policies know the image, if it is not the one under which it is found")
	console.OutputFlag(cmd, &d.output, "text, or json for the whole verdict")
}

func (d *decision) run(cmd *cobra.Command, args []string) error {
	if err := console.CheckOutput(d.output); err != nil {
		return err
	}
	v, err := d.decide(cmd.Context(), args[0])
	if err != nil {
		return err
	}
	if d.output == "json" {
		if err := console.JSON(cmd.OutOrStdout(), v); err != nil {
			return err
		}
	} else {
		var text strings.Builder
		d.text(&text, v)
		fmt.Fprint(cmd.OutOrStdout(), console.Printable(text.String()))
	}
	return verdict.Error(v)
}

// decide gives the verdict, by the flags' rules or as the agent does.
func (d *decision) decide(ctx context.Context, image string) (gate.Verdict, error) {
	if d.client == "" {
		return d.judge(ctx, image)
	}
	return asagent.Decide(ctx, d.client, d.rules, image)
}

// judge finds an image and asks the gate about it.
func (d *decision) judge(ctx context.Context, image string) (gate.Verdict, error) {
	place, err := d.registry.Place(image)
	if err != nil {
		return gate.Verdict{}, err
	}
	repository, err := imageref.LogicalName(place, d.repository)
	if err != nil {
		return gate.Verdict{}, exit.Usage(err)
	}
	g, err := d.rules.Gate(ctx)
	if err != nil {
		return gate.Verdict{}, err
	}
	src, found, closePlace, err := skopeo.Open(ctx, place)
	if err != nil {
		return gate.Verdict{}, exit.Undecided(err)
	}
	defer func() { _ = closePlace() }() // it was only read
	return g.Admit(ctx, gate.Request{
		Repository: repository, Digest: found.Digest, MediaType: string(found.MediaType), ParentsKnown: true, Source: src,
	}), nil
}
