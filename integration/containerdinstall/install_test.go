package containerdinstall_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/integration/internal/lab"
)

const alice = "alice@acme.example"

// node is a host with a containerd, and a registry whose images alice must sign.
type node struct {
	*lab.Containerd
	world            *lab.World
	policy           string
	signed, unsigned string
}

func newNode(t *testing.T, config string) *node {
	t.Helper()
	w := lab.New(t, true)
	n := &node{Containerd: lab.NewContainerd(t), world: w, policy: filepath.Join(w.Dir, "release.yaml")}
	if err := os.Rename(w.Policy(t), n.policy); err != nil {
		t.Fatal(err)
	}
	n.signed, n.unsigned = w.Registry+"/signed:1", w.Registry+"/unsigned:1"
	for _, image := range []string{n.signed, n.unsigned} {
		coretest.Push(t, image, lab.Busybox(t, image))
	}
	lab.Touchmark(t, 0, "sign", "--server", w.Stack.URL, "--as", alice, "--trusted-root", w.Root, n.signed)
	n.Link(t, verifier, "/usr/local/bin/touchmark-containerd")
	n.Write(t, lab.ContainerdConfig, config)
	return n
}

// touchmark runs the command on the node, and expects a status.
func (n *node) touchmark(t *testing.T, status int, args ...string) string {
	t.Helper()
	return n.Root().Must(t, status, append([]string{"touchmark"}, args...)...).Output()
}

func (n *node) install(t *testing.T, status int, args ...string) string {
	t.Helper()
	return n.touchmark(t, status, append([]string{"install", "containerd", "--policy", n.share(t, n.policy), "--trusted-root", "private=" + n.share(t, n.world.Root), "--yes"}, args...)...)
}

// share copies a file to where the node sees it.
func (n *node) share(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	to := "/root/handed-in/" + filepath.Base(path)
	n.Write(t, to, string(text))
	return to
}

// pull pulls by the kubelet's way and by ctr: "" if both worked, or what they said.
func (n *node) pull(t *testing.T, image string) string {
	t.Helper()
	cri := n.CRI(t)
	err := cri.Pull(image)
	cri.RemoveImage(image)
	r := n.Root().Run(t, "ctr", "images", "pull", "--plain-http", image)
	n.Root().Run(t, "ctr", "images", "rm", "--sync", image)
	switch {
	case (err == nil) != (r.Status == 0):
		return fmt.Sprintf("CRI: %v; ctr: %s", err, r.Output())
	case err != nil:
		return err.Error() + "\n" + r.Output()
	}
	return ""
}

func (n *node) enforces(t *testing.T) {
	t.Helper()
	if says := n.pull(t, n.unsigned); strings.Count(says, "refused by touchmark: ") != 2 {
		t.Errorf("the unsigned image: %s", says)
	}
	if says := n.pull(t, n.signed); says != "" {
		t.Errorf("the signed image: %s", says)
	}
}

func (n *node) admits(t *testing.T) {
	t.Helper()
	for _, image := range []string{n.unsigned, n.signed} {
		if says := n.pull(t, image); says != "" {
			t.Errorf("%s: %s", image, says)
		}
	}
}

