package policycmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/console"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/imageref"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/rules"
	"github.com/touchmark/touchmark/core/configfile"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/skopeo"
)

// Limits on a file of expectations.
const (
	maxExpectations     = 10_000
	maxExpectationsFile = 16 << 20
)

// expectations are a file of images and the verdicts that they should get.
type expectations struct {
	Images []expected `yaml:"images"`
}

// expected is one image.
type expected struct {
	Image      string `yaml:"image" json:"image"`
	Repository string `yaml:"repository" json:"repository,omitempty"` // the name under which policies know it, if it is another one
	Expect     string `yaml:"expect" json:"expect"`                   // admitted, refused or undecided
	Code       string `yaml:"code" json:"code,omitempty"`             // the verdict's code; any if empty
	Reason     string `yaml:"reason" json:"reason,omitempty"`         // a part of the verdict's reason
	Policy     string `yaml:"policy" json:"policy,omitempty"`         // a policy that must be about the image
	Signer     string `yaml:"signer" json:"signer,omitempty"`         // the subject or key of an accepted signature
}

// tryFlags say what is tried.
type tryFlags struct {
	rules           rules.Flags
	registry        imageref.Flags
	record, offline string
	output          string
}

func newPolicyTest() *cobra.Command {
	var f tryFlags
	cmd := &cobra.Command{
		Use:   "test FILE",
		Short: "Hold a policy against a file of images and expected verdicts",
		Long: `test decides about each image of a file as the enforcement points do, and compares
the verdict with the one that the file expects:

  images:
  - image: registry.example/acme/app:7
    expect: admitted              # or refused, undecided
    policy: release               # optional: a policy that must be about the image
    signer: ci@acme.example       # optional: who must have signed it
  - image: registry.example/acme/app:unsigned
    expect: refused
    code: unsigned                # optional: the verdict's code
    reason: no signature          # optional: a part of its reason
  - image: oci:layout:app         # also oci-archive:FILE
    repository: registry.example/acme/app # the name under which policies know it
    expect: admitted

--record keeps what registries answered in a directory, and --offline answers from it
alone: a change of a policy can then be tried without a network, and years later.

Exit status: 0 all as expected, 1 some not, 2 wrong usage, 3 as expected but for
registries that could not be asked.`,
		Example: `  touchmark policy test expectations.yaml --policy policy.yaml --trusted-root trusted_root.json --record evidence
  touchmark policy test expectations.yaml --policy new.yaml --trusted-root trusted_root.json --offline evidence`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return exit.Usage(fmt.Errorf("want exactly one file of expectations, have %d arguments", len(args)))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args[0]) },
	}
	f.rules.Register(cmd)
	f.registry.Register(cmd)
	fl := cmd.Flags()
	fl.StringVar(&f.record, "record", "", "`directory` to keep the registries' answers in")
	fl.StringVar(&f.offline, "offline", "", "`directory` of --record to answer from, in the place of registries")
	console.OutputFlag(cmd, &f.output, "text, or json")
	return cmd
}

// tried is how one image came out.
type tried struct {
	expected
	Outcome gate.Outcome `json:"outcome"`
	GotCode gate.Code    `json:"verdictCode"`
	Why     string       `json:"verdictReason"`
	Problem string       `json:"problem,omitempty"` // how the verdict differs; empty if it is as expected
}

func (f tryFlags) run(cmd *cobra.Command, file string) error {
	if err := console.CheckOutput(f.output); err != nil {
		return err
	}
	if f.record != "" && f.offline != "" {
		return exit.Usage(errors.New("--record and --offline don't go together"))
	}
	list, err := readExpectations(file)
	if err != nil {
		return exit.Usage(err)
	}
	g, err := f.rules.Gate(cmd.Context())
	if err != nil {
		return err
	}
	transport, err := f.transport()
	if err != nil {
		return exit.Usage(err)
	}
	var results []tried
	for _, e := range list {
		v, err := f.verdict(cmd.Context(), g, transport, e)
		if err != nil {
			return err
		}
		results = append(results, tried{expected: e, Outcome: v.Outcome, GotCode: v.Code, Why: v.Reason, Problem: e.differs(v)})
	}
	return reportTried(cmd.OutOrStdout(), results, f.output)
}

// transport is how registries are reached; nil is the usual way.
func (f tryFlags) transport() (http.RoundTripper, error) {
	switch {
	case f.record != "":
		return newRecorder(filepath.Clean(f.record), http.DefaultTransport)
	case f.offline != "":
		return newPlayer(filepath.Clean(f.offline))
	}
	return nil, nil
}

