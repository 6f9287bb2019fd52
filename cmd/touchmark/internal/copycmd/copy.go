// Package copycmd has touchmark copy. The work is done by skopeo.
package copycmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/console"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/imageref"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/rules"
	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/skopeo"
)

// New makes touchmark copy.
func New() *cobra.Command {
	var f copyFlags
	cmd := &cobra.Command{
		Use:   "copy SRC DST",
		Short: "Copy an image with all that is attached to it, verified",
		Long: `copy takes an image with every platform, signature, attestation, SBOM and other
referrer of it, and whatever is attached to those, from one place to another. Nothing
is changed: digests stay what they were, and signatures good. SRC and DST are each

  REGISTRY/REPOSITORY[:TAG|@DIGEST]     a registry (docker:// in front is fine)
  oci:DIRECTORY[:NAME|@DIGEST]          an OCI layout, which can hold several images
  oci-archive:FILE[:NAME|@DIGEST]       a tar file of an OCI layout, with one image

The image is verified at the source before anything is sent, under the policy or the
signer given by the same flags as verify takes, and again at the destination, from
what has arrived there, before it gets its tag. Policies go by the name of a
repository: the source's, or where that is a layout or archive the destination's, or
--repository.

What the destination has is not sent again, so the same command continues a copy that
was interrupted. Until it is complete, nothing is visible under the tag.

--platform copies one platform instead of the index. The copy has the digest of that
platform's manifest, not of the index: whoever pulls by the index's digest does not
find it, and signatures and attestations of the index are left behind. It is refused
if the platform's manifest is not signed itself ("touchmark sign" signs both).

Exit status: 0 copied, 1 refused by policy, 2 wrong usage, 3 could not.`,
		Example: `  touchmark copy --policy policy.yaml --trusted-root trusted_root.json \
    registry.example/app:1 mirror.example/app:1
  touchmark copy --key release.pub --trusted-root trusted_root.json \
    registry.example/app:1 oci-archive:/media/usb/app.tar
  touchmark copy --insecure-skip-verify oci:images:app mirror.example/app:1`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return exit.Usage(fmt.Errorf("want a source and a destination, have %d arguments", len(args)))
			}
			return nil
		},
		RunE: f.run,
	}
	f.register(cmd)
	return cmd
}

type copyFlags struct {
	rules      rules.Flags
	registry   imageref.Flags
	skipVerify bool
	repository string
	platform   string
	parallel   int
	foreign    bool
	output     string
}

func (f *copyFlags) register(cmd *cobra.Command) {
	f.rules.Register(cmd)
	f.registry.Register(cmd)
	fl := cmd.Flags()
	fl.BoolVar(&f.skipVerify, "insecure-skip-verify", false, "copy whatever is there, whoever signed it")
	fl.StringVar(&f.repository, "repository", "", "the `name` under which policies know the image")
	fl.StringVar(&f.platform, "platform", "", "copy one `os/arch` only; see above for what that breaks")
	fl.IntVar(&f.parallel, "parallel", skopeo.DefaultParallel, fmt.Sprintf("`number` of requests under way at a time, at most %d", skopeo.MaxParallel))
	fl.BoolVar(&f.foreign, "allow-nondistributable-artifacts", false, "copy layers, too, that are marked as not to be distributed (Windows base layers)")
	console.OutputFlag(cmd, &f.output, "text, or json for everything that was done")
}

func (f *copyFlags) run(cmd *cobra.Command, args []string) error {
	if err := console.CheckOutput(f.output); err != nil {
		return err
	}
	src, err := f.registry.Place(args[0])
	if err != nil {
		return err
	}
	dst, err := f.registry.Place(args[1])
	if err != nil {
		return err
	}
	opts, err := f.options(cmd.Context())
	if err != nil {
		return err
	}
	meter := newMeter(cmd.ErrOrStderr())
	opts.Progress = meter.show
	result, err := skopeo.Copy(cmd.Context(), src, dst, opts)
	meter.clear()
	if err != nil {
		return copyError(err)
	}
	if f.output == "json" {
		return console.JSON(cmd.OutOrStdout(), result)
	}
	var text strings.Builder
	printCopied(&text, result)
	if f.platform != "" {
		fmt.Fprintln(&text, "note:      this is one platform: the index's digest does not find it, and what is attached to the index stayed behind")
	}
	fmt.Fprint(cmd.OutOrStdout(), console.Printable(text.String()))
	return nil
}

