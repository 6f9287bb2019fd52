package containerddoctor_test

import (
	"testing"

	"github.com/touchmark/touchmark/core/doctor"
	"github.com/touchmark/touchmark/integration/internal/lab"
)

// What touchmark install containerd made is what the doctor takes for a node that enforces; and what somebody broke since, --fix puts right by installing again.
func TestInstalled(t *testing.T) {
	s := newSite(t)
	for _, c := range []struct {
		name, code string
		spoil      func(*testing.T, *node)
	}{
		{"the directory is removed", "bindir-missing", run("rm -r " + lab.BinDir)},
		{"the verifier is removed", "bindir-empty", run("rm " + ours)},
		{"another program in its place", "verifier-impostor", all(run("rm "+ours), script(ours, admitsAll))},
		{"a README beside it", "bindir-not-executable", write(lab.BinDir+"/README", "these are verifiers\n")},
		{"others may write the directory", "bindir-writable", run("chmod 0777 " + lab.BinDir)},
		{"the drop-in is removed", "cri-concurrent-downloads", run("rm /etc/containerd/conf.d/99-touchmark.toml")},
		{"a setting of somebody else's file", "cri-local-pull", appended(lab.ContainerdConfig, "[plugins.'io.containerd.cri.v1.images']\nuse_local_image_pull = true\n")},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, s)
			run("rm -r "+lab.BinDir)(t, n)
			n.Write(t, lab.ContainerdConfig, "version = 3\nimports = ['/etc/containerd/conf.d/*.toml']\n"+oneDirectory+"[plugins.'io.containerd.nri.v1.nri']\n  disable = true\n")
			n.Write(t, "/etc/containerd/conf.d/10-site.toml", "version = 3\n[plugins.'io.containerd.cri.v1.images']\nmax_concurrent_downloads = 5\n")
			n.Root().Must(t, 0, "touchmark", "install", "containerd", "--yes", "--no-probe")
			n.boot(t)
			n.enforces(t)
			if r := n.examine(t, "--probe"); r.Enforcing != doctor.Yes {
				t.Fatalf("installed: enforcing: %s\n%s", r.Enforcing, codes(r))
			}
			c.spoil(t, n)
			n.Restart(t)
			if r := n.examine(t); r.Enforcing == doctor.Yes || !r.Has(c.code) {
				t.Fatalf("enforcing: %s, want not, by %s\n%s", r.Enforcing, c.code, codes(r))
			}
			fixed := n.Root().Run(t, "touchmark", "doctor", "containerd", "--fix")
			n.Restart(t)
			if r := n.examine(t, "--probe", "--probe-good", s.signed); r.Enforcing != doctor.Yes {
				t.Errorf("afterwards: enforcing: %s\n%s\n%s", r.Enforcing, codes(r), fixed.Output())
			}
			n.enforces(t)
		})
	}
}
