package coretest

import (
	"io"
	"log"
	"math/rand"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Image returns a small OCI image for linux/amd64. Equal seeds give equal images.
func Image(tb testing.TB, seed int64) v1.Image {
	tb.Helper()
	return platformImage(tb, seed, v1.Platform{OS: "linux", Architecture: "amd64"})
}

func platformImage(tb testing.TB, seed int64, platform v1.Platform) v1.Image {
	tb.Helper()
	layers, err := random.Image(512, 2, random.WithSource(rand.NewSource(seed)))
	if err != nil {
		tb.Fatal(err)
	}
	config, err := layers.ConfigFile()
	if err != nil {
		tb.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = platform.OS, platform.Architecture
	image, err := mutate.ConfigFile(layers, config)
	if err != nil {
		tb.Fatal(err)
	}
	return mutate.ConfigMediaType(mutate.MediaType(image, types.OCIManifestSchema1), types.OCIConfigJSON)
}

// Index returns an OCI image index of two small images, for linux/amd64 and linux/arm64. Equal seeds give equal indexes.
func Index(tb testing.TB, seed int64) v1.ImageIndex {
	tb.Helper()
	var children []mutate.IndexAddendum
	for i, architecture := range []string{"amd64", "arm64"} {
		platform := v1.Platform{OS: "linux", Architecture: architecture}
		children = append(children, mutate.IndexAddendum{
			Add: platformImage(tb, seed+int64(i), platform), Descriptor: v1.Descriptor{Platform: &platform},
		})
	}
	return mutate.IndexMediaType(mutate.AppendManifests(empty.Index, children...), types.OCIImageIndex)
}

// Digest returns the SHA-256 of the manifest of an image or index.
func Digest(tb testing.TB, of interface{ RawManifest() ([]byte, error) }) [32]byte {
	tb.Helper()
	raw, err := of.RawManifest()
	if err != nil {
		tb.Fatal(err)
	}
	return [32]byte(digest(orSHA256(0), raw))
}

// NewRegistry starts a registry in memory, with or without the referrers API, and returns its host and port. It stops with the test. Being on loopback it
// speaks plain HTTP, which go-containerregistry tries there by itself.
func NewRegistry(tb testing.TB, withReferrers bool) (host string) {
	tb.Helper()
	handler := registry.New(registry.WithReferrersSupport(withReferrers), registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(handler)
	tb.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// Push writes an image or index under ref ("host:port/repository:tag") and returns the reference by digest.
func Push(tb testing.TB, ref string, what remote.Taggable) name.Digest {
	tb.Helper()
	tag, err := name.ParseReference(ref)
	if err != nil {
		tb.Fatal(err)
	}
	switch w := what.(type) {
	case v1.ImageIndex:
		err = remote.WriteIndex(tag, w)
	case v1.Image:
		err = remote.Write(tag, w)
	default:
		err = remote.Put(tag, w)
	}
	if err != nil {
		tb.Fatal(err)
	}
	descriptor, err := remote.Head(tag)
	if err != nil {
		tb.Fatal(err)
	}
	return tag.Context().Digest(descriptor.Digest.String())
}