// files is all that an installation may touch: modes, links and contents.
func (n *node) files(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, dir := range []string{"/etc", "/opt"} {
		root := n.Path(dir)
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			text := info.Mode().String()
			switch {
			case info.Mode().IsRegular():
				data, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				text += "\n" + string(data)
			case info.Mode()&fs.ModeSymlink != 0:
				target, err := os.Readlink(path)
				if err != nil {
					return err
				}
				text += " -> " + target
			}
			out[dir+strings.TrimPrefix(path, root)] = text
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// images is how versions of the configuration call CRI's images.
func images(version int) string {
	if version == 2 {
		return "io.containerd.grpc.v1.cri"
	}
	return "io.containerd.cri.v1.images"
}

// bypassed is a configuration with which CRI asks no verifier.
func bypassed(version int) string {
	if version == 2 {
		return strings.Replace(lab.ContainerdSettings(2, ""), "  disable_apparmor = true\n", "  disable_apparmor = true\n  max_concurrent_downloads = 5\n", 1)
	}
	return lab.ContainerdSettings(version, fmt.Sprintf("[plugins.'%s']\n  max_concurrent_downloads = 5\n", images(version)))
}

// Installed, a containerd that asked nobody asks; uninstalled, every file is as it was.
func TestInstallAndUninstall(t *testing.T) {
	for _, version := range []int{2, 3, 4} {
		t.Run(fmt.Sprintf("configuration %d", version), func(t *testing.T) {
			n := newNode(t, bypassed(version))
			n.Start(t)
			n.admits(t)
			before := n.files(t)
			if out := n.install(t, 0, "--dry-run"); !strings.Contains(out, "max_concurrent_downloads = 3") || cmp.Diff(before, n.files(t)) != "" {
				t.Errorf("shown, or written:\n%s", out)
			}
			if out := n.install(t, 0); !strings.Contains(out, "containerd has to be restarted") {
				t.Errorf("printed\n%s", out)
			}
			n.Restart(t)
			n.enforces(t)
			out := n.install(t, 0)
			for _, want := range []string{"nothing to change", "probe: CRI refused an unsigned image", "probe: transfer service refused an unsigned image"} {
				if !strings.Contains(out, want) {
					t.Errorf("installed again, it does not say %q:\n%s", want, out)
				}
			}
			n.touchmark(t, 0, "uninstall", "containerd", "--yes")
			if diff := cmp.Diff(before, n.files(t)); diff != "" {
				t.Errorf("uninstalled (-before +after)\n%s", diff)
			}
			n.Restart(t)
			n.admits(t)
		})
	}
}

// With containerd's defaults nothing but the program is needed, and no restart.
func TestWithoutRestart(t *testing.T) {
	n := newNode(t, lab.ContainerdSettings(3, ""))
	n.Start(t)
	n.admits(t)
	out := n.install(t, 0)
	if !strings.Contains(out, "containerd need not be restarted") || !strings.Contains(out, "probe: CRI refused an unsigned image") {
		t.Errorf("printed\n%s", out)
	}
	n.enforces(t)
	n.touchmark(t, 0, "uninstall", "containerd", "--yes")
	n.admits(t)
}

// What no file can override is named, and taken out with --fix; mirrors go on working.
func TestCTRD09_Fix(t *testing.T) {
	for _, version := range []int{2, 3} {
		t.Run(fmt.Sprintf("configuration %d", version), func(t *testing.T) {
			n := newNode(t, "")
			text := strings.Replace(lab.ContainerdSettings(version, ""), fmt.Sprintf("[plugins.'%s'.registry]\n  config_path = %q\n", images(version), lab.CertsD),
				fmt.Sprintf("[plugins.'%s'.registry.mirrors.'registry.example']\n  endpoint = ['http://%s']\n", images(version), n.world.Registry), 1)
			n.Write(t, lab.ContainerdConfig, text)
			policy, err := os.ReadFile(n.policy)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(n.policy, []byte(strings.Replace(string(policy), "images: [", `images: [{glob: "registry.example/**"}, `, 1)), 0o644); err != nil {
				t.Fatal(err)
			}
			mirrored := "registry.example/signed:1"
			n.Start(t)
			if err := n.CRI(t).Pull(mirrored); err != nil {
				t.Fatal(err)
			}
			before := n.files(t)
			if out := n.install(t, 1); !strings.Contains(out, "config.toml: registry.mirrors (registry.example) keeps containerd from asking verifiers") {
				t.Errorf("printed\n%s", out)
			}
			n.install(t, 0, "--fix")
			n.Restart(t)
			cri := n.CRI(t)
			cri.RemoveImage(mirrored)
			if err := cri.Pull(mirrored); err != nil {
				t.Errorf("through the mirror: %v", err)
			}
			if err := cri.Pull("registry.example/unsigned:1"); err == nil || !strings.Contains(err.Error(), "rejected image (exit code 1): touchmark cannot decide: ") {
				t.Errorf("through the mirror, unsigned, and the registry itself away: %v", err)
			}
			n.enforces(t)
			n.touchmark(t, 0, "uninstall", "containerd", "--yes")
			if diff := cmp.Diff(before, n.files(t)); diff != "" {
				t.Errorf("uninstalled (-before +after)\n%s", diff)
			}
		})
	}
}

// Observing admits everything, and says what it would have refused.
func TestObserve(t *testing.T) {
	n := newNode(t, lab.ContainerdSettings(3, ""))
	address := lab.FreeAddress(t)
	n.Write(t, "/etc/touchmark/config.yaml", "agent: {listen: \""+address+"\"}\n")
	n.Start(t)
	n.install(t, 0, "--mode", "observe")
	n.admits(t) // without an agent, too
	agent := n.Agent(t, address)
	n.admits(t)
	if out := n.touchmark(t, 0, "report"); !strings.Contains(out, "would not be admitted") || !strings.Contains(out, "admitted, because containerd (containerd.observe in config.yaml) only observes; enforcing would have refused: ") {
		t.Errorf("the report says\n%s", out)
	}
	if out := n.touchmark(t, 0, "agent", "status"); !strings.Contains(out, "only observed: containerd (containerd.observe in config.yaml)") {
		t.Errorf("the status says\n%s", out)
	}
	agent.Kill()
	n.install(t, 0, "--mode", "enforce")
	n.Agent(t, address)
	n.enforces(t)
}
