package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/gate"
)

func newVerify() *cobra.Command {
	d := decision{text: func(w io.Writer, v gate.Verdict) {
		if v.Admitted() {
			fmt.Fprintf(w, "admitted: %s@%s\n%s\n", v.Repository, v.Digest, v.Reason)
		}
	}}
	cmd := &cobra.Command{
		Use:   "verify IMAGE",
		Short: "Decide whether an image may run, and say who signed it",
		Long: `verify decides about an image exactly as the enforcement points do: it looks
for signatures beside the image in its registry and holds them against a policy
file, or against the signer given by flags. It contacts the registry and nothing
else.

Exit status: 0 admitted, 1 refused, 2 wrong usage, 3 could not decide.`,
		Example: `  touchmark verify --policy policy.yaml --trusted-root trusted_root.json registry.example/app:1
  touchmark verify --certificate-identity alice@acme.example \
    --certificate-oidc-issuer https://login.acme.example \
    --trusted-root trusted_root.json registry.example/app:1
  touchmark verify --key release.pub --trusted-root trusted_root.json registry.example/app:1`,
		Args: oneImage,
		RunE: d.run,
	}
	d.register(cmd)
	return cmd
}

// decision is a command that decides about one image.
type decision struct {
	rules    ruleFlags
	registry registryFlags
	output   string
	text     func(io.Writer, gate.Verdict) // shows the verdict to a person
}

func (d *decision) register(cmd *cobra.Command) {
	d.rules.register(cmd)
	d.registry.register(cmd)
	cmd.Flags().StringVarP(&d.output, "output", "o", "text", "text, or json for the whole verdict")
}

func (d *decision) run(cmd *cobra.Command, args []string) error {
	if err := checkOutput(d.output); err != nil {
		return err
	}
	v, err := judge(cmd.Context(), args[0], d.rules, d.registry)
	if err != nil {
		return err
	}
	if d.output == "json" {
		if err := printJSON(cmd.OutOrStdout(), v); err != nil {
			return err
		}
	} else {
		var text strings.Builder
		d.text(&text, v)
		fmt.Fprint(cmd.OutOrStdout(), printable(text.String()))
	}
	return verdictError(v)
}

// judge resolves an image and asks the gate about it.
func judge(ctx context.Context, image string, rules ruleFlags, registry registryFlags) (gate.Verdict, error) {
	ref, err := registry.parse(image)
	if err != nil {
		return gate.Verdict{}, err
	}
	g, err := rules.gate(ctx)
	if err != nil {
		return gate.Verdict{}, err
	}
	src := registry.source(ref.Context())
	desc, _, err := attach.Resolve(ctx, src, ref)
	if err != nil {
		return gate.Verdict{}, undecided(fmt.Errorf("resolving %s: %w", image, err))
	}
	return g.Admit(ctx, gate.Request{
		Repository: attach.LogicalName(ref.Context()), Digest: desc.Digest,
		MediaType: string(desc.MediaType), Source: src,
	}), nil
}

// verdictError gives a verdict's exit status.
func verdictError(v gate.Verdict) error {
	switch v.Outcome {
	case gate.OutcomeAdmitted:
		return nil
	case gate.OutcomeRefused:
		return refused(fmt.Errorf("refused: %s", v.Reason))
	}
	return undecided(errors.New(v.Reason))
}

// registryFlags say how to reach the image's registry.
type registryFlags struct {
	allowHTTP bool
}

func (f *registryFlags) register(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.allowHTTP, "allow-http-registry", false, "allow plain HTTP to the registry (loopback addresses are always allowed to)")
}

func (f registryFlags) parse(image string) (name.Reference, error) {
	opts := []name.Option{}
	if f.allowHTTP {
		opts = append(opts, name.Insecure)
	}
	ref, err := name.ParseReference(image, opts...)
	if err != nil {
		return nil, usageError(fmt.Errorf("image %q: %w", image, err))
	}
	return ref, nil
}

func (f registryFlags) source(repo name.Repository) attach.Source {
	return attach.Source{Repository: repo, Transport: http.DefaultTransport, Keychain: authn.DefaultKeychain, UserAgent: "touchmark"}
}

func oneImage(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usageError(fmt.Errorf("want exactly one image, have %d arguments", len(args)))
	}
	return nil
}

func checkOutput(output string) error {
	if output != "text" && output != "json" {
		return usageError(fmt.Errorf("--output %q is not text or json", output))
	}
	return nil
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
