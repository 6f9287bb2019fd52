package install_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/touchmark/touchmark/containerd"
	"github.com/touchmark/touchmark/containerd/config"
	"github.com/touchmark/touchmark/containerd/distribution"
	"github.com/touchmark/touchmark/containerd/install"
	"github.com/touchmark/touchmark/core/hostfiles/hostfilestest"
)

// shape writes a random configuration: its version, its files, and what is open in
// them.
func shape(t *testing.T, h containerd.Host, r *rand.Rand) (release config.Release) {
	t.Helper()
	release = config.Release{Major: 2, Minor: 1 + r.IntN(4)}
	newest := 3
	if release.Minor >= 3 {
		newest = 4
	}
	version := 2 + r.IntN(newest-1)
	images := "io.containerd.cri.v1.images"
	if version == 2 {
		images = "io.containerd.grpc.v1.cri"
	}
	some := func(lines ...string) string { return lines[r.IntN(len(lines))] }
	body := func() string {
		var b strings.Builder
		fmt.Fprintf(&b, "version = %d\n", version)
		b.WriteString(some("", "", "disabled_plugins = ['io.containerd.image-verifier.v1.bindir']\n", "disabled_plugins = [\n  # why\n  \"io.containerd.snapshotter.v1.btrfs\", 'io.containerd.image-verifier.v1.bindir',\n]\n"))
		b.WriteString(some("", "[debug]\n  level = 'info'\n"))
		b.WriteString(some("", "[plugins.'io.containerd.image-verifier.v1.bindir']\n  max_verifiers = 0\n", "[plugins.\"io.containerd.image-verifier.v1.bindir\"]\nbin_dir = '/srv/verifiers'\nper_verifier_timeout = '2s'\n"))
		fmt.Fprintf(&b, "[plugins.'%s']\n", images)
		b.WriteString(some("", "  max_concurrent_downloads = 9\n"))
		b.WriteString(some("", "  image_pull_with_sync_fs = true # for power cuts\n"))
		if version > 2 {
			b.WriteString(some("", "  use_local_image_pull = true\n"))
			b.WriteString(some("", "  discard_unpacked_layers = true\n"))
		}
		b.WriteString(some("", fmt.Sprintf("  [plugins.'%s'.registry.mirrors.'docker.io']\n    endpoint = ['https://mirror.example']\n", images), fmt.Sprintf("  [plugins.'%s'.registry]\n    config_path = '/etc/certs'\n", images)))
		b.WriteString(some("", fmt.Sprintf("  [plugins.'%s'.registry.auths.'https://r.example']\n    auth = 'eA=='\n", images)))
		if version == 2 {
			b.WriteString(some("", fmt.Sprintf("  [plugins.'%s'.containerd]\n    discard_unpacked_layers = true\n", images)))
		}
		return b.String()
	}
	main := body()
	switch r.IntN(4) {
	case 0: // none but this
	case 1:
		main = strings.Replace(main, "\n", "\nimports = ['/etc/containerd/conf.d/*.toml']\n", 1)
		put(t, filepath.Join(h.DropIns(), "10-site.toml"), body())
	case 2:
		main = strings.Replace(main, "\n", "\nimports = [\n  \"/etc/containerd/extra.toml\", # ours\n]\n", 1)
		put(t, h.Path("/etc/containerd/extra.toml"), body())
	case 3:
		main = strings.Replace(main, "\n", "\nimports = ['conf.d/*.toml', '/etc/containerd/zz/*.toml']\n", 1)
		put(t, filepath.Join(h.DropIns(), "zz.toml"), body())
		put(t, h.Path("/etc/containerd/zz/x.toml"), body())
	}
	put(t, h.Config(), main)
	return release
}

// Whatever a configuration looks like, it enforces once it is installed; installing again changes nothing; uninstalling restores it.
func TestShapes(t *testing.T) {
	t.Parallel()
	const shapes = 150
	for seed := range uint64(shapes) {
		h := containerd.Host{Root: t.TempDir()}
		release := shape(t, h, rand.New(rand.NewPCG(7, seed)))
		if _, err := config.Load(h, h.Config(), release); err != nil {
			continue // containerd does not start with that either
		}
		before := hostfilestest.Tree(t, h.Root)
		o := options(h, release)
		p, err := install.New(o)
		if err != nil {
			t.Errorf("shape %d: %v\n%s", seed, err, before["/etc/containerd/config.toml"])
			continue
		}
		if err := p.Apply(t.Context()); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(h, h.Config(), release)
		if err != nil {
			t.Errorf("shape %d: containerd %s would not start: %v\n%s", seed, release, err, p.Diff())
			continue
		}
		verdict, why := o.Distribution.Judge(c)
		if verdict != distribution.Enforcing || c.Verifier.BinDir != p.BinDir || len(p.Open) > 0 {
			t.Errorf("shape %d, containerd %s: %s, %q, open %q\n%s", seed, release, verdict, why, p.Open, p.Diff())
		}
		if again, err := install.New(o); err != nil || !again.Empty() {
			t.Errorf("shape %d: installing again: %v\n%s", seed, err, again.Diff())
		}
		remove(t, h)
		if diff := cmp.Diff(before, hostfilestest.Tree(t, h.Root)); diff != "" {
			t.Errorf("shape %d: uninstalling (-before +after)\n%s", seed, diff)
		}
	}
}

// With NRI, containerd makes no container without the agent's plugin.
func TestCTRD14_NRIIsRequired(t *testing.T) {
	t.Parallel()
	for _, before := range []string{
		"version = 3\n",
		"version = 3\n[plugins.'io.containerd.nri.v1.nri']\n  disable = true\n  [plugins.'io.containerd.nri.v1.nri'.default_validator]\n    required_plugins = ['site']\n    tolerate_missing_plugins_annotation = 'x'\n",
	} {
		h := containerd.Host{Root: t.TempDir()}
		put(t, h.Config(), before)
		o := options(h, config.Newest())
		o.NRI = true
		p := apply(t, o)
		n := p.Config.NRI
		if n.Disabled || !n.Validator.Enabled || !slices.Contains(n.Validator.RequiredPlugins, "touchmark") || n.Validator.TolerateMissing != "" || strings.Contains(before, "site") != slices.Contains(n.Validator.RequiredPlugins, "site") || !p.Restart {
			t.Errorf("%+v", n)
		}
		if text := hostfilestest.Tree(t, h.Root)["/etc/touchmark/config.yaml"]; !strings.Contains(text, "nri: true") {
			t.Errorf("config.yaml: %s", text)
		}
		o.Mode = install.Observe
		if p := apply(t, o); p.Config.NRI.Validator.Enabled {
			t.Error("observing, the plugin is required")
		}
		remove(t, h)
	}
}
