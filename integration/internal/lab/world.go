package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/touchmark/touchmark/core/coretest"
)

// World is a registry, a private Sigstore and its client files.
type World struct {
	Dir      string // for the test's files
	Registry string // host and port
	Stack    *Process
	Root     string // the file trusted_root.json
	Signing  string // the file signing_config.v0.2.json
}

// New starts a registry, with the referrers API or without it, and a Sigstore.
func New(t testing.TB, withReferrers bool) *World {
	t.Helper()
	w := &World{Dir: t.TempDir(), Registry: coretest.NewRegistry(t, withReferrers)}
	w.Root, w.Signing = w.Trust("trusted_root.json"), w.Trust("signing_config.v0.2.json")
	w.Up(t, "127.0.0.1:0")
	return w
}

// Trust is the path of a file for clients.
func (w *World) Trust(file string) string { return filepath.Join(w.Dir, "sigstore", "trust", file) }

// Up starts the Sigstore at this address, again on the same data if there was one.
func (w *World) Up(t testing.TB, addr string) {
	t.Helper()
	w.Stack = Start(t, "/healthz", "up", "--data", filepath.Join(w.Dir, "sigstore"), "--listen", addr, "--insecure-dev-issuer")
}

// Image pushes an index of two platforms and returns its name with a tag.
func (w *World) Image(t testing.TB, repository string, seed int64) string {
	t.Helper()
	image := w.Registry + "/" + repository + ":1"
	coretest.Push(t, image, coretest.Index(t, seed))
	return image
}

// Policy writes a policy: images of the registry must be signed by alice.
func (w *World) Policy(t testing.TB) string {
	t.Helper()
	path := filepath.Join(w.Dir, "policy.yaml")
	text := fmt.Sprintf(`apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata: {name: release}
spec:
  images: [{glob: "%s/**"}]
  authorities:
  - name: alice
    keyless:
      identities: [{issuer: "%s", subject: alice@acme.example}]
`, w.Registry, w.Stack.URL)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Platforms returns the references by digest of an index's children.
func Platforms(t testing.TB, image string) []string {
	t.Helper()
	ref, err := name.ParseReference(image)
	if err != nil {
		t.Fatal(err)
	}
	index, err := remote.Index(ref)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var refs []string
	for _, m := range manifest.Manifests {
		refs = append(refs, ref.Context().Digest(m.Digest.String()).String())
	}
	return refs
}
