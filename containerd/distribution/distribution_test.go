package distribution_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/touchmark/touchmark/containerd"
	"github.com/touchmark/touchmark/containerd/config"
	"github.com/touchmark/touchmark/containerd/distribution"
)

const rancher = "/var/lib/rancher/"

// Every distribution's default configuration has a stated verdict.
func TestCTRD09_VerdictOfEachDistribution(t *testing.T) {
	settings := func(entries ...string) []string { return entries }
	for _, c := range []struct {
		fixture string
		release config.Release
		name    distribution.Name
		verdict distribution.Verdict
		why     []string // parts of the reasons
		config  string
		kind    distribution.Kind
		path    string
		service string
	}{
		{"plain", config.Newest(), distribution.Plain, distribution.Enforcing, nil, "/etc/containerd/config.toml", distribution.DropIn, "/etc/containerd/conf.d/99-touchmark.toml", "containerd.service"},
		{"plain", config.Release{Major: 2, Minor: 0}, distribution.Plain, distribution.Proxy, settings("2.1 is the first that asks"), "/etc/containerd/config.toml", distribution.DropIn, "/etc/containerd/conf.d/99-touchmark.toml", "containerd.service"},
		{"debian", config.Release{Major: 1, Minor: 7}, distribution.Plain, distribution.Proxy, settings("containerd 1.7 has no image verifiers"), "/etc/containerd/config.toml", distribution.DropIn, "/etc/containerd/conf.d/99-touchmark.toml", "containerd.service"},
		{"debian", config.Release{Major: 2, Minor: 1}, distribution.Plain, distribution.Enforcing, nil, "/etc/containerd/config.toml", distribution.DropIn, "/etc/containerd/conf.d/99-touchmark.toml", "containerd.service"},
		{"docker", config.Release{Major: 2, Minor: 2}, distribution.Docker, distribution.Proxy, settings("Docker pulls images by itself"), "/etc/containerd/config.toml", distribution.DropIn, "/etc/containerd/conf.d/99-touchmark.toml", "containerd.service"},
		{"kubeadm", config.Newest(), distribution.Kubeadm, distribution.Enforcing, nil, "/etc/containerd/config.toml", distribution.DropIn, "/etc/containerd/conf.d/99-touchmark.toml", "containerd.service"},
		{"kubeadm-2.1", config.Release{Major: 2, Minor: 1}, distribution.Kubeadm, distribution.Enforcing, nil, "/etc/containerd/config.toml", distribution.DropIn, "/etc/containerd/conf.d/99-touchmark.toml", "containerd.service"},
		{"kubeadm-2.1", config.Release{Major: 2, Minor: 0}, distribution.Kubeadm, distribution.Proxy, settings("2.1 is the first"), "/etc/containerd/config.toml", distribution.DropIn, "/etc/containerd/conf.d/99-touchmark.toml", "containerd.service"},
		{"kubeadm-1.7", config.Release{Major: 1, Minor: 7}, distribution.Kubeadm, distribution.Proxy, settings("has no image verifiers"), "/etc/containerd/config.toml", distribution.DropIn, "/etc/containerd/conf.d/99-touchmark.toml", "containerd.service"},
		{"kubeadm-1.7", config.Release{Major: 2, Minor: 3}, distribution.Kubeadm, distribution.Enforcing, nil, "/etc/containerd/config.toml", distribution.DropIn, "/etc/containerd/conf.d/99-touchmark.toml", "containerd.service"},
		{"eks", config.Release{Major: 2, Minor: 1}, distribution.EKS, distribution.Fixable, settings("discard_unpacked_layers is true in /etc/containerd/config.toml"), "/etc/containerd/config.toml", distribution.API, "", "containerd.service"},
		{"eks-1.7", config.Release{Major: 1, Minor: 7}, distribution.EKS, distribution.Proxy, settings("has no image verifiers"), "/etc/containerd/config.toml", distribution.API, "", "containerd.service"},
		{"eks-1.7", config.Release{Major: 2, Minor: 1}, distribution.EKS, distribution.Fixable, settings("discard_unpacked_layers is true"), "/etc/containerd/config.toml", distribution.API, "", "containerd.service"},
		{"gke", config.Release{Major: 1, Minor: 7}, distribution.GKE, distribution.Proxy, settings("has no image verifiers"), "/etc/containerd/config.toml", distribution.Nothing, "", "containerd.service"},
		{"gke", config.Release{Major: 2, Minor: 1}, distribution.GKE, distribution.Proxy, settings("registryHosts"), "/etc/containerd/config.toml", distribution.Nothing, "", "containerd.service"},
		{"k3s", config.Release{Major: 2, Minor: 1}, distribution.K3s, distribution.Fixable, settings("use_local_image_pull is true"), rancher + "k3s/agent/etc/containerd/config.toml", distribution.DropIn, rancher + "k3s/agent/etc/containerd/config-v3.toml.d/99-touchmark.toml", "k3s.service"},
		{"k3s-2025", config.Release{Major: 2, Minor: 1}, distribution.K3s, distribution.Fixable, settings("use_local_image_pull is true"), rancher + "k3s/agent/etc/containerd/config.toml", distribution.Template, rancher + "k3s/agent/etc/containerd/config-v3.toml.tmpl", "k3s-agent.service"},
		{"k3s-1.7", config.Release{Major: 1, Minor: 7}, distribution.K3s, distribution.Proxy, settings("has no image verifiers"), rancher + "k3s/agent/etc/containerd/config.toml", distribution.Template, rancher + "k3s/agent/etc/containerd/config.toml.tmpl", "k3s.service"},
		{"k3s-1.7", config.Release{Major: 2, Minor: 1}, distribution.K3s, distribution.Fixable, settings("registry.mirrors is docker.io in " + rancher + "k3s/agent/etc/containerd/config.toml, so that CRI pulls without verifiers; no later file can take it out"), rancher + "k3s/agent/etc/containerd/config.toml", distribution.Template, rancher + "k3s/agent/etc/containerd/config.toml.tmpl", "k3s.service"},
		{"rke2", config.Release{Major: 2, Minor: 1}, distribution.RKE2, distribution.Fixable, settings("use_local_image_pull is true"), rancher + "rke2/agent/etc/containerd/config.toml", distribution.DropIn, rancher + "rke2/agent/etc/containerd/config-v3.toml.d/99-touchmark.toml", "rke2-server.service"},
		{"k3s-data-dir", config.Release{Major: 2, Minor: 1}, distribution.K3s, distribution.Fixable, settings("use_local_image_pull is true in /mnt/nvme/k3s/agent/etc/containerd/config.toml"), "/mnt/nvme/k3s/agent/etc/containerd/config.toml", distribution.DropIn, "/mnt/nvme/k3s/agent/etc/containerd/config-v3.toml.d/99-touchmark.toml", "k3s.service"},
		{"rke2-data-dir", config.Release{Major: 2, Minor: 1}, distribution.RKE2, distribution.Fixable, settings("use_local_image_pull is true in /data/rke2/agent/etc/containerd/config.toml"), "/data/rke2/agent/etc/containerd/config.toml", distribution.DropIn, "/data/rke2/agent/etc/containerd/config-v3.toml.d/99-touchmark.toml", "rke2-agent.service"},
		{"talos", config.Release{Major: 2, Minor: 1}, distribution.Talos, distribution.Proxy, settings("pulls images by itself"), "/etc/cri/containerd.toml", distribution.Nothing, "", ""},
		{"bottlerocket", config.Release{Major: 2, Minor: 1}, distribution.Bottlerocket, distribution.Proxy, settings("settings.container-registry.mirrors"), "/etc/containerd/config.toml", distribution.Nothing, "", "containerd.service"},
	} {
		t.Run(c.fixture+" with "+c.release.String(), func(t *testing.T) {
			h := containerd.Host{Root: filepath.Join("testdata", c.fixture)}
			d := distribution.Detect(h)
			if d.Name != c.name || d.Config != c.config || d.Override.Kind != c.kind || d.Override.Path != c.path || d.Service != c.service || d.Because == "" {
				t.Errorf("%+v", d)
			}
			loaded, err := config.Load(h, d.Config, c.release)
			if err != nil {
				t.Fatal(err)
			}
			verdict, why := d.Judge(loaded)
			if verdict != c.verdict || len(why) != len(c.why) {
				t.Fatalf("%s: %q", verdict, why)
			}
			for i := range why {
				if !strings.Contains(why[i], c.why[i]) {
					t.Errorf("%s, want %s", why[i], c.why[i])
				}
			}
			if d.Override.Kind == distribution.API && d.Override.Snippet == "" || d.Override.Kind == distribution.Nothing && d.Override.How == "" {
				t.Errorf("nothing says what to do: %+v", d.Override)
			}
		})
	}
}

