package bindir

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/jsonguard"
)

const (
	// descriptorType is what containerd says that it sends.
	descriptorType = "application/vnd.oci.descriptor.v1+json"
	// maxDescriptor bounds the descriptor, in bytes. It has 150; with the
	// annotations that a registry may add, a few KiB.
	maxDescriptor = 64 << 10
	// maxReference bounds the image's name, in bytes: 255 of the repository, 128 of
	// a tag, 71 of a digest and what is between them.
	maxReference = 512
	// maxManifest bounds the size that a manifest may say it has, in bytes; it is
	// containerd's own limit.
	maxManifest = 8 << 20
)

// images are the media types that are images to containerd 2.
var images = []string{
	"application/vnd.oci.image.manifest.v1+json",
	"application/vnd.oci.image.index.v1+json",
	"application/vnd.docker.distribution.manifest.v2+json",
	"application/vnd.docker.distribution.manifest.list.v2+json",
}

// Parse reads a question: the arguments after the program's name, and the
// descriptor. The request's Source has the repository as containerd wrote it,
// and no more. An error is one sentence for the person whose pull it is.
func Parse(args []string, stdin io.Reader) (gate.Request, error) {
	given, err := flags(args)
	if err != nil {
		return gate.Request{}, err
	}
	if given["-stdin-media-type"] != descriptorType {
		return gate.Request{}, fmt.Errorf("containerd sends %q on standard input, which this verifier does not know; want %s",
			jsonguard.Excerpt(given["-stdin-media-type"]), descriptorType)
	}
	// The arguments first: what they say is simpler.
	digest, repository, tagged, err := subject(given["-name"], given["-digest"])
	if err != nil {
		return gate.Request{}, fmt.Errorf("-%w", err)
	}
	mediaType, err := parseDescriptor(stdin, digest)
	if err != nil {
		return gate.Request{}, fmt.Errorf("the descriptor on standard input: %w", err)
	}
	return request(digest, repository, tagged, mediaType), nil
}

// question is the question about an image within containerd's process.
func question(reference, digestText, mediaType string, size int64) (gate.Request, error) {
	digest, repository, tagged, err := subject(reference, digestText)
	if err != nil {
		return gate.Request{}, err
	}
	if err := checkDescriptor(mediaType, size); err != nil {
		return gate.Request{}, fmt.Errorf("the descriptor: %w", err)
	}
	return request(digest, repository, tagged, mediaType), nil
}

func request(digest v1.Hash, repository name.Repository, tagged bool, mediaType string) gate.Request {
	return gate.Request{
		Repository: attach.LogicalName(repository), Digest: digest, MediaType: mediaType,
		// What a tag names is not one of an index; what a digest names may have been chosen from one.
		ParentsKnown: tagged, Source: attach.Source{Repository: repository},
	}
}

// subject is what a question is about.
func subject(reference, digestText string) (digest v1.Hash, repository name.Repository, tagged bool, err error) {
	if digest, err = parseDigest(digestText); err != nil {
		return digest, repository, false, fmt.Errorf("digest: %w", err)
	}
	if repository, tagged, err = parseName(reference, digest); err != nil {
		return digest, repository, false, fmt.Errorf("name: %w", err)
	}
	return digest, repository, tagged, nil
}

// flags reads the arguments: each of the three once, with a value. They are not
// read by package flag, to which "-name=x" and "--name" are the same.
func flags(args []string) (map[string]string, error) {
	known := []string{"-name", "-digest", "-stdin-media-type"}
	given := make(map[string]string)
	for i := 0; i < len(args); i += 2 {
		flag := args[i]
		switch {
		case !slices.Contains(known, flag):
			return nil, fmt.Errorf("argument %q is not one that containerd gives to an image verifier", jsonguard.Excerpt(flag))
		case i+1 == len(args):
			return nil, fmt.Errorf("%s has no value", flag)
		}
		if _, twice := given[flag]; twice {
			return nil, fmt.Errorf("%s is given twice", flag)
		}
		given[flag] = args[i+1]
	}
	for _, flag := range known {
		if given[flag] == "" {
			return nil, fmt.Errorf("%s is missing; containerd starts this program for each pull, people run: touchmark verify", flag)
		}
	}
	return given, nil
}

func parseDigest(text string) (v1.Hash, error) {
	digest, err := v1.NewHash(text)
	if err != nil || digest.Algorithm != "sha256" || digest.String() != text {
		return v1.Hash{}, fmt.Errorf("%q is not a SHA-256 digest", jsonguard.Excerpt(text))
	}
	return digest, nil
}

// parseName reads containerd's name of an image: with its registry, and with a
// tag, a digest or both. No registry is made up for a name that has none. tagged is
// false if containerd goes by a digest.
func parseName(text string, digest v1.Hash) (repository name.Repository, tagged bool, err error) {
	fail := func(why string) (name.Repository, bool, error) {
		return name.Repository{}, false, fmt.Errorf("%q %s", jsonguard.Excerpt(text), why)
	}
	if len(text) > maxReference {
		return fail(fmt.Sprintf("has %d bytes, at most %d are an image's name", len(text), maxReference))
	}
	host, _, ok := strings.Cut(text, "/")
	if !ok || !strings.ContainsAny(host, ".:") && host != "localhost" {
		return fail("does not begin with a registry")
	}
	ref, err := name.ParseReference(text, name.StrictValidation)
	if err != nil {
		return fail("is not an image's name with a tag or a digest")
	}
	pinned, byDigest := ref.(name.Digest)
	if byDigest && pinned.DigestStr() != digest.String() {
		return fail(fmt.Sprintf("and the digest %s disagree", digest))
	}
	if _, err := attach.NormalizeRepository(ref.Context().Name()); err != nil {
		return fail("is not a repository's name by the distribution specification")
	}
	return ref.Context(), !byDigest, nil
}

// parseDescriptor reads the descriptor, and returns the media type. Members
// that are not known are passed over: registries may add annotations.
func parseDescriptor(stdin io.Reader, digest v1.Hash) (mediaType string, err error) {
	data, err := io.ReadAll(io.LimitReader(stdin, maxDescriptor+1))
	switch {
	case err != nil:
		return "", err
	case len(data) == 0:
		return "", errors.New("is missing")
	case len(data) > maxDescriptor:
		return "", fmt.Errorf("is larger than %d bytes", maxDescriptor)
	}
	if err := jsonguard.CheckOpen(data); err != nil {
		return "", err
	}
	var d struct {
		MediaType string `json:"mediaType"`
		Digest    string `json:"digest"`
		Size      int64  `json:"size"`
	}
	// Not the standard library's: that one takes "DIGEST" for the member, too.
	if err := jsonv2.Unmarshal(data, &d); err != nil {
		return "", errors.New("is not a descriptor")
	}
	if d.Digest != digest.String() {
		return "", fmt.Errorf("is about %q, and -digest about %s", jsonguard.Excerpt(d.Digest), digest)
	}
	return d.MediaType, checkDescriptor(d.MediaType, d.Size)
}

// checkDescriptor checks what a descriptor says besides its digest.
func checkDescriptor(mediaType string, size int64) error {
	switch {
	case !slices.Contains(images, mediaType):
		return fmt.Errorf("is of the media type %q, which is not an image's", jsonguard.Excerpt(mediaType))
	case size <= 0 || size > maxManifest:
		return fmt.Errorf("says that the manifest has %d bytes", size)
	}
	return nil
}
