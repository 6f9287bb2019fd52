package node

import (
	"errors"
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/jsonguard"
)

// maxName bounds an image's name, in bytes: 255 of the repository, 128 of a tag, 71
// of a digest and what is between them.
const maxName = 512

// ErrNoName is the error of [ParseName] for CRI's names that are none: the digest of
// an image's configuration.
var ErrNoName = errors.New("it is known by its ID alone")

// Name is an image's name, taken apart.
type Name struct {
	Repository string // as containerd has it, with docker.io for Docker Hub
	Logical    string // what policies speak of
	Digest     string // if it has one; a tag besides does not count then
	// Full says that the registry is written out. containerd's own names have one,
	// unless somebody imported an image under another name.
	Full bool
}

// ParseName reads the name of an image of containerd or of a pod, which may have a
// tag, a digest, both or neither; without a registry it is Docker Hub's.
func ParseName(text string) (Name, error) {
	if strings.HasPrefix(text, "sha256:") {
		return Name{}, ErrNoName
	}
	if len(text) > maxName {
		return Name{}, fmt.Errorf("an image's name has %d bytes, at most %d are one", len(text), maxName)
	}
	ref, err := name.ParseReference(text)
	if err != nil {
		return Name{}, fmt.Errorf("%q is not an image's name", jsonguard.Excerpt(text))
	}
	repository := ref.Context().Name()
	logical, err := attach.NormalizeRepository(repository)
	if err != nil {
		return Name{}, fmt.Errorf("%q: %w", jsonguard.Excerpt(text), err)
	}
	if rest, ok := strings.CutPrefix(repository, name.DefaultRegistry+"/"); ok {
		repository = "docker.io/" + rest
	}
	host, _, slash := strings.Cut(text, "/")
	n := Name{Repository: repository, Logical: logical, Full: slash && (strings.ContainsAny(host, ".:") || host == "localhost")}
	if pinned, ok := ref.(name.Digest); ok {
		n.Digest = pinned.DigestStr()
	}
	return n, nil
}
