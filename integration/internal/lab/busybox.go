package lab

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Busybox is an image for linux/amd64 that can run: it prints what /message holds. Equal messages give equal images.
func Busybox(tb testing.TB, message string) v1.Image {
	tb.Helper()
	program, err := os.ReadFile(Tool(tb, debian13) + "/bin/busybox")
	if err != nil {
		tb.Fatal(err)
	}
	config := &v1.ConfigFile{OS: "linux", Architecture: "amd64", Config: v1.Config{Cmd: []string{"/bin/busybox", "cat", "/message"}}}
	image, err := mutate.ConfigFile(empty.Image, config)
	if err != nil {
		tb.Fatal(err)
	}
	image = mutate.ConfigMediaType(mutate.MediaType(image, types.OCIManifestSchema1), types.OCIConfigJSON)
	if image, err = mutate.AppendLayers(image, layer(tb, "bin/busybox", 0o755, program), layer(tb, "message", 0o644, []byte(message))); err != nil {
		tb.Fatal(err)
	}
	return image
}

// layer holds one file.
func layer(tb testing.TB, path string, mode int64, content []byte) v1.Layer {
	tb.Helper()
	var text bytes.Buffer
	w := tar.NewWriter(&text)
	err := w.WriteHeader(&tar.Header{Name: path, Mode: mode, Size: int64(len(content)), Format: tar.FormatUSTAR})
	if err == nil {
		_, err = w.Write(content)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		tb.Fatal(err)
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(text.Bytes())), nil
	}, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		tb.Fatal(err)
	}
	return l
}