// verdict is the gate's about one image. A place that cannot be read is an
// outage of its own, and no end of the others.
func (f tryFlags) verdict(ctx context.Context, g *gate.Gate, transport http.RoundTripper, e expected) (gate.Verdict, error) {
	place, err := f.registry.Place(e.Image)
	if err != nil {
		return gate.Verdict{}, err
	}
	repository, err := imageref.LogicalName(place, e.Repository)
	if err != nil {
		return gate.Verdict{}, exit.Usage(fmt.Errorf("image %s: repository: %w", e.Image, err))
	}
	if transport != nil && place.Kind == skopeo.Registry {
		place.Source.Transport, place.Source.Elsewhere = transport, transport
		if f.offline != "" {
			place.Source.Keychain = nil // nobody is asked who could want credentials
		}
	}
	src, found, closePlace, err := skopeo.Open(ctx, place)
	if err != nil {
		return gate.Verdict{Outcome: gate.OutcomeUndecided, Code: gate.CodeLookupFailed, Repository: repository, Reason: err.Error()}, nil
	}
	defer func() { _ = closePlace() }() // it was only read
	return g.Admit(ctx, gate.Request{Repository: repository, Digest: found.Digest, MediaType: string(found.MediaType), ParentsKnown: true, Source: src}), nil
}

func readExpectations(file string) ([]expected, error) {
	data, err := configfile.Read(file, maxExpectationsFile)
	if err != nil {
		return nil, fmt.Errorf("reading expectations: %w", err)
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	var e expectations
	if err := dec.Decode(&e); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %s", file, strings.ReplaceAll(strings.TrimPrefix(err.Error(), "yaml: "), "\n", ""))
	}
	if n := len(e.Images); n == 0 || n > maxExpectations {
		return nil, fmt.Errorf("%s: images has %d entries, want 1 to %d", file, n, maxExpectations)
	}
	outcomes := []string{string(gate.OutcomeAdmitted), string(gate.OutcomeRefused), string(gate.OutcomeUndecided)}
	for i, one := range e.Images {
		if one.Image == "" || !slices.Contains(outcomes, one.Expect) {
			return nil, fmt.Errorf("%s: images[%d]: want an image, and expect: %s", file, i, strings.Join(outcomes, " or "))
		}
	}
	return e.Images, nil
}

// differs says how a verdict is not what is expected; "" if it is.
func (e expected) differs(v gate.Verdict) string {
	switch {
	case string(v.Outcome) != e.Expect:
		return fmt.Sprintf("%s, want %s", v.Outcome, e.Expect)
	case e.Code != "" && string(v.Code) != e.Code:
		return fmt.Sprintf("code %s, want %s", v.Code, e.Code)
	case !strings.Contains(v.Reason, e.Reason):
		return fmt.Sprintf("the reason does not say %q", e.Reason)
	case e.Policy != "" && !slices.ContainsFunc(v.Policies, func(p gate.PolicyResult) bool { return p.Name == e.Policy }):
		return fmt.Sprintf("policy %s is not about it", e.Policy)
	case e.Signer != "" && !signedBy(v, e.Signer):
		return "no accepted signature is by " + e.Signer
	}
	return ""
}

func signedBy(v gate.Verdict, signer string) bool {
	for _, s := range v.Signatures {
		for _, a := range s.Attempts {
			if a.Accepted && a.Signer != nil && (a.Signer.Key == signer || a.Signer.Identity != nil && a.Signer.Identity.SAN.Value == signer) {
				return true
			}
		}
	}
	return false
}

// reportTried prints the results. Verdicts that differ are an error; if all of
// them could not be made, it is an outage's.
func reportTried(w io.Writer, results []tried, output string) error {
	wrong, outages := 0, 0
	for _, r := range results {
		switch {
		case r.Problem == "":
		case r.Outcome == gate.OutcomeUndecided:
			outages++
		default:
			wrong++
		}
	}
	if output == "json" {
		if err := console.JSON(w, results); err != nil {
			return err
		}
	} else {
		for _, r := range results {
			if r.Problem == "" {
				fmt.Fprintf(w, "ok   %s: %s (%s)\n", console.Printable(r.Image), r.Outcome, r.GotCode)
			} else {
				fmt.Fprintf(w, "FAIL %s: %s\n     %s\n", console.Printable(r.Image), console.Printable(r.Problem), console.Printable(r.Why))
			}
		}
	}
	switch total := wrong + outages; {
	case wrong > 0:
		return exit.Refused(fmt.Errorf("%d of %d verdicts are not as expected", total, len(results)))
	case outages > 0:
		return exit.Undecided(fmt.Errorf("%d of %d verdicts could not be made", total, len(results)))
	}
	return nil
}
