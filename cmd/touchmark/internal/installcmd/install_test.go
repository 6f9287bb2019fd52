package installcmd

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/commandtest"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/console"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/containerd"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/hostconfig"
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
	if got := console.Run(t.Context(), commandtest.Root(NewInstall(), NewUninstall()), args, &out, &out); got != status {
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
	out := runInstall(t, exit.StatusUsage, "install", "podman", "--root", root, "--policy", policy)
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
	runInstall(t, exit.StatusUsage, "uninstall", "podman", "--root", root)
	runInstall(t, 0, "uninstall", "podman", "--root", root, "--yes")
	if contents(t, policyJSON) != before {
		t.Errorf("not restored:\n%s", contents(t, policyJSON))
	}
	if _, err := os.Stat(filepath.Join(root, "etc/touchmark")); !os.IsNotExist(err) {
		t.Errorf("left behind: %v", err)
	}
	if out := runInstall(t, exit.StatusUsage, "uninstall", "podman", "--root", root, "--yes"); !strings.Contains(out, "nothing is installed") {
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
	if out := runInstall(t, exit.StatusUsage, "install", "podman", "--root", root, "--policy", policy, "--native", "--yes"); !strings.Contains(out, "policy release: spec.mode") {
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
		if out := runInstall(t, exit.StatusUsage, args...); !strings.Contains(out, c.want) {
			t.Errorf("%s: printed %s, want %q", c.name, out, c.want)
		}
	}
}

// nodeBelow is a node's file system with a containerd of kubeadm's, whose CRI asks
// no verifier.
func nodeBelow(t *testing.T) (root, policy string) {
	t.Helper()
	root, policy = t.TempDir(), filepath.Join(t.TempDir(), "release.yaml")
	for path, text := range map[string]string{
		filepath.Join(root, "etc/containerd/config.toml"):  "version = 3\n[plugins.'io.containerd.cri.v1.images']\n  use_local_image_pull = true\n",
		filepath.Join(root, "etc/kubernetes/kubelet.conf"): "",
		filepath.Join(root, "usr/bin/containerd"):          "",
		filepath.Join(root, "var/lib/kubelet/config.yaml"): "",
		policy: installPolicy,
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	programs := t.TempDir() // beside this test, there is no verifier
	if err := os.WriteFile(filepath.Join(programs, "touchmark-containerd"), []byte("program\x00"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", programs+":"+os.Getenv("PATH"))
	return root, policy
}

func TestInstallContainerd(t *testing.T) {
	root, policy := nodeBelow(t)
	main := filepath.Join(root, "etc/containerd/config.toml")
	before := contents(t, main)
	for _, args := range [][]string{{"--dry-run"}, nil} {
		status := exit.StatusUsage
		if args != nil {
			status = 0
		}
		out := runInstall(t, status, append([]string{"install", "containerd", "--root", root, "--policy", policy}, args...)...)
		if !strings.Contains(out, "+    use_local_image_pull = false") || contents(t, main) != before {
			t.Errorf("%q: printed\n%s", args, out)
		}
	}
	out := runInstall(t, 0, "install", "containerd", "--root", root, "--policy", policy, "--mode", "observe", "--systemd", "--yes")
	if !strings.Contains(out, "containerd has to be restarted") || !strings.Contains(contents(t, main), "imports = ['/etc/containerd/conf.d/*.toml']") {
		t.Errorf("printed\n%s\n%s", out, contents(t, main))
	}
	if text := contents(t, filepath.Join(root, "etc/touchmark/config.yaml")); !strings.Contains(text, "containerd:\n  observe: true\n") {
		t.Errorf("config.yaml\n%s", text)
	}
	if unit := contents(t, filepath.Join(root, "etc/systemd/system/touchmark-agent.service")); !strings.Contains(unit, "--config /etc/touchmark/config.yaml") {
		t.Errorf("unit\n%s", unit)
	}
	if info, err := os.Stat(filepath.Join(root, "opt/containerd/image-verifier/bin/touchmark-containerd")); err != nil || info.Mode() != 0o755 {
		t.Errorf("the program: %v, %v", info, err)
	}
	// What was said before is remembered; what is said now changes.
	if out := runInstall(t, 0, "install", "containerd", "--root", root); !strings.Contains(out, "nothing to change") {
		t.Errorf("installing again\n%s", out)
	}
	runInstall(t, 0, "install", "containerd", "--root", root, "--mode", "enforce", "--yes")
	if text := contents(t, filepath.Join(root, "etc/touchmark/config.yaml")); strings.Contains(text, "observe") {
		t.Errorf("config.yaml\n%s", text)
	}
	runInstall(t, exit.StatusUsage, "uninstall", "containerd", "--root", root)
	// What somebody edited is lost only if that is said.
	dropIn := filepath.Join(root, "etc/containerd/conf.d/99-touchmark.toml")
	if err := os.WriteFile(dropIn, []byte("version = 3\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out := runInstall(t, exit.StatusUsage, "uninstall", "containerd", "--root", root, "--yes"); !strings.Contains(out, "--restore "+dropIn) {
		t.Errorf("printed\n%s", out)
	}
	if out := runInstall(t, 0, "uninstall", "containerd", "--root", root, "--yes", "--restore", dropIn); !strings.Contains(out, "restart containerd, whose configuration has changed, and then stop the agent") {
		t.Errorf("printed\n%s", out)
	}
	if contents(t, main) != before {
		t.Errorf("not restored:\n%s", contents(t, main))
	}
	for _, dir := range []string{"etc/touchmark", "opt"} {
		if _, err := os.Stat(filepath.Join(root, dir)); !os.IsNotExist(err) {
			t.Errorf("left behind: %s: %v", dir, err)
		}
	}
}

// Both installers write config.yaml, and each takes out what is its own.
func TestInstallPodmanAndContainerd(t *testing.T) {
	root, policy := nodeBelow(t)
	if err := os.MkdirAll(filepath.Join(root, "etc/containers"), 0o755); err != nil {
		t.Fatal(err)
	}
	runInstall(t, 0, "install", "podman", "--root", root, "--policy", policy, "--yes")
	alone := contents(t, filepath.Join(root, "etc/touchmark/config.yaml"))
	runInstall(t, 0, "install", "containerd", "--root", root, "--mode", "observe", "--yes")
	runInstall(t, 0, "install", "podman", "--root", root, "--mode", "observe", "--yes")
	if text := contents(t, filepath.Join(root, "etc/touchmark/config.yaml")); !strings.Contains(text, "observe: true") || !strings.Contains(text, "form: openpgp") {
		t.Errorf("config.yaml\n%s", text)
	}
	runInstall(t, 0, "uninstall", "containerd", "--root", root, "--yes")
	if text := contents(t, filepath.Join(root, "etc/touchmark/config.yaml")); text != alone {
		t.Errorf("config.yaml\n%s\nwant\n%s", text, alone)
	}
	// The policy stays for whoever is left.
	runInstall(t, 0, "install", "containerd", "--root", root, "--policy", policy, "--yes")
	runInstall(t, 0, "uninstall", "podman", "--root", root, "--yes")
	contents(t, filepath.Join(root, "etc/touchmark/policy.d/release.yaml"))
	runInstall(t, 0, "uninstall", "containerd", "--root", root, "--yes")
	if _, err := os.Stat(filepath.Join(root, "etc/touchmark")); !os.IsNotExist(err) {
		t.Errorf("left behind: %v", err)
	}
}

// A policy whose trust root is not there would keep the agent from starting, as late as at
// the next boot: it is refused before anything is written, on a host with podman, too.
func TestInstall_TrustRootMissing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "root.json")
	if err := os.WriteFile(file, coretest.New(t).TrustedRootJSON(t), 0o644); err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(installPolicy, "name: none, static: {action: fail}", "name: alice, keyless: {trustRootRef: acme, identities: [{issuer: https://i.example, subject: alice}]}", 1)
	for _, client := range []string{"containerd", "podman"} {
		for _, c := range []struct {
			name, want string
			args       []string
			status     int
		}{
			{"none", `names a trust root that is not loaded (none is): put it into trust.dir of config.yaml, name it under trust in proxy.yaml, or give it by --trusted-root acme=FILE`, nil, exit.StatusUsage},
			{"another one", `"acme" names a trust root that is not loaded (loaded are other)`, []string{"--trusted-root", "other=" + file}, exit.StatusUsage},
			{"that one", "trust/acme.json", []string{"--trusted-root", "acme=" + file}, 0},
		} {
			root, policy := nodeBelow(t)
			if client == "podman" {
				root, _, policy = hostBelow(t)
			}
			if err := os.WriteFile(policy, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			out := runInstall(t, c.status, append([]string{"install", client, "--root", root, "--policy", policy, "--yes"}, c.args...)...)
			if !strings.Contains(out, c.want) {
				t.Errorf("%s, %s: printed\n%s\nwant %s", client, c.name, out, c.want)
			}
			if _, err := os.Stat(filepath.Join(root, "etc/touchmark")); os.IsNotExist(err) != (c.status != 0) {
				t.Errorf("%s, %s: /etc/touchmark: %v", client, c.name, err)
			}
		}
	}
}

// A program that lies on a mounted node is started from where that node has it.
func TestAgentUnits_Within(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Dir(filepath.Dir(program))
	for _, mounted := range []string{root, "/mnt/node"} {
		units, err := agentUnits(hostconfig.New(mounted+"/etc/touchmark/config.yaml", hostconfig.System(mounted)), containerd.Host{Root: mounted}.Within, false)
		if err != nil {
			t.Fatal(err)
		}
		want := "ExecStart=" + program
		if mounted == root {
			want = "ExecStart=" + strings.TrimPrefix(program, root)
		}
		if text := string(units["touchmark-agent.service"]); !strings.Contains(text, want+" agent --config /etc/touchmark/config.yaml\n") {
			t.Errorf("%s: want %s\n%s", mounted, want, text)
		}
	}
}

// Where files of the node do not help, it is said what does, and nothing is written.
func TestInstallContainerd_Elsewhere(t *testing.T) {
	for name, c := range map[string]struct {
		file, text, want string
		args             []string
	}{
		"Talos":        {"etc/os-release", "ID=talos\n", "skipFallback: true", nil},
		"Bottlerocket": {"etc/os-release", "ID=bottlerocket\n", "[[settings.container-registry.mirrors]]", nil},
		"GKE":          {"etc/os-release", "ID=cos\n", "registryHosts:", []string{"--proxy", "https://p.example"}},
		"1.7":          {"etc/containerd/config.toml", "version = 2\n", "touchmark install containerd --proxy https://proxy.example:5443", []string{"--containerd-version", "1.7.28"}},
		"none":         {"etc/os-release", "ID=debian\n", "no containerd was found", []string{"NONE"}},
	} {
		root, policy := nodeBelow(t)
		if err := os.WriteFile(filepath.Join(root, c.file), []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		args := c.args
		if len(args) == 1 && args[0] == "NONE" {
			args = nil
			for _, file := range []string{"etc/containerd", "etc/kubernetes", "usr"} {
				if err := os.RemoveAll(filepath.Join(root, file)); err != nil {
					t.Fatal(err)
				}
			}
		}
		out := runInstall(t, exit.StatusRefused, append([]string{"install", "containerd", "--root", root, "--policy", policy, "--yes"}, args...)...)
		if !strings.Contains(out, c.want) || !strings.Contains(out, "nothing was written") {
			t.Errorf("%s: printed\n%s", name, out)
		}
		if _, err := os.Stat(filepath.Join(root, "etc/touchmark")); !os.IsNotExist(err) {
			t.Errorf("%s: something was written: %v", name, err)
		}
	}
	root, _ := nodeBelow(t)
	if err := os.WriteFile(filepath.Join(root, "etc/containerd/config.toml"), []byte("version = 2\n[plugins.'io.containerd.grpc.v1.cri'.registry]\n  config_path = '/etc/containerd/certs.d'\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	runInstall(t, 0, "install", "containerd", "--root", root, "--containerd-version", "1.7.28", "--proxy", "https://p.example", "--registry", "docker.io", "--yes")
}
