package installcmd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/commandtest"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/console"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
)

// What is handed in is read as the nodes would read it, and nodes on which no pod
// can install are named.
func TestRenderKubernetes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := write("release.yaml", `apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata: {name: release}
spec:
  images: [{glob: "registry.example/**"}]
  authorities:
  - keyless: {identities: [{issuer: "https://login.acme.example", subject: alice@acme.example}]}
`)
	image := "registry.example/touchmark@sha256:" + strings.Repeat("a", 64)
	for what, c := range map[string]struct {
		args   []string
		status int
		says   string
	}{
		"manifests":              {[]string{"--image", image, "--policy", good}, 0, "policy-release.yaml: |"},
		"enforcing":              {[]string{"--image", image, "--policy", good, "--mode", "enforce", "--distribution", "k3s"}, 0, `"--mode", "enforce"`},
		"uninstalling":           {[]string{"--image", image, "--uninstall"}, 0, `"uninstall", "containerd"`},
		"no digest":              {[]string{"--image", "registry.example/touchmark:1", "--policy", good}, exit.StatusUsage, "image: "},
		"no policy":              {[]string{"--image", image}, exit.StatusUsage, "--policy"},
		"a policy that is wrong": {[]string{"--image", image, "--policy", write("bad.yaml", "kind: ClusterImagePolicies\n")}, exit.StatusUsage, "bad.yaml"},
		"another distribution":   {[]string{"--image", image, "--policy", good, "--distribution", "minix"}, exit.StatusUsage, "minix"},
		"Talos":                  {[]string{"--distribution", "talos", "--proxy", "https://proxy.example"}, exit.StatusRefused, "skipFallback: true"},
	} {
		var out, complaint strings.Builder
		status := console.Run(t.Context(), commandtest.Root(NewRender()), append([]string{"render", "kubernetes"}, c.args...), &out, &complaint)
		if status != c.status || !strings.Contains(out.String()+complaint.String(), c.says) {
			t.Errorf("%s: status %d, %s%s", what, status, out.String(), complaint.String())
		}
	}
}
