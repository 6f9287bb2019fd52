package config_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/touchmark/touchmark/containerd"
	"github.com/touchmark/touchmark/containerd/config"
)

func set(field config.Field, value any) config.Set { return config.Set{Field: field, Value: value} }

// enforce is what an installer sets.
func enforce() []config.Set {
	return []config.Set{
		set(config.BinDir, "/opt/verifiers"), set(config.MaxVerifiers, 1), set(config.PerVerifierTimeout, 20*time.Second),
		set(config.UseLocalImagePull, false), set(config.DisableSnapshotAnnotations, true), set(config.DiscardUnpackedLayers, false),
		set(config.MaxConcurrentDownloads, 3), set(config.ImagePullWithSyncFs, false), set(config.ConfigPath, "/etc/hosts.d"), set(config.TransferDownloads, 9),
		set(config.NRIDisable, false), set(config.NRISocketPath, "/run/n.sock"), set(config.NRIRequestTimeout, 5*time.Second),
		set(config.ValidatorEnable, true), set(config.ValidatorRequired, []string{"touchmark"}), set(config.ValidatorTolerate, "touchmark.example/tolerate"),
	}
}

// open is a main file in which every setting is wrong, and needs no edit.
const open = `
imports = ["/etc/containerd/conf.d/*.toml"]
[plugins."io.containerd.image-verifier.v1.bindir"]
max_verifiers = 0
[plugins."io.containerd.cri.v1.images"]
use_local_image_pull = true
disable_snapshot_annotations = false
discard_unpacked_layers = true
max_concurrent_downloads = 20
image_pull_with_sync_fs = true
[plugins."io.containerd.nri.v1.nri"]
disable = true
`

// old is the same in the sections of version 2.
const old = `
imports = ["/etc/containerd/conf.d/*.toml"]
[plugins."io.containerd.image-verifier.v1.bindir"]
max_verifiers = 0
[plugins."io.containerd.grpc.v1.cri"]
max_concurrent_downloads = 20
image_pull_with_sync_fs = true
[plugins."io.containerd.grpc.v1.cri".containerd]
disable_snapshot_annotations = false
discard_unpacked_layers = true
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
[plugins."io.containerd.cri.v1.images"]
use_local_image_pull = true
[plugins."io.containerd.nri.v1.nri"]
disable = true
`

func TestCTRD09_AnOverrideClosesEverySetting(t *testing.T) {
	for _, c := range []struct {
		name, main string
		releases   []config.Release
	}{
		{"version 2", "version = 2\n" + old, []config.Release{{Major: 2, Minor: 1}, {Major: 2, Minor: 2}, {Major: 2, Minor: 3}, {Major: 2, Minor: 4}}},
		{"version 1", "version = 1\n" + old, []config.Release{{Major: 2, Minor: 3}, {Major: 2, Minor: 4}}},
		{"none", old, []config.Release{{Major: 2, Minor: 3}, {Major: 2, Minor: 4}}},
		{"version 3", "version = 3\n" + open, []config.Release{{Major: 2, Minor: 1}, {Major: 2, Minor: 2}, {Major: 2, Minor: 3}, {Major: 2, Minor: 4}}},
		{"version 4", "version = 4\n" + open, []config.Release{{Major: 2, Minor: 3}, {Major: 2, Minor: 4}}},
	} {
		for _, release := range c.releases {
			t.Run(c.name+" in "+release.String(), func(t *testing.T) {
				h := containerd.Host{Root: t.TempDir()}
				write(t, h.Root, map[string]string{main: c.main})
				before, err := config.Load(h, h.Config(), release)
				if err != nil {
					t.Fatal(err)
				}
				if len(before.CRI.LocalPull) != 5 || !before.NRI.Disabled || before.Verifier.MaxVerifiers != 0 {
					t.Errorf("before: %+v", before)
				}
				dir, ok := before.DropIn("zz-touchmark.toml")
				if !ok || dir != "/etc/containerd/conf.d" {
					t.Fatalf("drop-ins lie in %q, %v", dir, ok)
				}
				text, err := config.Override(before.DropInVersion(), enforce()...)
				if err != nil {
					t.Fatal(err)
				}
				after, err := config.Preview(h, h.Config(), release, map[string][]byte{dir + "/zz-touchmark.toml": text})
				if err != nil {
					t.Fatal(err)
				}
				if len(after.CRI.LocalPull) != 0 || after.CRI.ConfigPath != "/etc/hosts.d" || after.CRI.Invalid != "" {
					t.Errorf("%s\nCRI: %+v", text, after.CRI)
				}
				want := config.Verifier{BinDir: "/opt/verifiers", MaxVerifiers: 1, PerVerifierTimeout: 20 * time.Second}
				got := after.Verifier
				if got.From["bin_dir"] != "/etc/containerd/conf.d/zz-touchmark.toml" {
					t.Errorf("from %v", got.From)
				}
				got.From = nil
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}
				wantNRI := config.NRI{
					SocketPath: "/run/n.sock", PluginPath: "/opt/nri/plugins", PluginConfigPath: "/etc/nri/conf.d",
					RegistrationTimeout: 5 * time.Second, RequestTimeout: 5 * time.Second,
					Validator: config.Validator{Enabled: true, RequiredPlugins: []string{"touchmark"}, TolerateMissing: "touchmark.example/tolerate"},
				}
				if release.Before(2, 2) {
					wantNRI.Validator = config.Validator{} // there is none
				}
				gotNRI := after.NRI
				gotNRI.From = nil
				if diff := cmp.Diff(wantNRI, gotNRI); diff != "" {
					t.Error(diff)
				}
				if after.Transfer.MaxConcurrentDownloads != 9 {
					t.Errorf("transfer: %+v", after.Transfer)
				}
			})
		}
	}
}

