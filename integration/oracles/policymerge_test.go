package oracles

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/countersign"
	"github.com/touchmark/touchmark/podman/install"
	"github.com/touchmark/touchmark/podman/policyjson"
	"github.com/touchmark/touchmark/podman/registriesd"
)

// TestPOD01_MergedPoliciesByContainersImage asks containers/image itself about
// images under policy.json as it was and as install merges it: with one
// signature of a vendor, of the host, of both and of nobody, no image is
// admitted that was not before, and only declared scopes are stricter.
func TestPOD01_MergedPoliciesByContainersImage(t *testing.T) {
	dir := t.TempDir()
	judge := buildPolicyJudge(t)
	m := newMergeWorld(t, dir)
	shapes, err := filepath.Glob("../../podman/install/testdata/policies/*.json")
	if err != nil || len(shapes) < 12 {
		t.Fatalf("%d shapes, %v", len(shapes), err)
	}
	ours, err := policyjson.ParseRequirement("ours", fmt.Appendf(nil, `{"type":"signedBy","keyType":"GPGKeys","keyPath":%q,"signedIdentity":{"type":"matchRepository"}}`, m.host.Public))
	if err != nil {
		t.Fatal(err)
	}
	scopes := [][]string{{"registry.example"}, {"registry.redhat.io", "docker.io/acme"}, {"registry.example/acme", "registry.example:5000"}}
	judged, admitted := 0, 0
	for i, path := range shapes {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"/etc/pki/rpm-gpg/RPM-GPG-KEY-redhat-release", "/etc/pki/rpm-gpg/RPM-GPG-KEY-redhat-beta"} {
			text = bytes.ReplaceAll(text, []byte(key), []byte(m.vendor.Public))
		}
		old, err := policyjson.Parse(text, path)
		if err != nil {
			t.Fatal(err)
		}
		before := m.judge(t, judge, text)
		declared := scopes[i%len(scopes)]
		for _, keep := range []bool{true, false} {
			d := install.Demand{Rules: map[string][]policyjson.Requirement{}, KeepDefault: keep, OtherTransports: install.Reject}
			for _, s := range declared {
				d.Rules[s] = []policyjson.Requirement{ours}
			}
			after := m.judge(t, judge, install.Merge(old, d).JSON())
			for j, image := range m.images {
				judged++
				want := before[j]
				_, from := old.Effective("docker", image.reference)
				switch {
				case slices.ContainsFunc(declared, func(s string) bool { return registriesd.Within(image.reference, s) }):
					want = want && image.byHost
				case !keep && (from == "default" || from == `transports.docker[""]`) && accepts(old, image.reference):
					want = false
				}
				if after[j] {
					admitted++
				}
				if after[j] != want {
					t.Errorf("%s, scopes %v, keep default %v: %s (by vendor %v, by host %v): before %v, after %v, want %v",
						filepath.Base(path), declared, keep, image.reference, image.byVendor, image.byHost, before[j], after[j], want)
				}
			}
		}
	}
	t.Logf("%d verdicts, %d of them admit", judged, admitted)
}

// TestPOD03_PolicyJSONIsReadAsContainersImageReadsIt changes each shape of
// policy.json in one place: what clients refuse is refused here, and what they
// take is taken.
func TestPOD03_PolicyJSONIsReadAsContainersImageReadsIt(t *testing.T) {
	judge := buildPolicyJudge(t)
	shapes, err := filepath.Glob("../../podman/install/testdata/policies/*.json")
	if err != nil || len(shapes) < 12 {
		t.Fatalf("%d shapes, %v", len(shapes), err)
	}
	texts := map[string]bool{}
	for _, path := range shapes {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, changed := range policyVariants(string(text)) {
			texts[changed] = true
		}
	}
	file := filepath.Join(t.TempDir(), "policy.json")
	refused := 0
	for text := range texts {
		writeMerge(t, file, []byte(text))
		cmd := exec.CommandContext(t.Context(), judge, "-policy", file, "-registries.d", t.TempDir(), "-registries.conf", os.DevNull)
		out, theirs := cmd.CombinedOutput()
		_, ours := policyjson.Parse([]byte(text), file)
		if theirs != nil {
			refused++
		}
		// How names in identities are written is left to clients.
		if bytes.Contains(out, []byte("prefix ")) && bytes.Contains(out, []byte("is not valid")) {
			continue
		}
		if (theirs == nil) != (ours == nil) {
			t.Errorf("containers/image: %v %s\nhere: %v\n%s", theirs, out, ours, text)
		}
	}
	t.Logf("%d texts, %d of them refused", len(texts), refused)
}

// policyVariants are a text and what becomes of it by one change in one place.
func policyVariants(text string) []string {
	out := []string{text, text + "{}", text + " "}
	lines := strings.SplitAfter(text, "\n")
	for i, line := range lines {
		with := func(s ...string) {
			out = append(out, strings.Join(slices.Concat(lines[:i], s, lines[i+1:]), ""))
		}
		with()
		with(line, line)
		indent := line[:len(line)-len(strings.TrimLeft(line, " "))]
		key, value, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if !ok {
			continue
		}
		end := ""
		if strings.HasSuffix(value, ",") {
			end = ","
		}
		with(indent, strings.ToUpper(key), ": ", value, "\n")
		with(indent, `"unknown": 1, `, key, ": ", value, "\n")
		if strings.HasSuffix(value, "{") || strings.HasSuffix(value, "[") {
			continue // what it opens is closed somewhere
		}
		for _, other := range []string{"null", `""`, "1", "[]", "{}", `["x"]`, `"x"`, `"YQ=="`} {
			with(indent, key, ": ", other, end, "\n")
		}
	}
	return out
}

