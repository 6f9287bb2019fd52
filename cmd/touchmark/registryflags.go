package main

import (
	"fmt"
	"net/http"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/skopeo"
)

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

// oneImage wants one argument: an image.
func oneImage(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usageError(fmt.Errorf("want exactly one image, have %d arguments", len(args)))
	}
	return nil
}

// logicalName is the name by which policies know the image in a place: the one that
// was said, or else the place's own.
func logicalName(place skopeo.Place, said string) (string, error) {
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
