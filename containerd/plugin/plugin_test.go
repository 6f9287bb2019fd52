package plugin

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/plugin/registry"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/touchmark/touchmark/containerd/bindir"
	"github.com/touchmark/touchmark/core/gate/ask"
)

const (
	image  = "registry.example/app:1"
	sum    = "sha256:2ca29c9c1d948280cb14fdaf2c898deac659d206904a60f298dea2972725a5cd"
	atRoot = "application/vnd.oci.image.manifest.v1+json"
)

// asker answers by a function.
type asker func(ask.Question) ask.Answer

func (a asker) Ask(_ context.Context, q ask.Question) ask.Answer { return a(q) }

// verify asks a verifier, and returns the reason; empty if it admits.
func verify(t *testing.T, v *Verifier, name string, d ocispec.Descriptor) string {
	t.Helper()
	j, err := v.VerifyImage(t.Context(), name, d)
	if err != nil || j.OK != (j.Reason == "") {
		t.Fatalf("%+v, %v", j, err)
	}
	return j.Reason
}

// The program in bin_dir and the plugin say the same.
func TestReasonsAreTheProgrammes(t *testing.T) {
	for what, v := range map[string]ask.Answer{
		"admitted":  {Outcome: ask.Admitted, Code: "admitted"},
		"refused":   {Outcome: ask.Refused, Reason: "registry.example/app is not signed\nby anybody" + strings.Repeat("!", 1000)},
		"undecided": {Outcome: ask.Undecided, Repository: "r", Digest: "d", Reason: "cannot decide about r@d: 503"},
		"nothing":   {},
	} {
		a := asker(func(ask.Question) ask.Answer { return v })
		var said strings.Builder
		h := bindir.Host{Asker: a, Timeout: time.Minute}
		status := bindir.Run(t.Context(), h, []string{"-name", image, "-digest", sum, "-stdin-media-type", "application/vnd.oci.descriptor.v1+json"},
			strings.NewReader(fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":348}`, atRoot, sum)), &said, io.Discard)
		reason := verify(t, &Verifier{h}, image, ocispec.Descriptor{MediaType: atRoot, Digest: sum, Size: 348})
		if reason != strings.TrimSuffix(said.String(), "\n") || (status == 0) != (reason == "") {
			t.Errorf("%s: the program says %q with status %d, the plugin %q", what, said.String(), status, reason)
		}
	}
}

// What is not an image's name, digest or descriptor is refused before anybody is asked.
func TestCTRD07_Questions(t *testing.T) {
	v := &Verifier{bindir.Host{Timeout: time.Minute, Asker: asker(func(ask.Question) ask.Answer {
		return ask.Answer{Outcome: ask.Admitted, Code: "admitted"}
	})}}
	good := ocispec.Descriptor{MediaType: atRoot, Digest: sum, Size: 348}
	with := func(change func(*ocispec.Descriptor)) ocispec.Descriptor {
		d := good
		change(&d)
		return d
	}
	for what, c := range map[string]struct {
		name string
		d    ocispec.Descriptor
		says string // "" is admitted
	}{
		"an image":      {image, good, ""},
		"a short name":  {"app:1", good, "name: \"app:1\" does not begin with a registry"},
		"a dash":        {"-rf/x:1", good, "does not begin with a registry"},
		"a NUL":         {"registry.example/a\x00:1", good, "is not an image's name"},
		"10 KiB":        {"registry.example/" + strings.Repeat("a", 10<<10) + ":1", good, "at most 512 are an image's name"},
		"two digests":   {"registry.example/app@sha256:" + strings.Repeat("b", 64), good, "disagree"},
		"no digest":     {image, with(func(d *ocispec.Descriptor) { d.Digest = "" }), "digest: \"\" is not a SHA-256 digest"},
		"SHA-512":       {image, with(func(d *ocispec.Descriptor) { d.Digest = digest.SHA512.FromString("") }), "is not a SHA-256 digest"},
		"a layer":       {image, with(func(d *ocispec.Descriptor) { d.MediaType = ocispec.MediaTypeImageLayer }), "which is not an image's"},
		"half an image": {image, with(func(d *ocispec.Descriptor) { d.Size = -1 }), "-1 bytes"},
	} {
		reason := verify(t, v, c.name, c.d)
		if c.says == "" && reason != "" || c.says != "" && (!strings.HasPrefix(reason, "refused by touchmark: ") || !strings.Contains(reason, c.says)) {
			t.Errorf("%s: %q, want %q", what, reason, c.says)
		}
	}
}

// A configuration that can't be used refuses everything, and says why.
func TestConfigurationThatIsWrong(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	for text, c := range map[string]struct {
		inProcess bool
		says      string
	}{
		"policies: x":         {false, "policies"},
		"policies:  x":        {true, "policies"},
		"trust: {dir: trust}": {true, "policy.d"},
		"trust: {tuf: [{name: a, mirror: \"https://tuf.example\", root: r.json}]}": {true, "trust.tuf is followed by the agent only"},
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		v := New(t.Context(), Config{File: file, InProcess: c.inProcess})
		if reason := verify(t, v, image, ocispec.Descriptor{MediaType: atRoot, Digest: sum, Size: 348}); !strings.HasPrefix(reason, "touchmark cannot decide: ") || !strings.Contains(reason, c.says) {
			t.Errorf("%s: %q, want it to say %q", text, reason, c.says)
		}
	}
}

func TestRegistered(t *testing.T) {
	for _, r := range registry.Graph(nil) {
		if r.Type == Type && r.ID == ID {
			return
		}
	}
	t.Error("the plugin is not registered")
}

// Whoever imports it gets no evaluator of predicates with it.
func TestItLinksNoEvaluator(t *testing.T) {
	deps, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, dep := range strings.Fields(string(deps)) {
		for _, heavy := range []string{"github.com/open-policy-agent/", "cuelang.org/", "modernc.org/", "github.com/spf13/", "github.com/touchmark/touchmark/services", "github.com/touchmark/touchmark/podman"} {
			if strings.HasPrefix(dep, heavy) {
				t.Errorf("it needs %s", dep)
			}
		}
	}
}
