package containerdinstall_test

import (
	"os"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/integration/internal/lab"
)

// containerd's default config_path names two directories, of which it reads no hosts.toml in the pulls that ask verifiers. With the proxy installed, the registry
// is reached through it, and through nothing else: it has no other address.
func TestCTRD09_ProxyWithTheDefaultConfigPath(t *testing.T) {
	settings := lab.ContainerdSettings(3, "")
	n := newNode(t, strings.Replace(settings, `config_path = "`+lab.CertsD+`"`, `config_path = "`+lab.CertsD+`:/etc/docker/certs.d"`, 1))
	policy, err := os.ReadFile(n.policy)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(n.policy, []byte(strings.Replace(string(policy), "images: [", `images: [{glob: "registry.example/**"}, `, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	proxy := lab.Start(t, "/v2/", "proxy", "--upstream", "http://"+n.world.Registry, "--name", "registry.example", "--policy", n.policy, "--trusted-root", n.world.Root, "--listen", "127.0.0.1:0")
	n.Start(t)
	out := n.install(t, 0, "--proxy", proxy.URL, "--registry", "registry.example")
	n.Restart(t)
	if !strings.Contains(out, "config_path becomes "+lab.CertsD+" alone") {
		t.Errorf("it is not said:\n%s", out)
	}
	for image, want := range map[string]string{"registry.example/signed:1": "", "registry.example/unsigned:1": "is not signed"} {
		err := n.CRI(t).Pull(image)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", image, err, want)
		}
	}
}
