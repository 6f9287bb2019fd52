package situations

import (
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/policy/cue"
	"github.com/touchmark/touchmark/core/policy/rego"
	"github.com/touchmark/touchmark/core/trust"
)

// World is every situation, made real.
type World struct {
	Dir string // holds the files of the sites
	// Registry is host and port, on loopback and without TLS. It is also the
	// registry's logical name, the one that the policies are about.
	Registry string
	Sites    map[string]*Site
	Images   []*Image // one for each situation, in the order of the matrix
	// Stop takes the registry and the lookaside server away: nothing listens there any more.
	Stop func()
}

// Image is what an enforcement point is asked about.
type Image struct {
	Situation
	Site *Site
	// Repository is its logical name, with the registry.
	Repository string
	// Digest is "sha256:" and so on, of the manifest or index that is asked for.
	Digest string
	// Parents are the digests of indexes that the enforcement point knows to list
	// the image, or believes to.
	Parents []string
	// Manifests are the image's one, or those of the platforms of an index, in its order.
	Manifests []Manifest
}

// Manifest is one of a single image.
type Manifest struct {
	Digest string
	Blobs  []string // digests of its configuration and its layers
}

// tag of each image or index; a platform of an index has none.
const tag = "1"

// Reference is the image as a client asks for it: by tag, or by digest where it
// has none.
func (i *Image) Reference() string {
	if i.Facts.Get("asked") == "platform" {
		return i.Repository + "@" + i.Digest
	}
	return i.Repository + ":" + tag
}

// Source is the repository in the registry.
func (i *Image) Source() (attach.Source, error) {
	repo, err := name.NewRepository(i.Repository)
	return attach.Source{Repository: repo}, err
}

// Build makes every situation real. Everything ends with the test.
func Build(tb testing.TB) *World {
	tb.Helper()
	all, err := All()
	if err != nil {
		tb.Fatal(err)
	}
	b := &builder{World: &World{Dir: tb.TempDir(), Sites: make(map[string]*Site)}, cast: newCast(tb)}
	b.server, b.Registry, b.Stop = newServer(tb)
	b.now = time.Now().Add(-time.Minute)
	b.writeSites(tb)
	for i, s := range all {
		b.Images = append(b.Images, b.build(tb, s, int64(10*i)))
	}
	b.writeSayings(tb)
	b.server.mu.Lock()
	defer b.server.mu.Unlock()
	for _, i := range b.Images {
		if f, ok := faults[i.Facts.Get("fault")]; ok {
			b.server.faults[i.path(b.Registry)] = f
		}
	}
	return b.World
}

// path is the repository without the registry.
func (i *Image) path(registry string) string { return strings.TrimPrefix(i.Repository, registry+"/") }

// Set is the site's policies.
func (s *Site) Set(tb testing.TB) *policy.Set {
	tb.Helper()
	set, err := policy.Load(tb.Context(), s.Policy, policy.Options{Evaluators: map[string]policy.Evaluator{"rego": rego.New(), "cue": cue.New()}})
	if err != nil {
		tb.Fatal(err)
	}
	return set
}

// Gate is a gate with the site's files in force, in this process.
func (s *Site) Gate(tb testing.TB) *gate.Gate {
	tb.Helper()
	var roots []*trust.Root
	for _, r := range s.Roots {
		root, err := trust.Load(r.Name, r.File)
		if err != nil {
			tb.Fatal(err)
		}
		roots = append(roots, root)
	}
	g, err := gate.New(gate.Config{Policy: s.Set(tb), Roots: roots})
	if err != nil {
		tb.Fatal(err)
	}
	return g
}

// builder is a world that is being made.
type builder struct {
	*World
	*cast
	server *server
	now    time.Time // a minute ago, so that nothing is signed in the future
}

// build pushes the image of a situation, and everything that lies beside it.
func (b *builder) build(tb testing.TB, s Situation, seed int64) *Image {
	tb.Helper()
	f := s.Facts
	i := &Image{Situation: s, Site: b.Sites[f.Get("site")], Repository: b.Registry + "/" + f.Get("policy") + "/" + s.Name}
	b.server.mu.Lock()
	b.server.isOld[i.path(b.Registry)] = f.Get("registry") != "current"
	b.server.mu.Unlock()

	var whole name.Digest
	var platforms []name.Digest
	if f.Get("image") == "index" {
		index := coretest.Index(tb, seed)
		whole = coretest.Push(tb, i.Repository+":"+tag, index)
		manifest, err := index.IndexManifest()
		if err != nil {
			tb.Fatal(err)
		}
		for _, d := range manifest.Manifests {
			platforms = append(platforms, whole.Digest(d.Digest.String()))
			image, err := index.Image(d.Digest)
			if err != nil {
				tb.Fatal(err)
			}
			i.Manifests = append(i.Manifests, manifestOf(tb, image))
		}
	} else {
		image := coretest.Image(tb, seed)
		whole = coretest.Push(tb, i.Repository+":"+tag, image)
		i.Manifests = []Manifest{manifestOf(tb, image)}
	}
	var signed []name.Digest
	switch f.Get("on") {
	case "whole":
		signed = []name.Digest{whole}
	case "platforms":
		signed = platforms
	case "one-platform":
		signed = platforms[:1]
	case "whole-and-platforms":
		signed = append([]name.Digest{whole}, platforms...)
	}
	for _, subject := range signed {
		b.dress(tb, i, subject)
	}
	i.Digest = whole.DigestStr()
	if f.Get("asked") == "platform" {
		i.Digest, i.Manifests = platforms[0].DigestStr(), i.Manifests[:1]
		switch f.Get("parent") {
		case "known":
			i.Parents = []string{whole.DigestStr()}
		case "foreign": // signed, and does not list it
			foreign := coretest.Push(tb, i.Repository+":foreign", coretest.Index(tb, seed+5))
			b.dress(tb, i, foreign)
			i.Parents = []string{foreign.DigestStr()}
		}
	}
	return i
}

func manifestOf(tb testing.TB, image v1.Image) Manifest {
	tb.Helper()
	digest, err := image.Digest()
	if err != nil {
		tb.Fatal(err)
	}
	content, err := image.Manifest()
	if err != nil {
		tb.Fatal(err)
	}
	m := Manifest{digest.String(), []string{content.Config.Digest.String()}}
	for _, layer := range content.Layers {
		m.Blobs = append(m.Blobs, layer.Digest.String())
	}
	return m
}

// Request is the question to a gate.
func (i *Image) Request() (gate.Request, error) {
	source, err := i.Source()
	if err != nil {
		return gate.Request{}, err
	}
	req := gate.Request{Repository: i.Repository, ParentsKnown: true, Source: source}
	if req.Digest, err = v1.NewHash(i.Digest); err != nil {
		return gate.Request{}, err
	}
	for _, parent := range i.Parents {
		h, err := v1.NewHash(parent)
		if err != nil {
			return gate.Request{}, err
		}
		req.Parents = append(req.Parents, h)
	}
	return req, nil
}

func sum(tb testing.TB, d name.Digest) [32]byte {
	tb.Helper()
	raw, err := hex.DecodeString(strings.TrimPrefix(d.DigestStr(), "sha256:"))
	if err != nil || len(raw) != 32 {
		tb.Fatalf("digest %s", d.DigestStr())
	}
	return [32]byte(raw)
}
