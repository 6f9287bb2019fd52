package containerdnri

import (
	"os"
	"testing"

	"github.com/touchmark/touchmark/integration/internal/lab"
)

// TestCTRD14_Installed: after "touchmark install containerd --nri", no container is created without the agent, and with it only what is admitted; what the node needs is pinned.
func TestCTRD14_Installed(t *testing.T) {
	h := newHost(t, lab.ContainerdSettings(3, "\n[plugins.'io.containerd.nri.v1.nri']\n  disable = false\n"), "")
	if err := os.RemoveAll(h.Path("/etc/touchmark")); err != nil {
		t.Fatal(err)
	}
	h.Write(t, "/etc/touchmark/config.yaml", "agent: {listen: \""+h.address+"\"}\n")
	for from, to := range map[string]string{h.world.Root: "/root/trusted_root.json", h.world.Policy(t): "/root/release.yaml"} {
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		h.Write(t, to, string(text))
	}
	h.Install(t, verifier, "/usr/local/bin/touchmark-containerd")
	h.Start(t)
	h.cri = h.CRI(t)
	h.LoadPause(t)
	signed, _ := h.push(t, "team/signed:1", "signed", true)
	unsigned, _ := h.push(t, "team/unsigned:1", "unsigned", false)
	critical, _ := h.push(t, "team/critical:1", "critical", false)
	for _, image := range []string{signed, unsigned, critical} {
		if err := h.cri.Pull(image); err != nil { // before there is a verifier
			t.Fatal(err)
		}
	}
	h.Root().Must(t, 0, "touchmark", "install", "containerd", "--nri", "--yes", "--no-probe", "--policy", "/root/release.yaml", "--trusted-root", "private=/root/trusted_root.json", "--boot-image", critical)
	h.Restart(t)
	h.cri = h.CRI(t)
	p := h.pod(t, nil)
	p.refused(t, signed, signed, "required plugin", "touchmark")
	p.refused(t, critical, critical, "required plugin", "touchmark")

	h.serve(t)
	p.refused(t, unsigned, unsigned, "is not signed")
	p.runs(t, signed)
	// A pinned image needs no registry.
	h.Write(t, lab.CertsD+"/_default/hosts.toml", "server = \"http://127.0.0.1:1\"\n")
	p.runs(t, critical)
}
