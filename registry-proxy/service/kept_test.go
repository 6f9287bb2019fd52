package service

import (
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	ggcrregistry "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/registry-proxy/auth"
	"github.com/touchmark/touchmark/registry-proxy/cache"
	"github.com/touchmark/touchmark/registry-proxy/config"
)

const passPolicy = `apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata: {name: all}
spec:
  images: [{glob: "**"}]
  authorities: [{static: {action: pass}}]
`

// run starts a service, which ends with the test.
func run(t *testing.T, conf *config.Config) *Service {
	t.Helper()
	s, err := New(t.Context(), Config{
		Read: func() (*config.Config, error) { return conf, nil },
		Load: func(ctx context.Context, _ string, roots []*trust.Root) (*policy.Set, []*trust.Root, error) {
			set, err := policy.Parse(ctx, []byte(passPolicy), policy.Options{})
			return set, roots, err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

// TestReplicasOfAService: one serves the manifest, the other is asked for a blob that no tag leads to.
func TestReplicasOfAService(t *testing.T) {
	upstream := httptest.NewServer(ggcrregistry.New(ggcrregistry.Logger(log.New(io.Discard, "", 0))))
	defer upstream.Close()
	ref, err := name.ParseReference(strings.TrimPrefix(upstream.URL, "http://") + "/app:v1")
	if err != nil {
		t.Fatal(err)
	}
	img, err := random.Image(1000, 1)
	if err != nil {
		t.Fatal(err)
	}
	other, err := random.Image(1000, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img); err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, other); err != nil { // the tag moves
		t.Fatal(err)
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(strings.Repeat("s", 64)), 0o600); err != nil {
		t.Fatal(err)
	}
	conf := func() *config.Config {
		return &config.Config{
			Listen: "127.0.0.1:0", Registries: []config.Registry{{Name: "registry.acme.example", Upstream: upstream.URL, Policy: "policy.yaml"}},
			Auth:  auth.Config{Anonymous: true},
			Cache: config.Cache{Dir: t.TempDir(), Size: cache.MinBytes}, Offline: time.Hour, Peers: config.Peers{SecretFile: secret},
		}
	}
	a := conf()
	a.Peers.Listen = "127.0.0.1:0"
	first := run(t, a)
	b := conf()
	b.Peers.URLs = []string{first.kept.answer.URL()}
	second := run(t, b)

	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	m, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	blob := "/v2/app/blobs/" + m.Layers[0].Digest.String()
	for _, step := range []struct {
		s      *Service
		path   string
		status int
	}{
		{second, blob, http.StatusServiceUnavailable},
		{first, "/v2/app/manifests/" + digest.String(), http.StatusOK},
		{second, blob, http.StatusOK},
		{first, blob, http.StatusOK},
	} {
		resp, err := http.Get(step.s.URL() + step.path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != step.status {
			t.Errorf("%s: %d %.200s, want %d", step.path, resp.StatusCode, body, step.status)
		}
	}
}

func TestKeptNamesWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	held, err := cache.Open(cache.Config{Dir: filepath.Join(dir, "held"), MaxBytes: cache.MinBytes})
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	for want, c := range map[string]config.Config{
		"cache: ":          {Cache: config.Cache{Dir: filepath.Join(dir, "held"), Size: cache.MinBytes}},
		"must be 67108864": {Cache: config.Cache{Dir: filepath.Join(dir, "small"), Size: 1}},
		"peers: ":          {Peers: config.Peers{SecretFile: filepath.Join(dir, "none")}, Cache: config.Cache{Dir: filepath.Join(dir, "free"), Size: cache.MinBytes}},
	} {
		if _, err := openKept(t.Context(), &c, keys.Options{}, nil, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
	free, err := cache.Open(cache.Config{Dir: filepath.Join(dir, "free"), MaxBytes: cache.MinBytes})
	if err != nil {
		t.Fatalf("the directory is still held: %v", err)
	}
	free.Close()
}

// No image is countersigned under a name that leads to another registry.
func TestClientNames(t *testing.T) {
	proxy := []string{"pull.example", "pull.example:5443"}
	for _, c := range []struct {
		registry config.Registry
		alone    bool
		want     string
	}{
		{config.Registry{}, true, "pull.example pull.example:5443"},
		{config.Registry{}, false, ""},
		{config.Registry{Prefix: "hub"}, false, "pull.example/hub pull.example:5443/hub"},
		{config.Registry{Prefix: "hub"}, true, "pull.example/hub pull.example:5443/hub"},
		{config.Registry{Hosts: []string{"hub.example"}, Prefix: "hub"}, false, "hub.example"},
	} {
		if got := strings.Join(clientNames(c.registry, c.alone, proxy), " "); got != c.want {
			t.Errorf("%+v: %q, want %q", c.registry, got, c.want)
		}
	}
}
