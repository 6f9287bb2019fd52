package containerddoctor_test

import (
	"strings"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/doctor"
	"github.com/touchmark/touchmark/integration/internal/lab"
)

// validated is a section of NRI that requires Touchmark's plugin.
const validated = "\n[plugins.'io.containerd.nri.v1.nri']\n  disable = false\n  [plugins.'io.containerd.nri.v1.nri'.default_validator]\n    enable = true\n    required_plugins = ['touchmark']\n"

// goods are nodes that enforce. What they are warned of is besides.
var goods = []struct {
	name  string
	shape func(*testing.T, *node)
	warns []string
	alone bool
}{
	{name: "as installed"},
	{name: "an empty config.toml", shape: write(lab.ContainerdConfig, "")},
	{name: "version 2", shape: func(t *testing.T, n *node) { n.Write(t, lab.ContainerdConfig, lab.ContainerdSettings(2, "")) }},
	{name: "version 4", shape: func(t *testing.T, n *node) { n.Write(t, lab.ContainerdConfig, lab.ContainerdSettings(4, "")) }},
	{name: "drop-ins that put it right", shape: all(
		write(lab.ContainerdConfig, "version = 3\nimports = ['conf.d/*.toml', '/etc/containerd/site.toml']\n[plugins.'io.containerd.cri.v1.images']\nmax_concurrent_downloads = 10\n"+oneDirectory),
		write("/etc/containerd/conf.d/10-site.toml", "version = 3\n[plugins.'io.containerd.image-verifier.v1.bindir']\nmax_verifiers = 0\n"),
		write("/etc/containerd/conf.d/99-touchmark.toml", "version = 3\n[plugins.'io.containerd.image-verifier.v1.bindir']\nmax_verifiers = 10\n[plugins.'io.containerd.cri.v1.images']\nmax_concurrent_downloads = 3\n"),
		write("/etc/containerd/site.toml", "version = 3\n[timeouts]\n"))},
	{name: "places for drop-ins", shape: all(
		write(lab.ContainerdConfig, "version = 3\nimports = ['/etc/containerd/conf.d/*.toml', '/srv/site.d/*.toml']\n"+oneDirectory), run("mkdir -p /srv/site.d"))},
	{name: "another bin_dir", shape: all(verifiers("bin_dir = '/srv/verifiers'\nmax_verifiers = -1"), run("rm -r "+lab.BinDir+"; mkdir -p /srv/verifiers; ln -s "+program+" /srv/verifiers/"))},
	{name: "a copy of the program", shape: run("rm " + ours + "; cp " + program + " " + ours)},
	{name: "another name", shape: run("mv " + ours + " " + lab.BinDir + "/00-touchmark")},
	{name: "other verifiers besides", shape: all(script(lab.BinDir+"/aaa", admitsAll), script(lab.BinDir+"/zzz", admitsAll)), warns: []string{"bindir-foreign"}},
	{name: "a proxy as server", shape: func(t *testing.T, n *node) {
		n.flags = []string{"--proxy", n.site.proxy, "--registry", "other.example"}
		n.Write(t, "/etc/containerd/certs.d/other.example/hosts.toml", "server = 'http://"+n.site.proxy+"'\n")
	}},
	{name: "NRI is required", shape: all(func(t *testing.T, n *node) { n.configure(t, "standalone: false, nri: true") },
		func(t *testing.T, n *node) { n.Write(t, lab.ContainerdConfig, lab.ContainerdSettings(3, validated)) })},
	{name: "without an agent", alone: true, shape: func(t *testing.T, n *node) { n.configure(t, "standalone: true") }, warns: []string{"agent-down-standalone"}},
	{name: "a policy that admits a repository", shape: func(t *testing.T, n *node) {
		n.Write(t, "/etc/touchmark/policy.d/pause.yaml", passing("pause", "registry.k8s.io/pause"))
	}},
	{name: "an operator's group", shape: run("groupadd -f ops; chgrp -R 0 /etc/touchmark; chmod 0750 /etc/touchmark /etc/containerd")},
}

// TestGoodNodes: nothing that matters is reported of nodes that let the signed image in and the unsigned one not.
func TestGoodNodes(t *testing.T) {
	s := newSite(t)
	for _, c := range goods {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, s)
			if c.shape != nil {
				c.shape(t, n)
			}
			if !c.alone {
				n.agent = n.Agent(t, n.address)
			}
			n.Start(t)
			n.enforces(t)
			n.warns(t, c.warns...)
		})
	}
}

