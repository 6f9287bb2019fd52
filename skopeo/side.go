package skopeo

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/touchmark/touchmark/core/attach"
)

// side is the source or the destination of a copy, opened. A layout is reached through its Source too.
type side struct {
	attach.Source
	place  Place
	layout *layout // nil for a registry
}

// A layout's Source needs the name of a repository, that no registry can have (RFC 6761) and that is another one at either side: verdicts are cached by it.
const (
	sourceLayout      = "source.invalid/layout"
	destinationLayout = "destination.invalid/layout"
)

// Open finds the image at a place for reading: its manifest or index, and the source beside which its evidence lies, for a gate or [attach.Find]. A layout or archive is
// read without any network. Close the place when nothing is read any more.
func Open(ctx context.Context, p Place) (src attach.Source, image *attach.Manifest, closePlace func() error, err error) {
	s, err := openSource(ctx, p)
	if err == nil {
		image, err = s.resolve(ctx)
	}
	if err != nil && s != nil {
		err = errors.Join(fmt.Errorf("resolving %s: %w", p, err), s.close())
	}
	if err != nil {
		return attach.Source{}, nil, nil, err
	}
	return s.Source, image, s.close, nil
}

func openSource(ctx context.Context, p Place) (*side, error) {
	s := &side{Source: p.Source, place: p}
	if p.Kind != Registry {
		var err error
		if s.layout, err = readLayout(p); err != nil {
			return nil, fmt.Errorf("opening %s: %w", p, err)
		}
		if err := s.face(sourceLayout); err != nil {
			return nil, err
		}
	} else if p.Name == "" && p.Digest == (v1.Hash{}) {
		s.place.Name = name.DefaultTag
	}
	return s, s.connect(ctx, transport.PullScope)
}

// openDestination opens the destination for writing. Where it shares the source's registry, the connection may read the source's repository, for mounts.
func openDestination(ctx context.Context, p Place, src *side) (*side, error) {
	s := &side{Source: p.Source, place: p}
	if p.Kind != Registry {
		var err error
		if s.layout, err = writeLayout(p); err != nil {
			return nil, fmt.Errorf("opening %s: %w", p, err)
		}
		if err := s.face(destinationLayout); err != nil {
			return nil, err
		}
	}
	if s.sharesRegistry(src) {
		return s, s.connect(ctx, transport.PushScope, src.Repository)
	}
	return s, s.connect(ctx, transport.PushScope)
}

// face makes the layout the side's registry.
func (s *side) face(repository string) error {
	repo, err := name.NewRepository(repository)
	s.Source = attach.Source{Repository: repo, Transport: s.layout, Elsewhere: s.layout} // nothing is asked of anybody else
	return err
}

func (s *side) connect(ctx context.Context, scope string, alsoPull ...name.Repository) error {
	var err error
	if s.Source, err = attach.Connect(ctx, s.Source, scope, alsoPull...); err != nil {
		return fmt.Errorf("reaching %s: %w", s.place, err)
	}
	return nil
}

// sharesRegistry says whether blobs can be mounted from the other side's repository.
func (s *side) sharesRegistry(other *side) bool {
	return s.layout == nil && other.layout == nil && s.Repository.RegistryStr() == other.Repository.RegistryStr() && s.Repository != other.Repository
}

// resolve reads the manifest or index that the place names.
func (s *side) resolve(ctx context.Context) (*attach.Manifest, error) {
	identifier := s.place.Name
	if s.place.Digest != (v1.Hash{}) {
		identifier = s.place.Digest.String()
	} else if s.layout != nil {
		desc, imageName, err := s.layout.image(s.place.Name)
		if err != nil {
			return nil, err
		}
		s.place.Name, identifier = imageName, desc.Digest.String()
	}
	return attach.Read(ctx, s.Source, identifier)
}

// maxTag bounds a tag, in bytes.
const maxTag = 128

// tagGrammar is the distribution specification's.
var tagGrammar = regexp.MustCompile(`\A[a-zA-Z0-9_][a-zA-Z0-9._-]*\z`)

// publish gives the image its tag, and says which: the destination's, else the source's, unless the destination was given by digest. For a layout this is the moment in
// which anything of the copy becomes visible.
func (s *side) publish(ctx context.Context, m *attach.Manifest, sourceName string) (string, error) {
	tag := s.place.Name
	if tag == "" && s.place.Digest == (v1.Hash{}) {
		tag = sourceName
	}
	switch {
	case s.layout != nil:
		s.layout.setImage(tag, m)
		return tag, s.layout.commit()
	case tag == "":
		return "", nil
	case len(tag) > maxTag || !tagGrammar.MatchString(tag):
		return "", usage("the image's name %q at the source is no tag: give the destination one", tag)
	}
	return tag, attach.WriteManifest(ctx, s.Source, m, tag)
}

func (s *side) close() error {
	if s.layout == nil {
		return nil
	}
	return s.layout.store.close()
}