func (f *copyFlags) options(ctx context.Context) (skopeo.Options, error) {
	o := skopeo.Options{InsecureSkipVerify: f.skipVerify, Parallel: f.parallel, Nondistributable: f.foreign}
	var err error
	if f.platform != "" {
		if o.Platform, err = v1.ParsePlatform(f.platform); err != nil {
			return o, exit.Usage(fmt.Errorf("--platform: %w", err))
		}
	}
	if f.repository != "" {
		if o.Repository, err = attach.NormalizeRepository(f.repository); err != nil {
			return o, exit.Usage(fmt.Errorf("--repository: %w", err))
		}
	}
	if f.skipVerify {
		if f.rules.Demand() {
			return o, exit.Usage(errors.New("--insecure-skip-verify contradicts --policy, --key and --certificate-identity"))
		}
		return o, nil
	}
	g, err := f.rules.Gate(ctx)
	if err != nil {
		return o, exit.Usage(fmt.Errorf("%w (--insecure-skip-verify copies whatever is there)", err))
	}
	o.Admitter = g
	return o, nil
}

// copyError gives an error of a copy its exit status.
func copyError(err error) error {
	if ve := (*skopeo.VerdictError)(nil); errors.As(err, &ve) && ve.Verdict.Outcome == gate.OutcomeRefused {
		return exit.Refused(fmt.Errorf("refused: %w", err))
	}
	if ue := (*skopeo.UsageError)(nil); errors.As(err, &ue) {
		return exit.Usage(err)
	}
	return exit.Undecided(err)
}

func printCopied(w io.Writer, r *skopeo.Result) {
	fmt.Fprintf(w, "copied:    %s\nto:        %s\ndigest:    %s\n", r.Source, r.Destination, r.Digest)
	if r.Tag == "" {
		r.Tag = "none, it can be pulled by its digest"
	}
	fmt.Fprintf(w, "tag:       %s\n", r.Tag)
	if len(r.Platforms) > 0 {
		fmt.Fprintf(w, "platforms: %s\n", strings.Join(r.Platforms, ", "))
	}
	fmt.Fprintf(w, "attached:  signatures %d, attestations %d, SBOMs %d, others %d\n", r.Signatures, r.Attestations, r.SBOMs, r.Others)
	fmt.Fprintf(w, "bytes:     %d sent, %d not, being there already (%d manifests, %d blobs)\n", r.BytesSent, r.BytesSkipped, r.Manifests, r.Blobs)
	for _, o := range r.Omitted {
		fmt.Fprintf(w, "not copied: %s %s\n", o.Digest, o.Why)
	}
	if r.Verdict == nil {
		fmt.Fprintln(w, "not verified: --insecure-skip-verify was given")
		return
	}
	fmt.Fprintf(w, "verified:  at the source and at the destination: %s\n", r.DestinationVerdict.Reason)
}

// meterInterval is how often the progress of a copy is shown anew.
const meterInterval = 100 * time.Millisecond

// meter shows the progress of a copy in one line of a terminal, and nothing elsewhere.
type meter struct {
	w    io.Writer // nil if it is no terminal
	mu   sync.Mutex
	last time.Time
}

func newMeter(w io.Writer) *meter {
	if !console.IsTerminal(w) {
		return &meter{}
	}
	return &meter{w: w}
}

func (m *meter) show(p skopeo.Progress) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.w == nil || time.Since(m.last) < meterInterval {
		return
	}
	m.last = time.Now()
	fmt.Fprintf(m.w, "\r\x1b[K%d of %d blobs, %d of %d MB", p.BlobsDone, p.Blobs, p.BytesDone/1_000_000, p.Bytes/1_000_000)
}

func (m *meter) clear() {
	if m.w != nil {
		fmt.Fprint(m.w, "\r\x1b[K")
	}
}
