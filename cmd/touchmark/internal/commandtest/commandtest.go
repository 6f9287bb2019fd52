// Package commandtest has what the tests of touchmark's commands share: a way to run
// commands in process, and what they work on. It is imported by tests only.
package commandtest

import (
	"bytes"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/console"
	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/core/verify"
	"github.com/touchmark/touchmark/services/stack"
)

// Root is a touchmark with some of its commands.
func Root(commands ...*cobra.Command) *cobra.Command {
	root := &cobra.Command{Use: "touchmark"}
	root.AddCommand(commands...)
	return root
}

// Run runs one of some commands, and returns its exit status and what it printed.
func Run(tb testing.TB, commands []*cobra.Command, args ...string) (status int, stdout, stderr string) {
	tb.Helper()
	var out, errs bytes.Buffer
	status = console.Run(tb.Context(), Root(commands...), args, &out, &errs)
	return status, out.String(), errs.String()
}

// Stack is a stack with a trusted root file, a key file and an image to sign.
func Stack(t *testing.T) (server, root, key, image string) {
	t.Helper()
	var handler atomic.Value
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.Load().(http.Handler).ServeHTTP(w, r) }))
	up, err := stack.New(t.Context(), stack.Config{Dir: t.TempDir(), PublicURL: s.URL, InsecureDevIssuer: true})
	if err != nil {
		t.Fatal(err)
	}
	handler.Store(up.Handler())
	t.Cleanup(func() { s.Close(); up.Close() })
	dir := t.TempDir()
	root, key = filepath.Join(dir, "trusted_root.json"), filepath.Join(dir, "release.key")
	if err := os.WriteFile(root, up.TrustedRoot(), 0o600); err != nil {
		t.Fatal(err)
	}
	private, err := keys.Generate(keys.P256)
	if err != nil {
		t.Fatal(err)
	}
	if err := keys.WritePrivate(key, private); err != nil {
		t.Fatal(err)
	}
	image = coretest.NewRegistry(t, true) + "/team/app:1"
	coretest.Push(t, image, coretest.Index(t, 1))
	return s.URL, root, key, image
}

// PublicKey writes the public half of a private key file.
func PublicKey(t *testing.T, path string) string {
	t.Helper()
	key, err := keys.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	text, err := keys.MarshalPublic(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".pub", text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path + ".pub"
}

// WriteFile writes a file into a directory of its own, and returns its path.
func WriteFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Policy demands alice's signature of every image of registry.acme.example.
const Policy = `apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata: {name: release}
spec:
  images: [{glob: "registry.acme.example/**"}]
  authorities:
  - name: release-team
    keyless:
      identities: [{issuer: "` + coretest.Issuer + `", subject: alice@acme.example}]
`

// PolicyAndRoot writes [Policy] and a trusted root.
func PolicyAndRoot(t *testing.T, s *coretest.Sigstore) (policyFile, rootFile string) {
	t.Helper()
	dir := t.TempDir()
	policyFile, rootFile = filepath.Join(dir, "policy.yaml"), filepath.Join(dir, "trusted_root.json")
	if err := os.WriteFile(policyFile, []byte(Policy), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(rootFile, s.TrustedRootJSON(t), 0o600); err != nil {
		t.Fatal(err)
	}
	return policyFile, rootFile
}

// Sign writes a signature of alice's beside an image.
func Sign(t *testing.T, sigstore *coretest.Sigstore, image name.Digest) {
	t.Helper()
	sum, err := hex.DecodeString(strings.TrimPrefix(image.DigestStr(), "sha256:"))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := bundle.Marshal(sigstore.SignDigest(t, [32]byte(sum), coretest.SignOptions{Identity: coretest.Email("alice@acme.example")}))
	if err != nil {
		t.Fatal(err)
	}
	desc, err := remote.Head(image)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := attach.WriteBundle(t.Context(), attach.Source{Repository: image.Context()}, *desc, raw, verify.PredicateImageSignature, coretest.Start); err != nil {
		t.Fatal(err)
	}
}

// BrokenRoot writes a trusted root whose certificate authority's certificates did not issue each other.
func BrokenRoot(t *testing.T, s *coretest.Sigstore) string {
	t.Helper()
	root := s.Root()
	root.CertificateAuthorities[0].Root = coretest.New(t).CA.Root
	return WriteFile(t, "trusted_root.json", string(coretest.FormatRoot(t, root)))
}
