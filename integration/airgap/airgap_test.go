package airgap

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/integration/internal/lab"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(m, nil)) }

// world is a Sigstore, a registry outside of the gap and one inside, and a directory with the programs that docs/copy.md calls.
type world struct {
	*lab.World
	inside string
	shell  lab.Command
}

func newWorld(t *testing.T, outsideAPI, insideAPI bool) *world {
	t.Helper()
	skopeo := coretest.RequireTool(t, "skopeo")
	w := &world{World: lab.New(t, outsideAPI), inside: coretest.NewRegistry(t, insideAPI)}
	programs := filepath.Join(w.Dir, "programs")
	for name, path := range map[string]string{
		"touchmark": lab.Program(), "skopeo": skopeo,
		"cosign": lab.Tool(t, "cosign-v3.1.3"), "oras": lab.Tool(t, "oras-v1.3.6"),
	} {
		if err := os.MkdirAll(programs, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(programs, name)); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.ReadFile(w.Root)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.Dir, "trusted_root.json"), root, 0o600); err != nil {
		t.Fatal(err)
	}
	w.shell = lab.Command{Program: "/bin/sh", Dir: w.Dir, Env: []string{"PATH=" + programs + ":" + os.Getenv("PATH")}}
	return w
}

// sh runs what a user types, with this world's names in the place of the manual's.
func (w *world) sh(t *testing.T, script string) string {
	t.Helper()
	names := strings.NewReplacer("registry.example", w.Registry, "inside.example", w.inside, "https://login.acme.example", w.Stack.URL)
	r := w.shell.Run(t, "-euc", names.Replace(script))
	if r.Status != 0 {
		t.Fatalf("exit status %d of\n%s\n%s", r.Status, script, r.Output())
	}
	return r.Output()
}

// signed pushes an image and attaches to it: signatures of the index and the platforms in both forms, an attestation by cosign, an SBOM by oras, and the
// signatures of that SBOM.
func (w *world) signed(t *testing.T, repository string, seed int64) {
	t.Helper()
	image := w.Image(t, repository, seed)
	lab.Touchmark(t, 0, "sign", "--server", w.Stack.URL, "--as", "alice@acme.example", "--trusted-root", w.Root, image)
	token := strings.TrimSpace(lab.Touchmark(t, 0, "token", "--server", w.Stack.URL, "--as", "alice@acme.example").Stdout)
	w.sh(t, `echo '{"buildType":"x"}' > predicate.json; echo '{"spdxVersion":"SPDX-2.3"}' > sbom.json
cosign attest --yes --signing-config '`+w.Signing+`' --trusted-root trusted_root.json --identity-token '`+token+`' --type slsaprovenance02 --predicate predicate.json '`+image+`'`)
	out := w.sh(t, `oras attach --plain-http --artifact-type application/spdx+json '`+image+`' sbom.json:application/spdx+json`)
	digest := regexp.MustCompile(`sha256:[0-9a-f]{64}`).FindAllString(out, -1)
	lab.Touchmark(t, 0, "sign", "--server", w.Stack.URL, "--as", "alice@acme.example", "--trusted-root", w.Root,
		strings.TrimSuffix(image, ":1")+"@"+digest[len(digest)-1])
}

// manual gives the commands of docs/copy.md, block by block.
func manual(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../../docs/copy.md")
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, m := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		blocks = append(blocks, m[1])
	}
	if len(blocks) < 5 {
		t.Fatalf("docs/copy.md has %d blocks of commands", len(blocks))
	}
	return blocks
}

func TestManual(t *testing.T) {
	for _, insideAPI := range []bool{true, false} {
		w := newWorld(t, !insideAPI, insideAPI)
		w.signed(t, "acme/app", 1)
		w.signed(t, "acme/other", 5)
		for _, block := range manual(t) {
			w.sh(t, block)
		}
		// What a copy says of itself, and what arrived.
		var summary struct {
			Signatures, Attestations, SBOMs, Others int
			Platforms                               []string
			BytesSent                               int64
		}
		out := w.sh(t, `touchmark copy -o json --trusted-root trusted_root.json --certificate-identity alice@acme.example \
			--certificate-oidc-issuer https://login.acme.example oci-archive:app.tar inside.example/acme/app:1`)
		if err := json.Unmarshal([]byte(out), &summary); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		// Index, two platforms and the SBOM are signed in two forms.
		if summary.Signatures != 8 || summary.Attestations != 1 || summary.SBOMs != 1 || summary.Others != 0 || summary.BytesSent != 0 ||
			!slices.Equal(summary.Platforms, []string{"linux/amd64", "linux/arm64"}) {
			t.Errorf("summary %+v", summary)
		}
		// cosign verifies the attestation, and the old form of the signature, inside.
		w.sh(t, `cosign verify-attestation --type slsaprovenance02 --trusted-root trusted_root.json --certificate-identity alice@acme.example \
			--certificate-oidc-issuer https://login.acme.example inside.example/acme/app:1`)
		w.sh(t, `cosign verify --new-bundle-format=false --trusted-root trusted_root.json --certificate-identity alice@acme.example \
			--certificate-oidc-issuer https://login.acme.example inside.example/acme/app:1`)
		w.sh(t, `oras discover --plain-http inside.example/acme/app:1 --format tree`)
		// Another signer is wanted: refused, from an archive too.
		refused := w.shell.Run(t, "-c", strings.NewReplacer("INSIDE", w.inside, "ISSUER", w.Stack.URL).Replace(
			`touchmark copy --trusted-root trusted_root.json --certificate-identity mallory@acme.example --certificate-oidc-issuer ISSUER oci-archive:app.tar INSIDE/acme/app:2`))
		if refused.Status != 1 || !strings.Contains(refused.Stderr, "refused") {
			t.Errorf("exit status %d: %s", refused.Status, refused.Output())
		}
	}
}