// What is fixable is enforcing with the override where that distribution keeps it.
func TestCTRD09_FixableIsFixed(t *testing.T) {
	for _, fixture := range []string{"k3s", "rke2", "k3s-data-dir", "rke2-data-dir"} {
		h := containerd.Host{Root: filepath.Join("testdata", fixture)}
		d := distribution.Detect(h)
		release := config.Release{Major: 2, Minor: 1}
		before, err := config.Load(h, d.Config, release)
		if err != nil {
			t.Fatal(err)
		}
		text, err := config.Override(before.DropInVersion(), config.Set{Field: config.UseLocalImagePull, Value: false})
		if err != nil {
			t.Fatal(err)
		}
		after, err := config.Preview(h, d.Config, release, map[string][]byte{d.Override.Path: text})
		if err != nil {
			t.Fatal(err)
		}
		if verdict, why := d.Judge(after); verdict != distribution.Enforcing {
			t.Errorf("%s: %s, %q", fixture, verdict, why)
		}
	}
	// nodeadm merges the snippet's settings into what it writes.
	h := containerd.Host{Root: filepath.Join("testdata", "eks")}
	d := distribution.Detect(h)
	_, settings, _ := strings.Cut(d.Override.Snippet, "config: |\n")
	var lines []string
	for line := range strings.Lines(settings) {
		lines = append(lines, strings.TrimSpace(line))
	}
	merged := "version = 3\n" + strings.Join(lines, "\n")
	c, err := config.Preview(h, d.Config, config.Release{Major: 2, Minor: 1}, map[string][]byte{d.Config: []byte(merged)})
	if err != nil {
		t.Fatal(err)
	}
	if c.CRI.From["discard_unpacked_layers"] != d.Config || c.CRI.DiscardUnpackedLayers || len(c.Imports) != 1 || c.Imports[0].Pattern != d.Override.Import {
		t.Errorf("%+v", c)
	}
}

