package install_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/touchmark/touchmark/containerd"
	"github.com/touchmark/touchmark/containerd/config"
	"github.com/touchmark/touchmark/containerd/distribution"
	"github.com/touchmark/touchmark/containerd/install"
	"github.com/touchmark/touchmark/core/hostfiles"
	"github.com/touchmark/touchmark/core/hostfiles/hostfilestest"
)

// node is a node's file system with the files of a distribution.
func node(t *testing.T, fixture string) containerd.Host {
	t.Helper()
	h := containerd.Host{Root: t.TempDir()}
	if err := os.CopyFS(h.Root, os.DirFS(filepath.Join("../distribution/testdata", fixture))); err != nil {
		t.Fatal(err)
	}
	return h
}

// options are for a node with a release of containerd, and a program that is a text.
func options(h containerd.Host, release config.Release) install.Options {
	return install.Options{
		Host: h, Settings: install.Settings{Mode: install.Enforce, Fix: true, Copy: true}, Distribution: distribution.Detect(h), Release: release,
		Content: []byte("program\x00"), PolicyDir: filepath.Join(h.Touchmark(), "policy.d"), TrustDir: filepath.Join(h.Touchmark(), "trust"),
		Policies: map[string][]byte{"release.yaml": []byte("# policies\n")}, Boot: []byte("# pins\n"),
	}
}

func apply(t *testing.T, o install.Options) *install.Plan {
	t.Helper()
	p, err := install.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	return p
}

