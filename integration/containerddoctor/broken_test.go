package containerddoctor_test

import (
	"strings"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/doctor"
	"github.com/touchmark/touchmark/integration/internal/lab"
)

// broken is a cause that keeps the signed image out, or that leaves nobody able to tell.
type broken struct {
	code  string
	spoil func(*testing.T, *node)
	late  func(*testing.T, *node)
	way   string // "" is ctr
	// pulls says that the signed image gets in all the same.
	pulls  bool
	byHand func(*testing.T, *node)
	// alone says that no agent runs.
	alone bool
}

var brokens = []broken{
	{code: "bindir-not-directory", spoil: run("rm -r " + lab.BinDir + "; echo no >" + lab.BinDir)},
	{code: "bindir-not-executable", spoil: write(lab.BinDir+"/README", "these are verifiers\n")},
	{code: "bindir-not-program", spoil: script(lab.BinDir+"/notes", "these are verifiers\n")},
	{code: "bindir-subdirectory", spoil: run("mkdir " + lab.BinDir + "/old")},
	{code: "bindir-dangling", spoil: run("ln -s /usr/local/bin/gone " + lab.BinDir + "/gone")},
	{code: "bindir-noexec", spoil: run("cp " + program + " /run/verifier; mount -t tmpfs -o noexec,mode=0755 tmpfs " + lab.BinDir + "; mv /run/verifier " + ours), byHand: run("umount " + lab.BinDir)},
	{code: "timeout-zero", spoil: verifiers("per_verifier_timeout = '0s'")},
	{code: "timeout-tiny", spoil: verifiers("per_verifier_timeout = '1ms'")},
	{code: "transfer-disabled", spoil: disabled("'io.containerd.transfer.v1.local'")},
	{code: "containerd-config-unusable", late: write(lab.ContainerdConfig, "version = 3\nimports = ['/etc/containerd/gone.toml']\n"), byHand: config("")},
	{code: "containerd-config-unusable", late: write(lab.ContainerdConfig, "version = 3\n[plugins\n"), byHand: config("")},
	{code: "cri-invalid", way: byCRI, spoil: write(lab.ContainerdConfig, settings("", oneDirectory, "[plugins.'io.containerd.cri.v1.images'.registry.mirrors.'other.example']\nendpoint = ['https://mirror.example']\n")), byHand: config("")},
	{code: "containerd-down", late: func(_ *testing.T, n *node) { n.Stop() }, byHand: func(t *testing.T, n *node) { n.Start(t) }},
	{code: "config-changed", late: config("max_concurrent_downloads = 3"), pulls: true, byHand: func(*testing.T, *node) {}},
	{code: "config-changed", spoil: all(
		write(lab.ContainerdConfig, "version = 3\nimports = ['/etc/containerd/conf.d/*.toml']\n"+oneDirectory), write("/etc/containerd/conf.d/10.toml", "version = 3\n")),
		late: run("rm /etc/containerd/conf.d/10.toml"), pulls: true, byHand: func(*testing.T, *node) {}},
	{code: "transfer-failed", spoil: config("", "[[plugins.'io.containerd.transfer.v1.local'.unpack_config]]\nplatform = 'linux'\nsnapshotter = 'zfs'\ndiffer = 'walking'\n"), byHand: config("")},
	{code: "hosts-unusable", late: write("/etc/containerd/certs.d/_default/hosts.toml", "server = ["), byHand: run("rm -r /etc/containerd/certs.d/_default")},
	{code: "agent-down", alone: true, byHand: func(*testing.T, *node) {}},
	{code: "agent-reload-failing", late: func(t *testing.T, n *node) {
		n.Write(t, policyFile, "kind: nonsense\n")
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
			if strings.Contains(n.Root().Run(t, "touchmark", "agent", "status").Output(), "nonsense") {
				return // it has seen them
			}
		}
	}, pulls: true, byHand: func(t *testing.T, n *node) { n.Write(t, policyFile, n.site.policy); n.reagent(t) }},
	{code: "policies-unusable", alone: true, spoil: write(policyFile, "kind: nonsense\n"), byHand: func(t *testing.T, n *node) { n.Write(t, policyFile, n.site.policy) }},
	{code: "policies-missing", alone: true, spoil: run("rm " + policyFile), byHand: func(t *testing.T, n *node) { n.Write(t, policyFile, n.site.policy) }},
	{code: "config-unusable", alone: true, spoil: write(configYAML, "policies: policy.d\n"), byHand: func(t *testing.T, n *node) { n.configure(t, "standalone: false") }},
	{code: "config-missing", alone: true, spoil: run("rm " + configYAML), byHand: func(t *testing.T, n *node) { n.configure(t, "standalone: false") }},
	{code: "credentials-unusable", spoil: run("mkdir -p /etc/touchmark/containerd; (umask 077; echo nonsense >/etc/touchmark/containerd/auth.json)"), byHand: run("rm /etc/touchmark/containerd/auth.json")},
	{code: "unreadable", spoil: run("mkdir -p /var/lib/kubelet; mkfifo /var/lib/kubelet/config.yaml"), pulls: true, byHand: run("rm /var/lib/kubelet/config.yaml")},
}

// TestCTRD09_Broken: each cause keeps the signed image out, or leaves it open what the node does, and is named, and closed.
func TestCTRD09_Broken(t *testing.T) {
	s := newSite(t)
	for _, c := range brokens {
		t.Run(c.code, func(t *testing.T) {
			t.Parallel()
			n := newSpoiled(t, s, c.spoil, c.alone, c.late)
			way := c.way
			if way == "" {
				way = byCtr
			}
			if says := n.tryPull(t, way, n.site.signed); (says == "") != c.pulls {
				t.Errorf("%s: %q", way, says)
			}
			r := n.examine(t)
			if !r.Has(c.code) || r.Enforcing != doctor.Unknown {
				t.Fatalf("enforcing: %s, want unknown by %s\n%s", r.Enforcing, c.code, codes(r))
			}
			n.close(t, c.code, c.byHand)
		})
	}
}

// tryPull is pull for a containerd whose CRI may be missing.
func (n *node) tryPull(t *testing.T, way, image string) (says string) {
	t.Helper()
	if way == byCtr {
		return n.pull(t, way, image)
	}
	r := n.Root().Run(t, "ctr", "plugins", "ls", "id==cri")
	if r.Status == 0 {
		return "CRI is not there: " + r.Stdout
	}
	return r.Output()
}
