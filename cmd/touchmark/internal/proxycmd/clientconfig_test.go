package proxycmd

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/commandtest"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/console"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
)

func TestClientConfigOfAProxy(t *testing.T) {
	file := filepath.Join(t.TempDir(), "proxy.yaml")
	if err := os.WriteFile(file, []byte("policy: p.yaml\nregistries:\n- {upstream: \"https://registry-1.docker.io\", prefix: hub}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	signing := filepath.Join(t.TempDir(), "signing.yaml")
	if err := os.WriteFile(signing, []byte("policy: p.yaml\nregistries:\n- {upstream: \"https://registry.example\"}\ncountersign: {key: k, authority: nowhere.pem}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	named := commandtest.WriteFile(t, "named.yaml", "policy: p.yaml\nnames: [proxy.example]\ncountersign: {key: k, authority: nowhere.pem, names: [proxy.example]}\nregistries:\n- {upstream: \"https://registry.example\"}\n")
	for _, c := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"containerd", "--config", file, "--url", "https://proxy.example"}, 0, "# /etc/containerd/certs.d/docker.io/hosts.toml\n"},
		{[]string{"podman", "--config", file, "--url", "https://proxy.example"}, 0, `location = "proxy.example/hub"`},
		{[]string{"docker", "--config", file, "--url", "https://proxy.example"}, 0, "containerd-snapshotter"},
		{[]string{"docker", "--config", file, "--url", "https://proxy.example", "--ca", "/nowhere.pem"}, exit.StatusUsage, "--ca: open /nowhere.pem"},
		{[]string{"docker", "--config", file, "--url", "https://proxy.example", "--ca", file}, exit.StatusUsage, "proxy.yaml: reading certificates: there is none"},
		{[]string{"podman", "--config", signing, "--url", "https://proxy.example"}, exit.StatusUsage, "nowhere.pem: no such file or directory; the proxy makes it when it starts for the first time"},
		{[]string{"containerd", "--config", signing, "--url", "https://proxy.example"}, 0, "registry.example/hosts.toml"},
		{[]string{"containerd", "--config", named, "--url", "https://proxy.example:5443"}, 0, `server = "https://proxy.example:5443"`},
		{[]string{"containerd", "--config", named, "--url", "https://other.example"}, exit.StatusUsage, "add it to names in its configuration, or give one of those (proxy.example)"},
		{[]string{"podman", "--url", "https://proxy.example"}, exit.StatusUsage, "--config"},
		{[]string{"podman", "--config", file}, exit.StatusUsage, "--url"},
		{[]string{"podman", "--config", "/nowhere/proxy.yaml", "--url", "https://proxy.example"}, exit.StatusUsage, "/nowhere/proxy.yaml"},
		{[]string{"podman", "--config", file, "--url", "proxy.example"}, exit.StatusUsage, "https://host"},
	} {
		var out bytes.Buffer
		status := console.Run(t.Context(), commandtest.Root(NewClientConfigs()...), c.args, &out, &out)
		if status != c.status || !strings.Contains(out.String(), c.want) {
			t.Errorf("%v: status %d, want %d and %q:\n%s", c.args, status, c.status, c.want, &out)
		}
	}
}