// A drop-in of another version than the main file's makes containerd 2.1 forget
// what that says of CRI: sandbox image, registries, runtimes.
func TestCTRD09_ADropInOfALaterVersionLosesTheMainFile(t *testing.T) {
	files := map[string]string{
		main: "version = 2\nimports = [\"d/*.toml\"]\n[plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = \"example/pause:1\"\n",
	}
	for _, c := range []struct{ dropIn, want string }{
		{"version = 2\n", "example/pause:1"},
		{"version = 3\n", "registry.k8s.io/pause:3.10"},
	} {
		files["/etc/containerd/d/x.toml"] = c.dropIn
		if got := load(t, config.Release{Major: 2, Minor: 1}, files).CRI.Sandbox(); got != c.want {
			t.Errorf("with %q: %s, want %s", c.dropIn, got, c.want)
		}
		if got := load(t, config.Newest(), files).CRI.Sandbox(); got != "example/pause:1" {
			t.Errorf("with %q in %s: %s", c.dropIn, config.Newest(), got)
		}
	}
}

// What a release makes of a section of version 1 or 2 that a later one takes otherwise.
func TestCTRD09_OldSections(t *testing.T) {
	const text = `
[plugins.%s]
sandbox_image = "example/pause:1"
max_concurrent_downloads = 7
use_local_image_pull = true
[plugins.%[1]s.registry]
config_path = ""
[plugins.%[1]s.containerd]
discard_unpacked_layers = true
`
	const runtimes = "[plugins.%s.containerd.runtimes]\n"
	const name = `"io.containerd.grpc.v1.cri"`
	v1, v2 := fmt.Sprintf(text, "cri"), "version = 2\n"+fmt.Sprintf(text, name)
	const both = "/etc/containerd/certs.d:/etc/docker/certs.d"
	for _, c := range []struct {
		name, text       string
		release          config.Release
		open             string // the settings that make CRI pull by itself
		sandbox, hostsAt string
	}{
		{"runtimes", v2 + fmt.Sprintf(runtimes, name), config.Release{Major: 2, Minor: 4}, "discard_unpacked_layers max_concurrent_downloads", "example/pause:1", both},
		{"no runtimes", v2, config.Release{Major: 2, Minor: 4}, "max_concurrent_downloads", "example/pause:1", both},
		{"no runtimes", v2, config.Release{Major: 2, Minor: 2}, "max_concurrent_downloads", "example/pause:1", both},
		{"no runtimes", v2, config.Release{Major: 2, Minor: 1}, "max_concurrent_downloads", "example/pause:1", ""},
		{"2.0 never asks", v2, config.Release{Major: 2, Minor: 0}, "", "example/pause:1", ""},
		{"version 1", v1, config.Release{Major: 2, Minor: 4}, "max_concurrent_downloads", "example/pause:1", both},
		{"version 1 is forgotten", v1, config.Release{Major: 2, Minor: 2}, "", "registry.k8s.io/pause:3.10.1", both},
		{"version 3 has it up to 2.2 no more", strings.Replace(v2, "= 2", "= 3", 1), config.Release{Major: 2, Minor: 2}, "", "registry.k8s.io/pause:3.10.1", both},
		{"and since 2.3 again", strings.Replace(v2, "= 2", "= 3", 1), config.Release{Major: 2, Minor: 4}, "max_concurrent_downloads", "example/pause:1", both},
		{"version 4 has not", strings.Replace(v2, "= 2", "= 4", 1), config.Release{Major: 2, Minor: 4}, "", "registry.k8s.io/pause:3.10.2", both},
	} {
		got := load(t, c.release, map[string]string{main: c.text}).CRI
		var open []string
		for _, s := range got.LocalPull {
			open = append(open, s.Name)
		}
		if strings.Join(open, " ") != c.open || got.Sandbox() != c.sandbox || got.ConfigPath != c.hostsAt {
			t.Errorf("%s in %s: %q, %s, %q", c.name, c.release, open, got.Sandbox(), got.ConfigPath)
		}
	}
}

