package proxy_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/touchmark/touchmark/integration/internal/lab"
)

// benchLayerSize is what the image of the benchmarks holds, besides a manifest.
const benchLayerSize = 1 << 30

// bench is one signed image in distribution, served by it, by another distribution as its pull-through cache, by a plain
// reverse proxy, and by touchmark without a cache and with one. Each is a process of its own.
type bench struct {
	dir, data, beside            string // files, distribution's own files, and the program that runs beside
	world                        *lab.World
	layer, manifest              string // paths, the latter by tag
	byDigest                     string // the manifest by its digest
	registry, pullThrough, plain *lab.Process
	proxy, kept                  *lab.Process
	client                       *http.Client
}

// BenchmarkProxy is what "touchmark proxy" costs, by turns with what else could stand in its place. Figures are medians of
// the rounds, and x-of-... those of the rounds' ratios. One round is one operation: -benchtime 5x.
func BenchmarkProxy(b *testing.B) {
	p := newBench(b)
	b.Run("manifests/tag", func(b *testing.B) { p.manifests(b, p.manifest) })
	b.Run("manifests/digest", func(b *testing.B) { p.manifests(b, p.byDigest) })
	b.Run("blob", p.blob)
	b.Run("blob-at-2.5Gbit", p.shaped)
	b.Run("idle", p.idle)
	b.Run("streams", p.streams)
}

func newBench(b *testing.B) *bench {
	b.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 128, DisableCompression: true}
	p := &bench{dir: b.TempDir(), data: b.TempDir(), world: lab.New(b, true), client: &http.Client{Transport: transport}}
	b.Cleanup(transport.CloseIdleConnections)
	p.beside = filepath.Join(p.dir, "beside")
	if out, err := exec.Command("go", "build", "-o", p.beside, "./testdata/beside").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	address := lab.FreeAddress(b)
	command, file := lab.Distribution(b, address, p.data, "")
	p.registry = command.Serve(b, "http://"+address+"/v2/", "serve", file)
	p.push(b, address)

	cacheAddress, upstream := lab.FreeAddress(b), "http://"+address
	command, file = lab.Distribution(b, cacheAddress, b.TempDir(), fmt.Sprintf("proxy: {remoteurl: %q}", upstream))
	p.pullThrough = command.Serve(b, "http://"+cacheAddress+"/v2/", "serve", file)
	plainAddress := lab.FreeAddress(b)
	p.plain = lab.Command{Program: p.beside}.Serve(b, "http://"+plainAddress+"/v2/", "proxy", upstream, plainAddress)
	p.proxy = p.touchmark(b, upstream, "")
	p.kept = p.touchmark(b, upstream, p.cache(b))
	return p
}

// push makes the image and alice's signature of it.
func (p *bench) push(b *testing.B, address string) {
	b.Helper()
	layer := newPatternLayer(b)
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		b.Fatal(err)
	}
	reference := address + "/app/web:v1"
	ref, err := name.ParseReference(reference)
	if err != nil {
		b.Fatal(err)
	}
	if err := remote.Write(ref, image); err != nil {
		b.Fatal(err)
	}
	digest, err := image.Digest()
	if err != nil {
		b.Fatal(err)
	}
	lab.Touchmark(b, 0, "sign", "--server", p.world.Stack.URL, "--as", "alice@acme.example", "--trusted-root", p.world.Root, reference)
	p.manifest, p.byDigest = "app/web/manifests/v1", "app/web/manifests/"+digest.String()
	p.layer = "app/web/blobs/" + layer.digest.String()
	policy := fmt.Sprintf(`apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata: {name: release}
spec:
  images: [{glob: "registry.acme.example/**"}]
  authorities:
  - keyless: {identities: [{issuer: %q, subject: alice@acme.example}]}
`, p.world.Stack.URL)
	if err := os.WriteFile(filepath.Join(p.dir, "policy.yaml"), []byte(policy), 0o600); err != nil {
		b.Fatal(err)
	}
}

