package policycmd

import (
	"cmp"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"crypto/x509"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/console"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/imageref"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/keyopen"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/rules"
	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/core/learn"
	"github.com/touchmark/touchmark/core/trust"
)

// maxLearned bounds the images of one run, and learnAtOnce those that are looked at side by side.
const (
	maxLearned  = 5000
	learnAtOnce = 4
)

// learnFlags say what is examined.
type learnFlags struct {
	from, namespace string
	keys            []string
	roots           rules.RootFlags
	registry        imageref.Flags
	output          string
}

func newPolicyLearn() *cobra.Command {
	var f learnFlags
	cmd := &cobra.Command{
		Use:   "learn [IMAGE...]",
		Short: "Find out who signs the images in use, and draft a policy that admits just these",
		Long: `learn looks at images, verifies what lies beside them under the trusted roots and
keys that are given, whoever signed, and drafts a policy: for each repository the
very identities and keys that signed there, and nothing wider. The report goes to
standard error, the draft to standard output.

The images are the arguments, or what --from finds: those that podman or containerd
has on this host, or all tags of the registries, or registry/prefix, that are the
arguments then.

Read the draft before you use it: it says who signs today, not who should. Images
that nobody signed stand in its comments.

Exit status: 0 all images were examined, 2 wrong usage, 3 some could not be.`,
		Example: `  touchmark policy learn --trusted-root public-good registry.example/app:1 registry.example/db:7
  touchmark policy learn --from podman --trusted-root private=trusted_root.json > policy.yaml
  touchmark policy learn --from registry --key release.pub registry.example/team`,
		RunE: f.run,
	}
	fl := cmd.Flags()
	fl.StringVar(&f.from, "from", "", "take the images of `podman|containerd|registry`")
	fl.StringVar(&f.namespace, "namespace", "k8s.io", "containerd's `namespace`, with --from containerd")
	fl.StringArrayVar(&f.keys, "key", nil, "public `key` that may have signed: a PEM file, or a key management system's URI; may be repeated")
	f.roots.Register(cmd)
	f.registry.Register(cmd)
	console.OutputFlag(cmd, &f.output, "text, or json for the report alone")
	return cmd
}

func (f *learnFlags) run(cmd *cobra.Command, args []string) error {
	if err := console.CheckOutput(f.output); err != nil {
		return err
	}
	roots, err := f.roots.Load()
	if err != nil {
		return err
	}
	known, texts, err := f.publicKeys(cmd.Context())
	if err != nil {
		return exit.Usage(fmt.Errorf("--key: %w", err))
	}
	if len(roots) == 0 && len(known) == 0 {
		return exit.Usage(errors.New("give --trusted-root or --key: without either, no signature can be verified"))
	}
	names, err := f.images(cmd.Context(), args)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return exit.Usage(errors.New("there is no image to learn from"))
	}
	if len(names) > maxLearned {
		return exit.Usage(fmt.Errorf("%d images are more than the %d that are examined in one run", len(names), maxLearned))
	}
	learned, err := f.examine(cmd.Context(), names, roots, known)
	if err != nil {
		return exit.Undecided(err)
	}
	if f.output == "json" {
		err = console.JSON(cmd.OutOrStdout(), learned)
	} else {
		printLearned(cmd.ErrOrStderr(), learned)
		err = learn.Draft(cmd.OutOrStdout(), learned, texts)
	}
	if err != nil {
		return exit.Undecided(err)
	}
	failed := 0
	for _, l := range learned {
		if l.Err != "" {
			failed++
		}
	}
	if failed > 0 {
		return exit.Undecided(fmt.Errorf("%d of %d images could not be examined", failed, len(learned)))
	}
	return nil
}

// publicKeys opens the keys, and gives the PEM text of each.
func (f *learnFlags) publicKeys(ctx context.Context) ([]learn.Key, map[string]string, error) {
	var known []learn.Key
	texts := make(map[string]string)
	for _, ref := range f.keys {
		pub, err := keys.OpenPublic(ctx, ref, keyopen.Public())
		if err != nil {
			return nil, nil, err
		}
		der, err := x509.MarshalPKIXPublicKey(pub)
		if err != nil {
			return nil, nil, err
		}
		name := keys.Redact(ref)
		known = append(known, learn.Key{Name: name, Public: pub})
		texts[name] = string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	}
	return known, texts, nil
}

// examine looks at the images, in their order.
func (f *learnFlags) examine(ctx context.Context, names []string, roots []*trust.Root, known []learn.Key) ([]learn.Learned, error) {
	learned := make([]learn.Learned, len(names))
	var group errgroup.Group
	group.SetLimit(learnAtOnce)
	for i, image := range names {
		group.Go(func() error {
			learned[i] = f.examineOne(ctx, image, roots, known)
			return ctx.Err()
		})
	}
	return learned, group.Wait()
}

func (f *learnFlags) examineOne(ctx context.Context, image string, roots []*trust.Root, known []learn.Key) learn.Learned {
	ref, err := f.registry.Parse(image)
	if err != nil {
		return learn.Learned{Repository: image, Err: err.Error()}
	}
	src := f.registry.Source(ref.Context())
	repository := attach.LogicalName(ref.Context())
	desc, _, err := attach.Resolve(ctx, src, ref)
	if err != nil {
		return learn.Learned{Repository: repository, Digest: v1.Hash{}.String(), Err: err.Error()}
	}
	return learn.Examine(ctx, learn.Image{Repository: repository, Digest: desc.Digest, Source: src}, roots, known, time.Now())
}

// printLearned shows who signed what.
func printLearned(w io.Writer, learned []learn.Learned) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "IMAGE\tSIGNED BY\tTRUST ROOT")
	for _, l := range learned {
		image := console.Printable(fmt.Sprintf("%s@%.19s", l.Repository, l.Digest))
		switch {
		case l.Err != "":
			fmt.Fprintf(t, "%s\tnot examined: %s\t\n", image, console.Printable(l.Err))
		case len(l.Signers) == 0 && len(l.Unverified) > 0:
			fmt.Fprintf(t, "%s\tnothing that verifies: %s\t\n", image, console.Printable(l.Unverified[0]))
		case len(l.Signers) == 0:
			fmt.Fprintf(t, "%s\tnobody\t\n", image)
		}
		for _, s := range l.Signers {
			who := fmt.Sprintf("%s (from %s)", s.Identity, s.Issuer)
			if s.Key != "" {
				who = "key " + s.Key
			}
			if s.PredicateType != "" {
				who += ", who attests " + s.PredicateType
			}
			fmt.Fprintf(t, "%s\t%s\t%s\n", image, console.Printable(who), cmp.Or(s.Root, "none"))
		}
	}
	_ = t.Flush() // what can't be shown is in the draft
}
