// Package imageref is the images that users name on the command line: where they lie, how
// their registry is reached, and by which name policies know them.
package imageref

import (
	"fmt"
	"net/http"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/skopeo"
)

// Flags say how to reach the image's registry.
type Flags struct {
	AllowHTTP bool
}

// Register adds the flags to a command.
func (f *Flags) Register(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.AllowHTTP, "allow-http-registry", false, "allow plain HTTP to the registry (loopback addresses are always allowed to)")
}

// Parse reads the name of an image in a registry.
func (f Flags) Parse(image string) (name.Reference, error) {
	opts := []name.Option{}
	if f.AllowHTTP {
		opts = append(opts, name.Insecure)
	}
	ref, err := name.ParseReference(image, opts...)
	if err != nil {
		return nil, exit.Usage(fmt.Errorf("image %q: %w", image, err))
	}
	return ref, nil
}

// Place is where an image lies: in a registry, a layout or an archive.
func (f Flags) Place(arg string) (skopeo.Place, error) {
	var opts []name.Option
	if f.AllowHTTP {
		opts = append(opts, name.Insecure)
	}
	p, err := skopeo.ParsePlace(arg, opts...)
	if err != nil {
		return p, exit.Usage(err)
	}
	if p.Kind == skopeo.Registry {
		p.Source = f.Source(p.Source.Repository)
	}
	return p, nil
}

// Source is a repository, reached with the credentials of docker login or podman login.
func (f Flags) Source(repo name.Repository) attach.Source {
	return attach.Source{Repository: repo, Transport: http.DefaultTransport, Keychain: authn.DefaultKeychain, UserAgent: "touchmark"}
}

// One wants one argument: an image.
func One(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return exit.Usage(fmt.Errorf("want exactly one image, have %d arguments", len(args)))
	}
	return nil
}

// LogicalName is the name by which policies know the image in a place: the one that
// was said, or else the place's own.
func LogicalName(place skopeo.Place, said string) (string, error) {
	switch {
	case said != "":
		repository, err := attach.NormalizeRepository(said)
		if err != nil {
			return "", fmt.Errorf("--repository: %w", err)
		}
		return repository, nil
	case place.Kind != skopeo.Registry:
		return "", fmt.Errorf("%s: say with --repository which image this is", place)
	}
	return attach.LogicalName(place.Source.Repository), nil
}