// Stock clients read what was written.
func TestClientsReadLayout(t *testing.T) {
	w := newWorld(t, true, true)
	w.signed(t, "acme/app", 1)
	w.sh(t, `touchmark copy --insecure-skip-verify registry.example/acme/app:1 oci:layout:1
		touchmark copy --insecure-skip-verify oci:layout:1 oci-archive:app.tar:1`)
	digest := func(raw string) string {
		t.Helper()
		return strings.Fields(w.sh(t, raw+` | sha256sum`))[0]
	}
	want := digest(`skopeo inspect --raw --tls-verify=false docker://registry.example/acme/app:1`)
	for _, from := range []string{"oci:layout:1", "oci-archive:app.tar:1"} {
		if got := digest(`skopeo inspect --raw ` + from); got != want {
			t.Errorf("skopeo reads another index from %s", from)
		}
		w.sh(t, `skopeo copy --insecure-policy --all --dest-tls-verify=false `+from+` docker://inside.example/skopeo/app:1`)
	}
	// crane pushes everything that index.json lists, and fails if anything in it is missing.
	crane := lab.Command{Program: lab.Tool(t, "crane-v0.22.1")}
	if r := crane.Run(t, "push", "--index", filepath.Join(w.Dir, "layout"), w.inside+"/crane/app:1"); r.Status != 0 {
		t.Errorf("crane push: %s", r.Output())
	}
	if out := w.sh(t, `oras discover --oci-layout layout:1 --format tree`); !strings.Contains(out, "spdx") || !strings.Contains(out, "bundle") {
		t.Errorf("oras finds %s", out)
	}
	// And what oras writes is read: it lists referrers in index.json, without fallback indexes.
	w.sh(t, `oras copy -r --from-plain-http registry.example/acme/app:1 --to-oci-layout byoras:1`)
	out := w.sh(t, `touchmark copy --trusted-root trusted_root.json --certificate-identity alice@acme.example \
		--certificate-oidc-issuer https://login.acme.example oci:byoras:1 inside.example/acme/app:1`)
	if !strings.Contains(out, "SBOMs 1") {
		t.Errorf("from a layout by oras: %s", out)
	}
}

// Progress is for terminals; a pipe gets the summary only, and errors their exit status.
func TestOutputAndStatus(t *testing.T) {
	w := newWorld(t, true, true)
	w.signed(t, "acme/app", 1)
	quiet := lab.Touchmark(t, 0, "copy", "--insecure-skip-verify", w.Registry+"/acme/app:1", w.inside+"/app:1")
	if quiet.Stderr != "" || !strings.Contains(quiet.Stdout, "not verified") {
		t.Errorf("stdout %q, stderr %q", quiet.Stdout, quiet.Stderr)
	}
	if script, err := exec.LookPath("script"); err == nil {
		line := lab.Program() + " copy --insecure-skip-verify " + w.Registry + "/acme/app:1 oci:" + filepath.Join(w.Dir, "shown")
		if r := (lab.Command{Program: script}).Run(t, "-qec", line, "/dev/null"); r.Status != 0 || !strings.Contains(r.Output(), "blobs,") {
			t.Errorf("on a terminal, status %d: %q", r.Status, r.Output())
		}
	}
	src, dst := w.Registry+"/acme/app:1", w.inside+"/other:1"
	for status, args := range map[int][]string{
		2: {"copy", src, dst},
		3: {"copy", "--insecure-skip-verify", w.Registry + "/acme/none:1", dst},
		1: {"copy", "--trusted-root", w.Root, "--certificate-identity", "bob@acme.example", "--certificate-oidc-issuer", w.Stack.URL, src, dst},
	} {
		lab.Touchmark(t, status, args...)
	}
	for _, args := range [][]string{
		{"copy", src}, {"copy", "--insecure-skip-verify", src, "docker-archive:x.tar"}, {"copy", "--insecure-skip-verify", "--key", "k", src, dst},
		{"copy", "--insecure-skip-verify", "--parallel", "17", src, dst}, {"copy", "--insecure-skip-verify", "--platform", "a/b/c/d", src, dst},
		{"copy", "--insecure-skip-verify", "-o", "xml", src, dst}, {"copy", "--insecure-skip-verify", "--repository", "a b", src, dst},
	} {
		lab.Touchmark(t, 2, args...)
	}
}
