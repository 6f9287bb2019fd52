package bindir

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"

	"github.com/touchmark/touchmark/core/gate/ask"
	"github.com/touchmark/touchmark/core/imagename"
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
	// maxPath bounds a repository's path, in bytes.
	maxPath = 255
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
// descriptor. Physical is the repository as containerd wrote it. An error is one sentence for the person whose pull it is.
func Parse(args []string, stdin io.Reader) (ask.Question, error) {
	given, err := flags(args)
	if err != nil {
		return ask.Question{}, err
	}
	if given["-stdin-media-type"] != descriptorType {
		return ask.Question{}, fmt.Errorf("containerd sends %q on standard input, which this verifier does not know; want %s",
			jsonguard.Excerpt(given["-stdin-media-type"]), descriptorType)
	}
	// The arguments first: what they say is simpler.
	q, err := subject(given["-name"], given["-digest"])
	if err != nil {
		return ask.Question{}, fmt.Errorf("-%w", err)
	}
	if q.MediaType, err = parseDescriptor(stdin, q.Digest); err != nil {
		return ask.Question{}, fmt.Errorf("the descriptor on standard input: %w", err)
	}
	return q, nil
}

// question is the question about an image within containerd's process.
func question(reference, digest, mediaType string, size int64) (ask.Question, error) {
	q, err := subject(reference, digest)
	if err != nil {
		return ask.Question{}, err
	}
	if err := checkDescriptor(mediaType, size); err != nil {
		return ask.Question{}, fmt.Errorf("the descriptor: %w", err)
	}
	q.MediaType = mediaType
	return q, nil
}

// subject is what a question is about.
func subject(reference, digest string) (ask.Question, error) {
	if !imagename.IsDigest(digest) {
		return ask.Question{}, fmt.Errorf("digest: %q is not a SHA-256 digest", jsonguard.Excerpt(digest))
	}
	host, path, tagged, err := parseName(reference, digest)
	if err != nil {
		return ask.Question{}, fmt.Errorf("name: %w", err)
	}
	logical := imagename.Logical(host, path)
	if _, p, _ := strings.Cut(logical, "/"); p != path {
		return ask.Question{}, fmt.Errorf("name: %q lacks library/, without which Docker Hub has no such image", jsonguard.Excerpt(reference))
	}
	return ask.Question{
		Repository: logical, Digest: digest, Physical: host + "/" + path,
		// What a tag names is not one of an index; what a digest names may have been chosen from one.
		ParentsKnown: tagged,
	}, nil
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

// parseName reads containerd's name of an image: with its registry, and with a
// tag, a digest or both. No registry is made up for a name that has none. tagged is
// false if containerd goes by a digest.
func parseName(text, digest string) (host, path string, tagged bool, err error) {
	fail := func(why string) (string, string, bool, error) {
		return "", "", false, fmt.Errorf("%q %s", jsonguard.Excerpt(text), why)
	}
	if len(text) > maxReference {
		return fail(fmt.Sprintf("has %d bytes, at most %d are an image's name", len(text), maxReference))
	}
	host, rest, ok := strings.Cut(text, "/")
	if !ok || !strings.ContainsAny(host, ".:") && host != "localhost" {
		return fail("does not begin with a registry")
	}
	rest, pinned, byDigest := strings.Cut(rest, "@")
	path, tag, tagged := strings.Cut(rest, ":")
	switch {
	case !isHost(host), len(path) > maxPath || !imagename.IsPath(path),
		tagged && !imagename.IsTag(tag), byDigest && !imagename.IsDigest(pinned), !tagged && !byDigest:
		return fail("is not an image's name with a tag or a digest")
	case byDigest && pinned != digest:
		return fail(fmt.Sprintf("and the digest %s disagree", digest))
	}
	return host, path, !byDigest, nil
}

// isHost reports whether s is the authority of a URL: a host, and perhaps a port.
func isHost(s string) bool {
	u, err := url.Parse("//" + s)
	return err == nil && u.Host == s && u.Hostname() != ""
}

// parseDescriptor reads the descriptor, and returns the media type. Members
// that are not known are passed over: registries may add annotations.
func parseDescriptor(stdin io.Reader, digest string) (mediaType string, err error) {
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
	if d.Digest != digest {
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
