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
	"github.com/touchmark/touchmark/skopeo"
)

func newVerify() *cobra.Command {
	d := decision{text: func(w io.Writer, v gate.Verdict) {
		if v.Admitted() {
			fmt.Fprintf(w, "admitted: %s@%s\n%s\n", v.Repository, v.Digest, v.Reason)
		}
		printAdvice(w, v)
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
		Args: oneImage,
		RunE: d.run,
	}
	d.register(cmd)
	d.registerClient(cmd)
	return cmd
}

// decision is a command that decides about one image.
type decision struct {
	rules      ruleFlags
	registry   registryFlags
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
	d.rules.register(cmd)
	d.registry.register(cmd)
	cmd.Flags().StringVar(&d.repository, "repository", "", "the `name` under which policies know the image, if it is not the one under which it is found")
	cmd.Flags().StringVarP(&d.output, "output", "o", "text", "text, or json for the whole verdict")
}

func (d *decision) run(cmd *cobra.Command, args []string) error {
	if err := checkOutput(d.output); err != nil {
		return err
	}
	v, err := d.decide(cmd.Context(), args[0])
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

// decide gives the verdict, by the flags' rules or as the agent does.
func (d *decision) decide(ctx context.Context, image string) (gate.Verdict, error) {
	if d.client == "" {
		return d.judge(ctx, image)
	}
	return asClient(ctx, d.client, d.rules, image)
}

// judge finds an image and asks the gate about it.
func (d *decision) judge(ctx context.Context, image string) (gate.Verdict, error) {
	place, err := d.registry.place(image)
	if err != nil {
		return gate.Verdict{}, err
	}
	repository, err := d.logicalName(place)
	if err != nil {
		return gate.Verdict{}, usageError(err)
	}
	g, err := d.rules.gate(ctx)
	if err != nil {
		return gate.Verdict{}, err
	}
	src, found, closePlace, err := skopeo.Open(ctx, place)
	if err != nil {
		return gate.Verdict{}, undecided(err)
	}
	defer func() { _ = closePlace() }() // it was only read
	return g.Admit(ctx, gate.Request{
		Repository: repository, Digest: found.Digest, MediaType: string(found.MediaType), ParentsKnown: true, Source: src,
	}), nil
}

// logicalName is the name by which policies know the image.
func (d *decision) logicalName(place skopeo.Place) (string, error) {
	switch {
	case d.repository != "":
		repository, err := attach.NormalizeRepository(d.repository)
		if err != nil {
			return "", fmt.Errorf("--repository: %w", err)
		}
		return repository, nil
	case place.Kind != skopeo.Registry:
		return "", fmt.Errorf("%s: say with --repository which image this is", place)
	}
	return attach.LogicalName(place.Source.Repository), nil
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

// place is where an image lies: in a registry, a layout or an archive.
func (f registryFlags) place(arg string) (skopeo.Place, error) {
	var opts []name.Option
	if f.allowHTTP {
		opts = append(opts, name.Insecure)
	}
	p, err := skopeo.ParsePlace(arg, opts...)
	if err != nil {
		return p, usageError(err)
	}
	if p.Kind == skopeo.Registry {
		p.Source = f.source(p.Source.Repository)
	}
	return p, nil
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
