package skopeo

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/attach"
)

// Kind is what sort of place an image is taken from or to.
type Kind string

// The kinds of places.
const (
	Registry Kind = "docker"
	Layout   Kind = "oci"
	Archive  Kind = "oci-archive"
)

// Place is where an image is taken from, or to.
type Place struct {
	Kind Kind
	// Source is the repository and how to reach it, for a registry.
	Source attach.Source
	// Path is the layout's directory or the archive's file.
	Path string
	// Name is the tag, or in a layout the image's name in index.json (org.opencontainers.image.ref.name); may be empty.
	Name string
	// Digest is the zero value where none is given.
	Digest v1.Hash
}

// UsageError says what was asked for that can't be.
type UsageError struct{ msg string }

// Error is the sentence.
func (e *UsageError) Error() string { return e.msg }

func usage(format string, args ...any) error { return &UsageError{fmt.Sprintf(format, args...)} }

// refusedTransports are skopeo's names for places to which this doesn't copy, each with the reason.
var refusedTransports = map[string]string{
	"docker-archive":     "it holds layers unpacked and a manifest of its own, so that digests change and no signature fits; use oci-archive:",
	"docker-daemon":      "Docker's store keeps no manifests that were signed; push to a registry, or use oci-archive:",
	"dir":                "it has no place for what is attached to an image; use oci:",
	"containers-storage": "it keeps layers unpacked; let podman or skopeo pull from the copy",
	"ostree":             "it keeps layers unpacked",
	"sif":                "it keeps layers unpacked",
	"tarball":            "it is no image",
}

// ParsePlace reads a place as skopeo's users write it: "registry.example/app:1" (also with docker:// in front), "oci:DIRECTORY[:NAME]", "oci-archive:FILE[:NAME]", each with
// @sha256:... instead of the tag or name if wanted. As with skopeo, a path can't have a colon. A registry without a tag has an empty Name. The error is a [*UsageError].
func ParsePlace(s string, opts ...name.Option) (Place, error) {
	transport, rest, _ := strings.Cut(s, ":")
	if why, refused := refusedTransports[transport]; refused {
		return Place{}, usage("%s: %s: is not copied from or to: %s", s, transport, why)
	}
	if transport == string(Layout) || transport == string(Archive) {
		return parsePath(Kind(transport), rest, s)
	}
	ref, err := name.ParseReference(strings.TrimPrefix(s, "docker://"), append(opts, name.WithDefaultTag(""))...)
	if err != nil {
		return Place{}, usage("%q: %v", s, err)
	}
	p := Place{Kind: Registry, Source: attach.Source{Repository: ref.Context()}}
	if d, ok := ref.(name.Digest); ok {
		p.Digest, err = parseDigest(d.DigestStr())
		return p, err
	}
	p.Name = ref.Identifier()
	return p, nil
}

func parsePath(kind Kind, rest, whole string) (Place, error) {
	p := Place{Kind: kind}
	rest, digest, hasDigest := strings.Cut(rest, "@")
	if hasDigest {
		var err error
		if p.Digest, err = parseDigest(digest); err != nil {
			return p, err
		}
	}
	var hasName bool
	p.Path, p.Name, hasName = strings.Cut(rest, ":")
	switch {
	case p.Path == "":
		return p, usage("%q: no path after %s:", whole, kind)
	case hasName && hasDigest:
		return p, usage("%q: give a name or a digest", whole)
	case hasName && (len(p.Name) > maxRefName || !refName.MatchString(p.Name)):
		return p, usage("%q: %q is not a name for an image in a layout", whole, p.Name)
	}
	return p, nil
}

// maxRefName bounds a name, in bytes; index.json is read by others, too.
const maxRefName = 255

// refName is what org.opencontainers.image.ref.name may be in the image specification, but for where its separators may stand.
var refName = regexp.MustCompile(`\A[A-Za-z0-9][A-Za-z0-9._:/+-]*\z`)

func parseDigest(s string) (v1.Hash, error) {
	h, err := v1.NewHash(s)
	if err != nil || h.Algorithm != "sha256" {
		return h, usage("%q is not a SHA-256 digest", s)
	}
	return h, nil
}

// String is the place as it is written.
func (p Place) String() string {
	s := string(p.Kind) + ":" + p.Path
	if p.Kind == Registry {
		s = p.Source.Repository.Name()
	}
	if p.Digest != (v1.Hash{}) {
		return s + "@" + p.Digest.String()
	}
	if p.Name != "" {
		s += ":" + p.Name
	}
	return s
}
