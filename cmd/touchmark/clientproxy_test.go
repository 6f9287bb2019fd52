package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestClientConfigOfAProxy(t *testing.T) {
	file := filepath.Join(t.TempDir(), "proxy.yaml")
	if err := os.WriteFile(file, []byte("policy: p.yaml\nregistries:\n- {upstream: \"https://registry-1.docker.io\", prefix: hub}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"containerd", "--config", file, "--url", "https://proxy.example"}, 0, "# /etc/containerd/certs.d/docker.io/hosts.toml\n"},
		{[]string{"podman", "--config", file, "--url", "https://proxy.example"}, 0, `location = "proxy.example/hub"`},
		{[]string{"docker", "--config", file, "--url", "https://proxy.example"}, 0, "containerd-snapshotter"},
		{[]string{"podman", "--url", "https://proxy.example"}, exitUsage, "--config"},
		{[]string{"podman", "--config", file}, exitUsage, "--url"},
		{[]string{"podman", "--config", "/nowhere/proxy.yaml", "--url", "https://proxy.example"}, exitUsage, "/nowhere/proxy.yaml"},
		{[]string{"podman", "--config", file, "--url", "proxy.example"}, exitUsage, "https://host"},
	} {
		cmd := newClientConfig()
		var out bytes.Buffer
		cmd.SetArgs(c.args)
		cmd.SetOut(&out)
		cmd.SetErr(io.Discard)
		cmd.SilenceUsage, cmd.SilenceErrors = true, true
		err := cmd.ExecuteContext(t.Context())
		got := out.String()
		if exit, ok := err.(*exitError); ok {
			got += err.Error()
			if exit.status != c.status {
				t.Errorf("%v: status %d, want %d", c.args, exit.status, c.status)
			}
		} else if c.status != 0 || err != nil {
			t.Errorf("%v: got %v", c.args, err)
		}
		if !strings.Contains(got, c.want) {
			t.Errorf("%v: got %s, want %q", c.args, got, c.want)
		}
	}
}