// buildPolicyJudge builds the program that asks containers/image.
func buildPolicyJudge(t *testing.T) string {
	t.Helper()
	judge := filepath.Join(t.TempDir(), "policyjudge")
	build := exec.CommandContext(t.Context(), "go", "build", "-C", "policyjudge", "-tags", "containers_image_openpgp,containers_image_storage_stub", "-o", judge, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building policyjudge: %v\n%s", err, out)
	}
	return judge
}

// accepts reports whether a rule demands nothing.
func accepts(f *policyjson.File, reference string) bool {
	reqs, _ := f.Effective("docker", reference)
	return !slices.ContainsFunc(reqs, func(r policyjson.Requirement) bool { return r.Type != policyjson.Accept })
}

// mergeWorld is a registry that stands for many, signatures in a lookaside, and
// two keys.
type mergeWorld struct {
	images       []mergeImage
	vendor, host countersign.Config
	dir, conf    string // registries.d and registries.conf
}

type mergeImage struct {
	reference        string
	byVendor, byHost bool
}

func newMergeWorld(t *testing.T, dir string) *mergeWorld {
	t.Helper()
	m := &mergeWorld{dir: filepath.Join(dir, "registries.d"), conf: filepath.Join(dir, "registries.conf")}
	open := func(who string) (countersign.Config, *countersign.Key) {
		at := filepath.Join(dir, who)
		if err := os.Mkdir(at, 0o700); err != nil {
			t.Fatal(err)
		}
		c := countersign.Config{Key: filepath.Join(at, "key"), Public: filepath.Join(at, "key.gpg")}
		if _, err := countersign.Generate(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		key, err := countersign.Open(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		return c, key
	}
	var vendor, host *countersign.Key
	m.vendor, vendor = open("vendor")
	m.host, host = open("host")

	server := coretest.NewRegistry(t, false)
	image := coretest.Image(t, 1)
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	lookaside := filepath.Join(dir, "lookaside")
	var conf strings.Builder
	now := time.Now()
	for i, registry := range []string{
		"docker.io", "quay.io", "ghcr.io", "registry.example", "registry.example:5000", "registry.example:443", "other.example",
		"registry.redhat.io", "registry.access.redhat.com", "localhost:5000",
	} {
		place := fmt.Sprintf("r%d", i)
		fmt.Fprintf(&conf, "[[registry]]\nprefix = %q\nlocation = %q\ninsecure = true\n", registry, server+"/"+place)
		for j, path := range []string{"library/busybox", "acme/app", "acme/base", "acme/tools", "acme/tools/deep", "acme/both", "acme/attached", "acmes/app", "openshift-release-dev/x", "one/app"} {
			ref, err := name.ParseReference(server+"/"+place+"/"+path+":1.0", name.Insecure)
			if err != nil {
				t.Fatal(err)
			}
			if err := remote.Write(ref, image); err != nil {
				t.Fatal(err)
			}
			repository := registry + "/" + path
			kind := (i + j) % 4
			byVendor, byHost := kind == 1 || kind == 3, kind == 2 || kind == 3
			var blobs [][]byte
			for _, s := range []struct {
				signs bool
				key   *countersign.Key
			}{{byVendor, vendor}, {byHost, host}} {
				if !s.signs {
					continue
				}
				blob, err := s.key.OpenPGP(repository, digest.String(), now)
				if err != nil {
					t.Fatal(err)
				}
				blobs = append(blobs, blob)
			}
			at := filepath.Join(lookaside, place, path) + "@sha256=" + digest.Hex
			if err := os.MkdirAll(at, 0o755); err != nil {
				t.Fatal(err)
			}
			for n, blob := range blobs {
				writeMerge(t, filepath.Join(at, fmt.Sprintf("signature-%d", n+1)), blob)
			}
			m.images = append(m.images, mergeImage{repository + ":1.0", byVendor, byHost}, mergeImage{repository + "@" + digest.String(), byVendor, byHost})
		}
	}
	if err := os.Mkdir(m.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	writeMerge(t, m.conf, []byte(conf.String()))
	writeMerge(t, filepath.Join(m.dir, "default.yaml"), []byte("default-docker:\n  lookaside: file://"+lookaside+"\n"))
	return m
}

func writeMerge(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// judge asks about all images, and returns whether they are allowed.
func (m *mergeWorld) judge(t *testing.T, program string, policy []byte) []bool {
	t.Helper()
	file := filepath.Join(t.TempDir(), "policy.json")
	writeMerge(t, file, policy)
	var questions bytes.Buffer
	for _, image := range m.images {
		fmt.Fprintf(&questions, "{\"reference\":%q}\n", image.reference)
	}
	cmd := exec.CommandContext(t.Context(), program, "-policy", file, "-registries.d", m.dir, "-registries.conf", m.conf)
	cmd.Stdin, cmd.Stderr = &questions, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var answers []bool
	dec := json.NewDecoder(bytes.NewReader(out))
	for dec.More() {
		var a struct {
			Allowed bool
			Error   string
		}
		if err := dec.Decode(&a); err != nil {
			t.Fatal(err)
		}
		if !a.Allowed && !strings.Contains(a.Error, "source image rejected") {
			t.Fatalf("%s: %s", m.images[len(answers)].reference, a.Error)
		}
		answers = append(answers, a.Allowed)
	}
	if len(answers) != len(m.images) {
		t.Fatalf("%d answers", len(answers))
	}
	return answers
}