func remove(t *testing.T, h containerd.Host) {
	t.Helper()
	c, err := install.Removal(h, hostfiles.Edited{})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// restarted is containerd's configuration once it is started again: a distribution
// makes config.toml of its template then.
func restarted(t *testing.T, o install.Options, base []byte) *config.Config {
	t.Helper()
	d := o.Distribution
	changed := map[string][]byte{}
	if d.Override.Kind == distribution.Template {
		template, err := os.ReadFile(o.Host.Path(d.Override.Path))
		if err != nil {
			t.Fatal(err)
		}
		changed[d.Config] = []byte(strings.Replace(string(template), `{{ template "base" . }}`, string(base), 1))
	}
	c, err := config.Preview(o.Host, d.Config, o.Release, changed)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Every distribution's own configuration enforces once it is installed, or it is
// said what else is to be done; and it is as it was once it is uninstalled.
func TestCTRD09_EachDistribution(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		fixture string
		release config.Release
		restart bool
		open    string // what is still open, in part; "" if nothing is
	}{
		{"plain", config.Newest(), false, ""},
		{"plain", config.Release{Major: 2, Minor: 0}, false, "2.1 is the first that asks"},
		{"debian", config.Release{Major: 2, Minor: 1}, false, ""},
		{"docker", config.Release{Major: 2, Minor: 2}, false, "Docker pulls images by itself"},
		{"kubeadm", config.Newest(), false, ""},
		{"kubeadm-2.1", config.Release{Major: 2, Minor: 1}, false, ""},
		{"kubeadm-1.7", config.Release{Major: 2, Minor: 3}, false, ""},
		{"eks", config.Release{Major: 2, Minor: 1}, false, "kind: NodeConfig"},
		{"k3s", config.Release{Major: 2, Minor: 1}, true, ""},
		{"k3s-2025", config.Release{Major: 2, Minor: 1}, true, ""},
		{"k3s-1.7", config.Release{Major: 2, Minor: 1}, true, "registry.mirrors (docker.io)"},
		{"rke2", config.Release{Major: 2, Minor: 1}, true, ""},
		{"k3s-data-dir", config.Release{Major: 2, Minor: 1}, true, ""},
		{"rke2-data-dir", config.Release{Major: 2, Minor: 1}, true, ""},
	} {
		t.Run(c.fixture+" with "+c.release.String(), func(t *testing.T) {
			t.Parallel()
			h := node(t, c.fixture)
			before := hostfilestest.Tree(t, h.Root)
			o := options(h, c.release)
			base, err := os.ReadFile(h.Path(o.Distribution.Config))
			if err != nil && c.fixture != "plain" {
				t.Fatal(err)
			}
			p := apply(t, o)
			if p.Restart != c.restart {
				t.Errorf("restart %v\n%s", p.Restart, p.Diff())
			}
			if open := strings.Join(p.Open, "\n"); (c.open == "") != (open == "") || !strings.Contains(open, c.open) {
				t.Errorf("open: %q, want %q", open, c.open)
			}
			if now := restarted(t, o, base); c.open == "" {
				if verdict, why := o.Distribution.Judge(now); verdict != distribution.Enforcing {
					t.Errorf("%s: %q", verdict, why)
				}
				if info, err := os.Stat(filepath.Join(h.Path(now.Verifier.BinDir), install.Program)); err != nil || info.Mode().Perm() != 0o755 {
					t.Errorf("the program: %v, %v", info, err)
				}
			}
			installed := hostfilestest.Tree(t, h.Root)
			again, err := install.New(o)
			if err != nil {
				t.Fatal(err)
			}
			if !again.Empty() || again.Restart {
				t.Errorf("installing again would change\n%s", again.Diff())
			}
			o.Policies, o.Boot = nil, nil // what was handed in stays
			apply(t, o)
			if diff := cmp.Diff(installed, hostfilestest.Tree(t, h.Root)); diff != "" {
				t.Errorf("installing again (-first +again)\n%s", diff)
			}
			remove(t, h)
			if diff := cmp.Diff(before, hostfilestest.Tree(t, h.Root)); diff != "" {
				t.Errorf("uninstalling (-before +after)\n%s", diff)
			}
		})
	}
}

// TestKilledAnywhere cuts installing and uninstalling off at every step: it is
// finished or taken back, and containerd can read its configuration meanwhile.
func TestKilledAnywhere(t *testing.T) {
	t.Parallel()
	setUp := func(t *testing.T) install.Options {
		h := node(t, "kubeadm")
		put(t, h.Config(), everything)
		return options(h, config.Newest())
	}
	done := false
	for n := 0; !done; n++ {
		done = true
		for _, undo := range []bool{false, true} {
			o := setUp(t)
			before := hostfilestest.Tree(t, o.Host.Root)
			p, err := install.New(o)
			if err != nil {
				t.Fatal(err)
			}
			if p.Apply(hostfilestest.CutOff(t.Context(), n)) != nil {
				done = false
			}
			if _, err := config.Load(o.Host, o.Distribution.Config, o.Release); err != nil {
				t.Errorf("cut off after %d: containerd would not start: %v", n, err)
			}
			if !undo {
				if p := apply(t, o); len(p.Open) > 0 {
					t.Errorf("cut off after %d, finished: %q", n, p.Open)
				}
				c, err := install.Removal(o.Host, hostfiles.Edited{})
				if err != nil {
					t.Fatal(err)
				}
				if c.Apply(hostfilestest.CutOff(t.Context(), n)) != nil {
					done = false
				}
			}
			if _, ok, err := install.Installed(o.Host); err != nil {
				t.Fatal(err)
			} else if ok {
				remove(t, o.Host)
			}
			after := hostfilestest.Tree(t, o.Host.Root)
			for _, dir := range []string{"/etc/touchmark/install", "/etc/touchmark"} { // made for a record that was never written
				if _, there := before[dir]; !there && !strings.Contains(after[dir], "\n") {
					delete(after, dir)
				}
			}
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("cut off after %d, taken back (-before +after)\n%s", n, diff)
			}
		}
	}
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// everything is a configuration with all that keeps CRI from asking verifiers.
const everything = `version = 3
disabled_plugins = ["io.containerd.image-verifier.v1.bindir", "io.containerd.snapshotter.v1.btrfs"]
[plugins."io.containerd.image-verifier.v1.bindir"]
  bin_dir = ""
  max_verifiers = 0
  per_verifier_timeout = "1s"
[plugins."io.containerd.cri.v1.images"]
  use_local_image_pull = true
  disable_snapshot_annotations = false
  discard_unpacked_layers = true
  max_concurrent_downloads = 7
  image_pull_with_sync_fs = true
  [plugins."io.containerd.cri.v1.images".registry.mirrors."docker.io"]
    endpoint = ["https://mirror.example", "https://registry-1.docker.io"]
  [plugins."io.containerd.cri.v1.images".registry.configs."mirror.example".tls]
    ca_file = "/etc/ca.pem"
  [plugins."io.containerd.cri.v1.images".registry.configs."mirror.example".auth]
    username = "node"
    password = "hunter2"
  [plugins."io.containerd.cri.v1.images".registry.auths."https://r.example"]
    auth = "c2VjcmV0"
`

// All that can be open is closed; mirrors go on, and secrets are not shown.
func TestCTRD09_EverythingIsFixed(t *testing.T) {
	t.Parallel()
	h := node(t, "kubeadm")
	put(t, h.Config(), everything)
	before := hostfilestest.Tree(t, h.Root)
	o := options(h, config.Newest())
	o.Fix = false
	p, err := install.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if open := strings.Join(p.Open, "\n"); len(p.Open) != 4 || !strings.Contains(open, "registry.auths (https://r.example)") || !strings.Contains(open, "disabled_plugins (io.containerd.image-verifier.v1.bindir)") || !strings.Contains(open, "--fix takes it out") {
		t.Errorf("without --fix, open: %q", p.Open)
	}
	o.Fix = true
	p = apply(t, o)
	if diff := p.Diff(); strings.Contains(diff, "hunter2") || strings.Contains(diff, "c2VjcmV0") || !strings.Contains(diff, `password = "..."`) {
		t.Errorf("secrets are shown:\n%s", diff)
	}
	c, err := config.Load(h, o.Distribution.Config, o.Release)
	if err != nil {
		t.Fatal(err)
	}
	if verdict, why := o.Distribution.Judge(c); verdict != distribution.Enforcing || len(p.Open) > 0 || c.Verifier.PerVerifierTimeout < 10e9 || c.Transfer.MaxConcurrentDownloads != 7 || c.CRI.ConfigPath == "" {
		t.Errorf("%s, %q, open %q, %+v", verdict, why, p.Open, c)
	}
	hosts, err := os.ReadFile(filepath.Join(h.CertsD(), "docker.io/hosts.toml"))
	want := "server = \"https://registry-1.docker.io\"\n\n[host.\"https://mirror.example\"]\n  capabilities = [\"pull\", \"resolve\"]\n  ca = \"/etc/ca.pem\"\n\n[host.\"https://registry-1.docker.io\"]\n  capabilities = [\"pull\", \"resolve\"]\n"
	if _, text, _ := strings.Cut(string(hosts), "\n"); err != nil || text != want {
		t.Errorf("hosts.toml: %v\n%s", err, text)
	}
	if notes := strings.Join(p.Notes, "\n"); !strings.Contains(notes, "the credentials for mirror.example are taken out") {
		t.Errorf("notes %q", p.Notes)
	}
	remove(t, h)
	if diff := cmp.Diff(before, hostfilestest.Tree(t, h.Root)); diff != "" {
		t.Errorf("uninstalling (-before +after)\n%s", diff)
	}
}

// The proxy is the server, and never a mirror that containerd may pass over.
func TestPX_Proxy(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		fixture    string
		release    config.Release
		registries []string
		files      []string
		open       string
	}{
		{"kubeadm", config.Newest(), nil, []string{"/etc/containerd/certs.d/_default/hosts.toml"}, ""},
		{"kubeadm", config.Newest(), []string{"docker.io", "r.example:5000"}, []string{"/etc/containerd/certs.d/docker.io/hosts.toml", "/etc/containerd/certs.d/r.example:5000/hosts.toml"}, ""},
		{"kubeadm-1.7", config.Release{Major: 1, Minor: 7}, nil, []string{"/etc/containerd/certs.d/_default/hosts.toml"}, ""},
	} {
		h := node(t, c.fixture)
		before := hostfilestest.Tree(t, h.Root)
		o := options(h, c.release)
		o.Proxy, o.Registries, o.ProxyOnly = "https://proxy.example:5443/", c.registries, !c.release.Verifies()
		p := apply(t, o)
		for _, f := range c.files {
			text, err := os.ReadFile(h.Path(f))
			if err != nil || !strings.Contains(string(text), "\nserver = \"https://proxy.example:5443\"\n") || strings.Contains(string(text), "[host") {
				t.Errorf("%s: %s: %v\n%s", c.fixture, f, err, text)
			}
		}
		if c.release.Verifies() && len(p.Open) > 0 {
			t.Errorf("%s: open %q", c.fixture, p.Open)
		}
		// What CRI's default says, two directories, has no hosts.toml read at all.
		if now, err := config.Load(h, h.Config(), c.release); err != nil || now.CRI.IgnoresHosts() {
			t.Errorf("%s: config_path is %q afterwards, %v", c.fixture, now.CRI.ConfigPath, err)
		}
		remove(t, h)
		if diff := cmp.Diff(before, hostfilestest.Tree(t, h.Root)); diff != "" {
			t.Errorf("%s: uninstalling (-before +after)\n%s", c.fixture, diff)
		}
	}
}

func TestNew_Refuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*install.Options)
		want   string
	}{
		"mode":            {func(o *install.Options) { o.Mode = "maybe" }, `mode "maybe"`},
		"bin_dir":         {func(o *install.Options) { o.BinDir = "bin" }, `bin_dir "bin"`},
		"proxy":           {func(o *install.Options) { o.Proxy = "proxy.example" }, `proxy "proxy.example"`},
		"proxy with path": {func(o *install.Options) { o.Proxy = "https://proxy.example/v2/docker.io" }, "not a URL such as"},
		"registry":        {func(o *install.Options) { o.Proxy, o.Registries = "https://p.example", []string{"../x"} }, `registry "../x"`},
		"release":         {func(o *install.Options) { o.Release = config.Release{Major: 1, Minor: 7} }, "has no image verifiers"},
		"nothing to do":   {func(o *install.Options) { o.ProxyOnly = true }, "nothing to install"},
	} {
		o := options(node(t, "kubeadm"), config.Newest())
		if _, err := install.New(o); err != nil {
			t.Fatal(err)
		}
		c.change(&o)
		if _, err := install.New(o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
}
