package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/tlog/entry"
)

// installPolicy is a policy about one namespace.
const installPolicy = `apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata: {name: release}
spec:
  images: [{glob: "registry.example/acme"}, {glob: "registry.example/acme/**"}]
  authorities: [{name: none, static: {action: fail}}]
`

// hostBelow is a host's file system with a policy.json that accepts anything.
func hostBelow(t *testing.T) (root, policyJSON, policy string) {
	t.Helper()
	root = t.TempDir()
	policyJSON, policy = filepath.Join(root, "etc/containers/policy.json"), filepath.Join(t.TempDir(), "release.yaml")
	if err := os.MkdirAll(filepath.Dir(policyJSON), 0o755); err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{policyJSON: `{"default":[{"type":"insecureAcceptAnything"}]}`, policy: installPolicy} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root, policyJSON, policy
}

// runInstall runs the command, expects a status, and returns what it printed.
func runInstall(t *testing.T, status int, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	if got := run(t.Context(), args, &out, &out); got != status {
		t.Fatalf("touchmark %s: exit status %d, want %d\n%s", strings.Join(args, " "), got, status, out.String())
	}
	return out.String()
}

func contents(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestInstallPodman(t *testing.T) {
	root, policyJSON, policy := hostBelow(t)
	before := contents(t, policyJSON)
	// Without a terminal and --yes the changes are shown, and nothing else.
	out := runInstall(t, exitUsage, "install", "podman", "--root", root, "--policy", policy)
	if !strings.Contains(out, "+++ "+policyJSON) || !strings.Contains(out, "confirm it with --yes") || contents(t, policyJSON) != before {
		t.Errorf("printed\n%s", out)
	}
	runInstall(t, 0, "install", "podman", "--root", root, "--policy", policy, "--mode", "observe", "--systemd", "--yes")
	if text := contents(t, policyJSON); !strings.Contains(text, `"registry.example/acme"`) || !strings.Contains(text, `"keyPath": "/etc/touchmark/podman/countersign.gpg"`) || strings.Contains(text, "reject") {
		t.Errorf("observing\n%s", text)
	}
	if unit := contents(t, filepath.Join(root, "etc/systemd/system/touchmark-agent.service")); !strings.Contains(unit, "--config /etc/touchmark/config.yaml") {
		t.Errorf("unit\n%s", unit)
	}
	if out := runInstall(t, 0, "install", "podman", "--root", root); !strings.Contains(out, "nothing to change") {
		t.Errorf("installing again\n%s", out)
	}
	// What was said before is remembered; what is said now changes.
	runInstall(t, 0, "install", "podman", "--root", root, "--mode", "enforce", "--yes")
	if text := contents(t, policyJSON); !strings.Contains(text, "reject") {
		t.Errorf("enforcing\n%s", text)
	}
	contents(t, filepath.Join(root, "etc/systemd/system/touchmark-agent.socket"))
	if info, err := os.Stat(filepath.Join(root, "etc/touchmark/podman/countersign.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key: %v, %v", info, err)
	}
	runInstall(t, exitUsage, "uninstall", "podman", "--root", root)
	runInstall(t, 0, "uninstall", "podman", "--root", root, "--yes")
	if contents(t, policyJSON) != before {
		t.Errorf("not restored:\n%s", contents(t, policyJSON))
	}
	if _, err := os.Stat(filepath.Join(root, "etc/touchmark")); !os.IsNotExist(err) {
		t.Errorf("left behind: %v", err)
	}
	if out := runInstall(t, exitUsage, "uninstall", "podman", "--root", root, "--yes"); !strings.Contains(out, "nothing is installed") {
		t.Errorf("printed %s", out)
	}
}

func TestPOD06_InstallPodmanNative(t *testing.T) {
	root, policyJSON, policy := hostBelow(t)
	runInstall(t, 0, "install", "podman", "--root", root, "--policy", policy, "--native", "--yes")
	if text := contents(t, policyJSON); !strings.Contains(text, `"registry.example/acme"`) || strings.Contains(text, "countersign") {
		t.Errorf("policy.json\n%s", text)
	}
	if _, err := os.Stat(filepath.Join(root, "etc/touchmark/podman")); !os.IsNotExist(err) {
		t.Errorf("a key without an agent: %v", err)
	}
	// A key reads .sig tags.
	key, err := entry.PublicKeyPEM(coretest.NewKey(t).Public())
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(installPolicy, "static: {action: fail}", `key: {data: "`+strings.ReplaceAll(string(key), "\n", `\n`)+`"}`, 1)
	if err := os.WriteFile(policy, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	runInstall(t, 0, "install", "podman", "--root", root, "--policy", policy, "--native", "--yes")
	if drop := contents(t, filepath.Join(root, "etc/containers/registries.d/touchmark.yaml")); !strings.Contains(drop, "use-sigstore-attachments: true") || strings.Contains(drop, "lookaside") {
		t.Errorf("registries.d\n%s", drop)
	}
	if text := contents(t, policyJSON); !strings.Contains(text, `"keyData"`) {
		t.Errorf("policy.json\n%s", text)
	}
	if err := os.WriteFile(policy, []byte(strings.Replace(text, "authorities:", "mode: warn\n  authorities:", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	if out := runInstall(t, exitUsage, "install", "podman", "--root", root, "--policy", policy, "--native", "--yes"); !strings.Contains(out, "policy release: spec.mode") {
		t.Errorf("printed %s", out)
	}
}

func TestInstallPodman_Refuses(t *testing.T) {
	for _, c := range []struct {
		name, want string
		args       []string
	}{
		{"no policy", "hand in a file with --policy", nil},
		{"policy's name", "has to end in .yaml", []string{"--policy", "FILE.txt"}},
		{"glob", "--scope registry.example enforces all of that", []string{"--policy", "WILD.yaml"}},
		{"proxy", "not REGISTRY=URL", []string{"--policy", "FILE.yaml", "--proxy", "x"}},
		{"native form", "--native has no form", []string{"--policy", "FILE.yaml", "--native", "--form", "sigstore"}},
		{"user and root", "don't go together", []string{"--user"}},
	} {
		root, _, policy := hostBelow(t)
		dir := filepath.Dir(policy)
		for name, text := range map[string]string{"FILE.txt": installPolicy, "FILE.yaml": installPolicy, "WILD.yaml": strings.Replace(installPolicy, "acme/**", "te*m/**", 1)} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		args := []string{"install", "podman", "--root", root, "--yes"}
		for _, a := range c.args {
			if filepath.Ext(a) != "" {
				a = filepath.Join(dir, a)
			}
			args = append(args, a)
		}
		if out := runInstall(t, exitUsage, args...); !strings.Contains(out, c.want) {
			t.Errorf("%s: printed %s, want %q", c.name, out, c.want)
		}
	}
}
