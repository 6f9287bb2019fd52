package registries

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/integration/internal/lab"
	registryproxy "github.com/touchmark/touchmark/registry-proxy"
)

const release = `apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata: {name: release}
spec:
  images: [{glob: "registry.example/**"}]
  authorities:
  - keyless:
      identities: [{issuer: "` + coretest.Issuer + `", subject: alice@acme.example}]
`

// front is a proxy before one registry, which real clients pull through.
type front struct {
	upstream attach.Source
	sigstore *coretest.Sigstore
	host     string
}

// newFront puts a proxy before the registry of a repository, which is spoken to by this scheme.
func newFront(t *testing.T, scheme string, upstream attach.Source) *front {
	t.Helper()
	sigstore, clock := coretest.New(t), coretest.NewClock(coretest.Start)
	set, err := policy.Parse(t.Context(), []byte(release), policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	g, err := gate.New(gate.Config{Policy: set, Roots: []*trust.Root{sigstore.TrustedRoot(t)}, Now: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	p, err := registryproxy.New(registryproxy.Config{
		Upstream: scheme + "://" + upstream.Repository.RegistryStr(), LogicalName: "registry.example",
		Admitter: g, Keychain: upstream.Keychain, Transport: upstream.Transport, Now: clock.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(p.Handler())
	t.Cleanup(server.Close)
	return &front{upstream, sigstore, strings.TrimPrefix(server.URL, "http://")}
}

// push puts an image into the registry itself, signed by somebody, or by nobody.
func (f *front) push(t *testing.T, tag string, seed int64, by string) {
	t.Helper()
	options := []remote.Option{remote.WithContext(t.Context())}
	if f.upstream.Transport != nil {
		options = append(options, remote.WithTransport(f.upstream.Transport))
	}
	if f.upstream.Keychain != nil {
		options = append(options, remote.WithAuthFromKeychain(f.upstream.Keychain))
	}
	image := coretest.Image(t, seed)
	if err := remote.Write(f.upstream.Repository.Tag(tag), image, options...); err != nil {
		t.Fatal(err)
	}
	if by == "" {
		return
	}
	evidence := f.sigstore.SignDigest(t, coretest.Digest(t, image), coretest.SignOptions{Identity: coretest.Email(by)})
	body, err := bundle.Marshal(evidence)
	if err != nil {
		t.Fatal(err)
	}
	subject, _, err := attach.Resolve(t.Context(), f.upstream, f.upstream.Repository.Tag(tag))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := attach.WriteBundle(t.Context(), f.upstream, subject, body, predicateType, coretest.Start); err != nil {
		t.Fatal(err)
	}
}

// client is a stock client that pulls an image to nowhere in particular.
type client struct {
	name string
	pull func(t *testing.T, image string) lab.Result
}

func clients(t *testing.T) []client {
	t.Helper()
	crane, skopeo, oras := lab.Tool(t, "crane-v0.22.1"), coretest.RequireTool(t, "skopeo"), lab.Tool(t, "oras-v1.3.6")
	accept := filepath.Join(t.TempDir(), "policy.json")
	if err := os.WriteFile(accept, []byte(`{"default":[{"type":"insecureAcceptAnything"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	return []client{
		{"crane", func(t *testing.T, image string) lab.Result {
			return lab.Command{Program: crane}.Run(t, "pull", "--insecure", image, filepath.Join(t.TempDir(), "image.tar"))
		}},
		{"skopeo", func(t *testing.T, image string) lab.Result {
			return lab.Command{Program: skopeo}.Run(t, "--policy", accept, "copy", "--src-tls-verify=false", "docker://"+image, "dir:"+t.TempDir())
		}},
		{"oras", func(t *testing.T, image string) lab.Result {
			dir, err := os.MkdirTemp("", "oras") // oras takes what follows a comma in its path for a tag
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(dir) })
			return lab.Command{Program: oras}.Run(t, "copy", "--from-plain-http", image, "--to-oci-layout", dir+":1")
		}},
	}
}

// TestProxy puts the proxy before every registry, by every way in, and has stock clients pull through it what is signed and what is not.
func TestProxy(t *testing.T) {
	clients := clients(t)
	for _, k := range kinds {
		for _, a := range accesses {
			if a.auth != nil && !k.asks {
				continue
			}
			t.Run(k.name+", "+a.name, func(t *testing.T) {
				t.Parallel()
				upstream := a.open(t, k)
				scheme := "http"
				if a.tls {
					scheme = "https"
				}
				f := newFront(t, scheme, upstream)
				f.push(t, "good", 1, "alice@acme.example")
				f.push(t, "bad", 2, "")
				f.push(t, "mallory", 3, "mallory@evil.example")
				image := f.host + "/" + f.upstream.Repository.RepositoryStr()
				for _, c := range clients {
					if r := c.pull(t, image+":good"); r.Status != 0 {
						t.Errorf("%s: signed: %s", c.name, r.Output())
					}
					for tag, says := range map[string]string{"bad": "is not signed", "mallory": "mallory@evil.example"} {
						if r := c.pull(t, image+":"+tag); r.Status == 0 || !strings.Contains(r.Output(), says) {
							t.Errorf("%s: %s: status %d, want it to say %q:\n%s", c.name, tag, r.Status, says, r.Output())
						}
					}
				}
			})
		}
	}
}