// cache is the line about a new cache.
func (p *bench) cache(b *testing.B) string {
	return fmt.Sprintf("cache: {dir: %q, size: 4GiB}\n", filepath.Join(b.TempDir(), "cache"))
}

// config writes the configuration of a proxy.
func (p *bench) config(b *testing.B, listen, upstream, further string) string {
	b.Helper()
	file := filepath.Join(b.TempDir(), "proxy.yaml")
	text := fmt.Sprintf("listen: %s\npolicy: %s\ntrust: [{name: acme, file: %s}]\nregistries: [{name: registry.acme.example, upstream: %q, allowHTTP: true}]\n%s",
		listen, filepath.Join(p.dir, "policy.yaml"), p.world.Root, upstream, further)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	return file
}

// touchmark starts a proxy.
func (p *bench) touchmark(b *testing.B, upstream, further string) *lab.Process {
	b.Helper()
	address := lab.FreeAddress(b)
	s := lab.Command{Program: lab.Program()}.Serve(b, "http://"+address+"/v2/", "proxy", "--config", p.config(b, address, upstream, further))
	p.get(b, s, p.manifest)
	return s
}

// get reads a manifest or blob from a server, and says how long that took.
func (p *bench) get(b *testing.B, from *lab.Process, path string) time.Duration {
	b.Helper()
	start := time.Now()
	if err := p.read(from, path); err != nil {
		b.Fatalf("%v\n%s", err, from.Log())
	}
	return time.Since(start)
}

// read does it for many at a time.
func (p *bench) read(from *lab.Process, path string) error {
	req, err := http.NewRequest(http.MethodGet, from.URL+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", string(types.DockerManifestSchema2))
	resp, err := p.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	buffer := make([]byte, min(256<<10, max(1, resp.ContentLength)))
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, resp.Body, buffer)
	if err != nil || resp.StatusCode != http.StatusOK || strings.Contains(path, "/blobs/") && n != benchLayerSize {
		return fmt.Errorf("%s%s: %d, %d bytes, %v", from.URL, path, resp.StatusCode, n, err)
	}
	return nil
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

// ratio is the median of the rounds' own ratios: what else the machine did in a round was the same for both.
func ratio(of, to []float64) float64 {
	ratios := make([]float64, len(of))
	for i := range of {
		ratios[i] = of[i] / to[i]
	}
	return median(ratios)
}

// patternLayer is benchLayerSize bytes that take no memory.
type patternLayer struct{ digest v1.Hash }

var _ v1.Layer = patternLayer{}

func newPatternLayer(b *testing.B) patternLayer {
	b.Helper()
	sum := sha256.New()
	if _, err := io.Copy(sum, pattern()); err != nil {
		b.Fatal(err)
	}
	return patternLayer{v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum.Sum(nil))}}
}

// pattern reads the layer's content.
func pattern() io.Reader {
	block := make([]byte, 256<<10)
	for i := range block {
		block[i] = byte(i % 251)
	}
	return io.LimitReader(repeated{bytes.NewReader(block)}, benchLayerSize)
}

type repeated struct{ *bytes.Reader }

// Read implements io.Reader.
func (r repeated) Read(p []byte) (int, error) {
	if r.Len() == 0 {
		_, _ = r.Seek(0, io.SeekStart)
	}
	return r.Reader.Read(p)
}

// Digest implements v1.Layer, as all that follows.
func (l patternLayer) Digest() (v1.Hash, error)           { return l.digest, nil }
func (l patternLayer) DiffID() (v1.Hash, error)           { return l.digest, nil }
func (patternLayer) Compressed() (io.ReadCloser, error)   { return io.NopCloser(pattern()), nil }
func (patternLayer) Uncompressed() (io.ReadCloser, error) { return io.NopCloser(pattern()), nil }
func (patternLayer) Size() (int64, error)                 { return benchLayerSize, nil }
func (patternLayer) MediaType() (types.MediaType, error)  { return types.DockerLayer, nil }