func TestDetectNothing(t *testing.T) {
	d := distribution.Detect(containerd.Host{Root: t.TempDir()})
	if d.Name != distribution.None || d.Override.Kind != distribution.Nothing || d.Override.How == "" {
		t.Errorf("%+v", d)
	}
}

// Whatever else is wrong, it is said in one go.
func TestCTRD09_EveryReasonIsNamed(t *testing.T) {
	h := containerd.Host{Root: t.TempDir()}
	text := []byte(`version = 3
disabled_plugins = ["io.containerd.image-verifier.v1.bindir"]
[plugins."io.containerd.image-verifier.v1.bindir"]
max_verifiers = 0
[plugins."io.containerd.cri.v1.images"]
max_concurrent_downloads = 10
[plugins."io.containerd.cri.v1.images".registry]
config_path = "/etc/c"
[plugins."io.containerd.cri.v1.images".registry.mirrors."docker.io"]
`)
	c, err := config.Preview(h, "/etc/containerd/config.toml", config.Newest(), map[string][]byte{"/etc/containerd/config.toml": text})
	if err != nil {
		t.Fatal(err)
	}
	verdict, why := distribution.Distribution{Name: distribution.Plain, Override: distribution.Override{Kind: distribution.DropIn}}.Judge(c)
	want := []string{
		"disabled_plugins in /etc/containerd/config.toml has the image verifiers",
		"max_verifiers is 0 in /etc/containerd/config.toml",
		"registry.mirrors is docker.io in /etc/containerd/config.toml, so that CRI pulls without verifiers; no later file can take it out",
		"max_concurrent_downloads is 10 in /etc/containerd/config.toml, so that CRI pulls without verifiers",
		"CRI does not start: registry.mirrors cannot be set together with registry.config_path",
	}
	if diff := cmp.Diff(want, why); verdict != distribution.Fixable || diff != "" {
		t.Errorf("%s %s", verdict, diff)
	}
}