// warns holds that the node enforces, and that the doctor warns of these causes alone. The tests' machines have no time service.
func (n *node) warns(t *testing.T, want ...string) {
	t.Helper()
	r := n.examine(t)
	got := map[string]bool{}
	for _, f := range r.Findings {
		if f.Code != "clock-unsynchronised" {
			got[f.Code] = true
		}
	}
	for _, code := range want {
		if !got[code] {
			t.Errorf("%s is missing", code)
		}
		delete(got, code)
	}
	if r.Enforcing != doctor.Yes || len(got) > 0 || r.ExitStatus() != 0 {
		t.Errorf("enforcing: %s\n%s", r.Enforcing, codes(r))
	}
}

// warnings are causes that change nothing yet.
var warnings = []struct {
	code        string
	spoil, late func(*testing.T, *node)
}{
	{code: "timeout-short", spoil: verifiers("per_verifier_timeout = '8s'")},
	{code: "touchmark-missing", spoil: all(func(t *testing.T, n *node) { n.configure(t, "standalone: true") }, func(_ *testing.T, n *node) { n.Env = []string{"HOME=/root", "PATH=/usr/bin:/bin:/usr/sbin:/sbin"} },
		run("rm "+ours+"; mkdir -p /usr/local/lib/verifier; mv "+program+" /usr/local/lib/verifier; ln -s /usr/local/lib/verifier/touchmark-containerd "+ours))},
	{code: "config-elsewhere", spoil: all(write("/srv/containerd.toml", settings("", oneDirectory)), func(_ *testing.T, n *node) { n.Flags = []string{"--config", "/srv/containerd.toml"} })},
	{code: "import-unmatched", spoil: write(lab.ContainerdConfig, "version = 3\nimports = ['/etc/containerd/site-*.toml']\n"+oneDirectory)},
	{code: "import-unmatched", spoil: write(lab.ContainerdConfig, "version = 3\nimports = ['/srv/gone/*.toml']\n"+oneDirectory)},
	{code: "images-unjudged", late: func(t *testing.T, n *node) {
		n.Import(t, "other.example/app:1", coretest.Image(t, 3))
		run("ln -sfn "+program+" "+ours)(t, n) // installed after that
	}},
	{code: "hosts-writable", spoil: all(write("/etc/containerd/certs.d/other.example/hosts.toml", "server = 'https://mirror.example'\n"), run("chmod 0666 /etc/containerd/certs.d/other.example/hosts.toml"))},
	{code: "hosts-path-list", spoil: all(write("/etc/containerd/certs.d/other.example/hosts.toml", "server = 'https://mirror.example'\n"), func(t *testing.T, n *node) {
		n.Write(t, lab.ContainerdConfig, strings.Replace(settings("", oneDirectory), "/certs.d'", "/certs.d:/etc/docker/certs.d'", 1))
	})},
	{code: "state-writable", late: run("chmod 0777 /var/lib/touchmark")},
	{code: "credentials-readable", spoil: write("/etc/touchmark/containerd/auth.json", "{\"auths\": {}}\n")},
	{code: "nri-tolerated", spoil: func(t *testing.T, n *node) {
		n.configure(t, "standalone: false, nri: true")
		n.Write(t, lab.ContainerdConfig, lab.ContainerdSettings(3, validated+"    tolerate_missing_plugins_annotation = 'tolerate.example'\n"))
	}},
	{code: "containerd-other", spoil: write("/run/k3s/containerd/containerd.sock", "")},
	{code: "docker-own", spoil: write("/run/docker/containerd/containerd.sock", "")},
	{code: "docker-shared", late: run("ctr namespaces create moby")},
	{code: "nerdctl-present", spoil: script("/usr/local/bin/nerdctl", admitsAll)},
	{code: "buildkit-present", spoil: script("/usr/local/bin/buildkitd", admitsAll)},
	{code: "notice", spoil: func(t *testing.T, n *node) {
		n.Write(t, "/etc/touchmark/policy.d/site.yaml", "apiVersion: touchmark.dev/v1alpha1\nkind: Enforcement\nspec:\n  exceptions:\n  - {image: 'other.example/app@sha256:"+strings.Repeat("0", 64)+
			"', expires: '"+time.Now().Add(20*time.Hour).UTC().Format(time.RFC3339)+"', reason: a test, by: alice}\n")
	}},
}

// TestWarnings: the node enforces all the same.
func TestWarnings(t *testing.T) {
	s := newSite(t)
	for _, c := range warnings {
		t.Run(c.code, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, s)
			if c.spoil != nil {
				c.spoil(t, n)
			}
			n.boot(t)
			if c.late != nil {
				c.late(t, n)
			}
			n.enforces(t)
			n.warns(t, c.code)
		})
	}
}
