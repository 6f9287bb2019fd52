package registries

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/integration/internal/lab"
)

// signingConfig is one without any service: cosign then signs by key and nothing else.
const signingConfig = `{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json","rekorTlogConfig":{},"tsaConfig":{}}`

// TestCosign lets cosign 3 and 2 write each of their forms into each registry; all of it is found. cosign 2 lists its bundles under a wrong artifactType (sigstore/cosign#4641).
func TestCosign(t *testing.T) {
	dir := t.TempDir()
	predicate, config := filepath.Join(dir, "predicate.json"), filepath.Join(dir, "signing-config.json")
	for file, text := range map[string]string{predicate: `{"from":"a test"}`, config: signingConfig} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cosign := func(version string) lab.Command {
		return lab.Command{Program: lab.Tool(t, "cosign-v"+version), Env: []string{"COSIGN_PASSWORD=x"}, Dir: dir}
	}
	cosign3, cosign2 := cosign("3.1.3"), cosign("2.6.5")
	run(t, cosign2, "generate-key-pair")
	key := []string{"--yes", "--key", "cosign.key", "--allow-http-registry"}
	attest := append([]string{"attest", "--type", "custom", "--predicate", predicate}, key...)
	sign := append([]string{"sign"}, key...)
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			l := &lair{src: source(t, k.start(t, ""))}
			l.image = l.push(t, 1)
			image := l.src.Repository.Digest(l.image.Digest.String()).Name()
			run(t, cosign3, with(sign, "--signing-config", config, image)...)
			run(t, cosign3, with(attest, "--signing-config", config, image)...)
			run(t, cosign2, with(attest, "--new-bundle-format", "--tlog-upload=false", image)...)
			run(t, cosign2, with(sign, "--tlog-upload=false", image)...)
			run(t, cosign2, with(attest, "--tlog-upload=false", image)...)
			_, found := l.found(t)
			got := map[string]int{}
			for _, e := range found.Evidence {
				if e.Err == nil {
					got[string(e.Where)+map[bool]string{true: ", bundle", false: ", legacy"}[e.Evidence.Form == bundle.FormBundle]]++
				}
			}
			want := map[string]int{string(places(k)) + ", bundle": 3, string(attach.SigTag) + ", legacy": 1, string(attach.AttTag) + ", legacy": 1}
			if diff := cmp.Diff(want, got); diff != "" || len(found.Other) != 0 {
				t.Errorf("found (-want +got):\n%sothers %v", diff, found.Other)
			}
		})
	}
}

// with appends to a copy.
func with(args []string, more ...string) []string {
	return append(append([]string(nil), args...), more...)
}

func run(t *testing.T, c lab.Command, args ...string) {
	t.Helper()
	if r := c.Run(t, args...); r.Status != 0 {
		t.Fatalf("cosign %v: status %d\n%s%s", args, r.Status, r.Stdout, r.Stderr)
	}
}