// What a table of registries has, no later file takes out of it.
func TestCTRD09_RegistriesNeedAnEdit(t *testing.T) {
	files := map[string]string{
		main:                       "version = 3\nimports = [\"d/*.toml\"]\n[plugins.\"io.containerd.cri.v1.images\".registry.mirrors.\"docker.io\"]\nendpoint = [\"https://m.example\"]\n",
		"/etc/containerd/d/x.toml": "version = 3\n[plugins.\"io.containerd.cri.v1.images\".registry]\nmirrors = {}\n[plugins.\"io.containerd.cri.v1.images\".registry.configs.\"a.example\".auth]\nusername = \"u\"\n",
		"/etc/containerd/d/y.toml": "version = 3\n[plugins.\"io.containerd.cri.v1.images\".registry.mirrors.\"quay.io\"]\n",
	}
	want := []config.Setting{
		{Name: "registry.mirrors", Value: "docker.io", File: main, Edit: true},
		{Name: "registry.mirrors", Value: "quay.io", File: "/etc/containerd/d/y.toml", Edit: true},
		{Name: "registry.configs", Value: "a.example", File: "/etc/containerd/d/x.toml", Edit: true},
	}
	got := load(t, config.Newest(), files).CRI
	if diff := cmp.Diff(want, got.LocalPull); diff != "" {
		t.Error(diff)
	}
	if got.Invalid != "" || got.ConfigPath != "" {
		t.Errorf("%+v", got)
	}
	// 2.2 has a config_path by default, which mirrors cannot be beside.
	if got := load(t, config.Release{Major: 2, Minor: 2}, files).CRI; !strings.Contains(got.Invalid, "registry.mirrors") {
		t.Errorf("%+v", got)
	}
	files = map[string]string{main: "version = 3\n[plugins.\"io.containerd.cri.v1.images\".registry.mirrors]\n"}
	if got := load(t, config.Newest(), files).CRI.LocalPull; got != nil {
		t.Errorf("an empty table: %+v", got)
	}
}

func TestOverrideRefusesWhatIsNoValue(t *testing.T) {
	for _, c := range []struct {
		version int
		set     config.Set
		want    string
	}{
		{0, set(config.BinDir, "/a"), "version 0"},
		{5, set(config.BinDir, "/a"), "version 5"},
		{3, set(config.BinDir, 5), "cannot decode TOML integer"},
		{3, set(config.MaxVerifiers, "5"), "cannot decode TOML string"},
		{3, set(config.BinDir, nil), "bin_dir: <nil> is not a type"},
		{3, set(config.Field(99), 1), "field 99"},
	} {
		if text, err := config.Override(c.version, c.set); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %s, %v, want %s", c, text, err, c.want)
		}
	}
	text, err := config.Override(3, set(config.BinDir, "/a'b"), set(config.MaxVerifiers, 1))
	if err != nil {
		t.Fatal(err)
	}
	want := `# Written by touchmark: keeps containerd asking its image verifiers.
version = 3

[plugins]
  [plugins.'io.containerd.image-verifier.v1.bindir']
    bin_dir = "/a'b"
    max_verifiers = 1
`
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Error(diff)
	}
}

func TestDropIn(t *testing.T) {
	for name, c := range map[string]struct {
		imports, want string
		version       int
	}{
		"none":                   {"", "", 3},
		"a file":                 {`"/etc/containerd/x.toml"`, "", 3},
		"the last one":           {`"/a/*.toml", "b/*"`, "/etc/containerd/b", 3},
		"another ending":         {`"/a/*.toml", "/b/*.conf"`, "/a", 3},
		"directories that match": {`"/a/*.toml", "/b/*/*.toml"`, "/a", 3},
	} {
		c2 := load(t, config.Newest(), map[string]string{main: "version = 3\nimports = [" + c.imports + "]\n", "/etc/containerd/x.toml": ""})
		if dir, ok := c2.DropIn("zz.toml"); dir != c.want || ok != (c.want != "") {
			t.Errorf("%s: %q, %v", name, dir, ok)
		}
	}
	for _, c := range []struct {
		files   map[string]string
		release config.Release
		want    int
	}{
		{nil, config.Newest(), 4}, {nil, config.Release{Major: 2, Minor: 1}, 3}, {map[string]string{main: ""}, config.Newest(), 1},
		{map[string]string{main: "version = 2"}, config.Newest(), 2}, {map[string]string{main: "version = 4"}, config.Newest(), 4},
	} {
		if got := load(t, c.release, c.files).DropInVersion(); got != c.want {
			t.Errorf("%v in %s: %d, want %d", c.files, c.release, got, c.want)
		}
	}
}
