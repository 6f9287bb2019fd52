package sweep_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/gate/parents"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/verify"
	"github.com/touchmark/touchmark/podman/sweep"
)

// world is a Sigstore, a registry whose images alice must have signed, and a real
// podman with storage of its own.
type world struct {
	*coretest.Sigstore
	host    string
	storage sweep.Storage
	accept  string // a policy.json
	gate    gate.Admitter
}

func newWorld(t *testing.T, more string) *world {
	t.Helper()
	coretest.RequireTool(t, "podman")
	if os.Geteuid() != 0 {
		t.Skip("podman's storage in a directory of its own needs root's rights here")
	}
	dir := t.TempDir()
	w := &world{
		Sigstore: coretest.New(t), host: coretest.NewRegistry(t, true), accept: filepath.Join(dir, "policy.json"),
		storage: sweep.Storage{Root: filepath.Join(dir, "root"), RunRoot: filepath.Join(dir, "run")},
	}
	if err := os.WriteFile(w.accept, []byte(`{"default":[{"type":"insecureAcceptAnything"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	set, err := policy.Parse(t.Context(), fmt.Appendf(nil, `apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata: {name: release}
spec:
  images: [{glob: "**"}]
  authorities:
  - keyless: {trustRootRef: test, identities: [{issuer: %q, subject: alice@acme.example}]}
%s`, coretest.Issuer, more), policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	clock := coretest.NewClock(coretest.Start)
	g, err := gate.New(gate.Config{Policy: set, Roots: []*trust.Root{w.TrustedRoot(t)}, Now: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	finder := parents.New(parents.Config{Admitter: g, Rule: g.IndexRule, Now: clock.Now})
	w.gate = finder
	t.Cleanup(func() {
		_ = finder.Close()
		w.podman(t, "system", "reset", "--force")
	})
	return w
}

func (w *world) podman(t *testing.T, args ...string) string {
	t.Helper()
	// t's context has ended when the storage is cleared.
	out, err := exec.CommandContext(context.Background(), "podman", append([]string{"--root", w.storage.Root, "--runroot", w.storage.RunRoot}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("podman %s: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (w *world) pull(t *testing.T, image string) {
	t.Helper()
	w.podman(t, "pull", "--quiet", "--tls-verify=false", "--signature-policy", w.accept, image)
}

func (w *world) sign(t *testing.T, image name.Digest) {
	t.Helper()
	var sum [32]byte
	if _, err := hex.Decode(sum[:], []byte(strings.TrimPrefix(image.DigestStr(), "sha256:"))); err != nil {
		t.Fatal(err)
	}
	raw, err := bundle.Marshal(w.SignDigest(t, sum, coretest.SignOptions{Identity: coretest.Email("alice@acme.example")}))
	if err != nil {
		t.Fatal(err)
	}
	subject, err := remote.Head(image)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := attach.WriteBundle(t.Context(), attach.Source{Repository: image.Context()}, *subject, raw, verify.PredicateImageSignature, coretest.Start); err != nil {
		t.Fatal(err)
	}
}

func (w *world) config() sweep.Config {
	return sweep.Config{Storage: w.storage, Admitter: w.gate, Source: func(repository string) (attach.Source, error) {
		repo, err := name.NewRepository(repository)
		return attach.Source{Repository: repo}, err
	}}
}

func (w *world) run(t *testing.T) *sweep.Report {
	t.Helper()
	r, err := sweep.Run(t.Context(), w.config())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// swept is what a sweep said of each image, by its name or repository.
func swept(r *sweep.Report) map[string]string {
	all := map[string]string{}
	for _, i := range r.Images {
		label := strings.Join(i.Names, " ")
		if label == "" {
			label = i.Repository + "@"
		}
		all[label] = strings.TrimSuffix(string(i.Outcome)+" "+string(i.Code), " ")
	}
	return all
}

// TestSweep: every outcome, in the storage of a real podman, and what becomes of
// the names.
func TestSweep(t *testing.T) {
	w := newWorld(t, "")
	at := func(rest string) string { return w.host + "/" + rest }
	gone := coretest.NewRegistry(t, true)
	w.sign(t, coretest.Push(t, at("signed:1"), coretest.Image(t, 1)))
	coretest.Push(t, at("unsigned:1"), coretest.Image(t, 2))
	coretest.Push(t, at("unsigned:2"), coretest.Image(t, 2))
	w.sign(t, coretest.Push(t, at("multi:1"), coretest.Index(t, 10)))
	coretest.Push(t, at("multi-unsigned:1"), coretest.Index(t, 20))
	byDigest := coretest.Push(t, at("by-digest:1"), coretest.Image(t, 3))
	coretest.Push(t, gone+"/away:1", coretest.Image(t, 4))
	coretest.Push(t, at("moved:1"), coretest.Image(t, 5))
	for _, image := range []string{at("signed:1"), at("unsigned:1"), at("unsigned:2"), at("multi:1"), at("multi-unsigned:1"), byDigest.String(), at("moved:1")} {
		w.pull(t, image)
	}
	w.pull(t, gone+"/away:1")
	w.podman(t, "tag", at("signed:1"), at("renamed:1"))
	layer := filepath.Join(t.TempDir(), "empty.tar")
	if err := os.WriteFile(layer, make([]byte, 1024), 0o600); err != nil {
		t.Fatal(err)
	}
	w.podman(t, "import", "--quiet", layer, "localhost/built:1")
	w.podman(t, "untag", at("moved:1"))

	c := w.config()
	c.Source = func(repository string) (attach.Source, error) {
		if strings.HasPrefix(repository, gone) {
			repository = "127.0.0.1:1/away" // nobody is there
		}
		repo, err := name.NewRepository(repository)
		return attach.Source{Repository: repo}, err
	}
	report, err := sweep.Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		at("signed:1"): "admitted admitted",
		at("unsigned:1") + " " + at("unsigned:2"): "refused unsigned",
		at("multi:1"):          "admitted admitted",
		at("multi-unsigned:1"): "refused unsigned",
		at("by-digest@"):       "refused unsigned",
		gone + "/away:1":       "undecided lookup-failed",
		at("renamed:1"):        "undecided lookup-failed",
		"localhost/built:1":    "local",
		"@":                    "local", // what has lost its name
	}
	if diff := cmp.Diff(want, swept(report)); diff != "" {
		t.Error(diff)
	}

	// Nothing was changed. Now the refused ones lose their names, and no others.
	before := names(t, w)
	c.Untag(t.Context(), report)
	var removed []string
	for _, i := range report.Images {
		if i.UntagError != "" {
			t.Errorf("%s: %s", i.Names, i.UntagError)
		}
		removed = append(removed, i.Untagged...)
	}
	slices.Sort(removed)
	if diff := cmp.Diff([]string{at("multi-unsigned:1"), at("unsigned:1"), at("unsigned:2")}, removed); diff != "" {
		t.Error(diff)
	}
	left := slices.DeleteFunc(before, func(n string) bool { return slices.Contains(removed, n) })
	if diff := cmp.Diff(left, names(t, w)); diff != "" {
		t.Errorf("names that are left: %s", diff)
	}
}

func names(t *testing.T, w *world) []string {
	t.Helper()
	stored, err := w.storage.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, s := range stored {
		all = append(all, s.Names...)
	}
	slices.Sort(all)
	return all
}

// TestSweepRevoked: what was revoked since it was pulled is refused, though it is
// signed.
func TestSweepRevoked(t *testing.T) {
	// Images are the same for the same seed, wherever they are pushed.
	digest := coretest.Push(t, coretest.NewRegistry(t, true)+"/x:1", coretest.Image(t, 1)).DigestStr()
	w := newWorld(t, "---\napiVersion: touchmark.dev/v1alpha1\nkind: Enforcement\nmetadata: {name: site}\nspec:\n  revocations: [{image: "+digest+", reason: stolen}]\n")
	for i := range 2 {
		image := fmt.Sprintf("%s/app%d:1", w.host, i)
		w.sign(t, coretest.Push(t, image, coretest.Image(t, int64(i+1))))
		w.pull(t, image)
	}
	want := map[string]string{w.host + "/app0:1": "refused revoked", w.host + "/app1:1": "admitted admitted"}
	if diff := cmp.Diff(want, swept(w.run(t))); diff != "" {
		t.Error(diff)
	}
}

// TestPodmanThatMisbehaves: what podman says is bounded, and an error has its
// words.
func TestPodmanThatMisbehaves(t *testing.T) {
	for script, want := range map[string]string{
		"echo nonsense":                          "reading podman's list of images",
		"echo '[{\"Id\": \"--all\"}]'":           "is no ID",
		"echo '[{\"Id\": \"\"}]'":                "is no ID",
		"echo 'storage is locked' >&2; exit 125": "storage is locked",
		"head -c 80000000 /dev/zero":             "more than is read",
		"head -c 100000 /dev/zero >&2; exit 1":   "exit status 1",
		"exec 3>&1; kill -9 $$":                  "killed",
	} {
		program := filepath.Join(t.TempDir(), "podman")
		if err := os.WriteFile(program, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		_, err := sweep.Run(t.Context(), sweep.Config{Storage: sweep.Storage{Podman: program}})
		if err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 8<<10 {
			t.Errorf("%s: %.300v, want %q", script, err, want)
		}
	}
	if _, err := sweep.Run(t.Context(), sweep.Config{Storage: sweep.Storage{Podman: filepath.Join(t.TempDir(), "none")}}); err == nil {
		t.Error("a podman that is not there")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (sweep.Storage{Podman: "sleep"}).List(ctx); err == nil {
		t.Error("a caller that has gone")
	}
}
