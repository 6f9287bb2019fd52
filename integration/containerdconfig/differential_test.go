// Package containerdconfig_test holds what package config reads to what the real
// containerd makes of the same files.
package containerdconfig_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/touchmark/touchmark/containerd"
	"github.com/touchmark/touchmark/containerd/config"
	"github.com/touchmark/touchmark/integration/internal/lab"
)

const (
	// seed of the configurations; another one finds others.
	seed = 20
	// trees is how many are made: one takes 30 ms.
	trees = 400
)

// TestCTRD09_LoadIsWhatContainerdReads makes configurations from a seed and asks
// the real program what it makes of each: Load must say the same, or both must
// refuse.
func TestCTRD09_LoadIsWhatContainerdReads(t *testing.T) {
	program := lab.Tool(t, "containerd-v2.4.2")
	var refused, skipping, several int
	for i := range trees {
		dir := t.TempDir()
		g := &generator{rand: rand.New(rand.NewPCG(seed, uint64(i))), dir: dir}
		main := g.tree()
		got, loadErr := config.Load(containerd.Host{}, main, config.Newest())
		want, dumpErr := config.Dump(context.Background(), program, main, config.Newest())
		if (loadErr != nil) != (dumpErr != nil) {
			t.Fatalf("tree %d: Load: %v\nDump: %v\n%s", i, loadErr, dumpErr, show(t, dir))
		}
		if loadErr != nil {
			refused++
			continue
		}
		if len(got.CRI.LocalPull) > 0 {
			skipping++
		}
		if len(got.Files) > 1 {
			several++
		}
		if diff := cmp.Diff(known(want), known(got), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("tree %d: -containerd +Load:\n%s\n%s", i, diff, show(t, dir))
		}
	}
	t.Logf("%d configurations: %d refused by both, %d pull without verifiers, %d of several files", trees, refused, skipping, several)
	if refused < trees/50 || refused > trees/2 || skipping < trees/10 || several < trees/4 {
		t.Error("the configurations are too much alike")
	}
}

// known leaves of a configuration what a dump knows too.
func known(c *config.Config) config.Config {
	k := *c
	k.Main, k.Version, k.Files, k.Imports = "", 0, nil, nil
	k.Verifier.From, k.Transfer.From, k.CRI.From, k.NRI.From = nil, nil, nil, nil
	k.CRI.LocalPull = nil
	for _, s := range c.CRI.LocalPull {
		s.File = ""
		if s.Edit {
			s.Value = "" // one setting for each file that has entries
		}
		if !slices.Contains(k.CRI.LocalPull, s) {
			k.CRI.LocalPull = append(k.CRI.LocalPull, s)
		}
	}
	return k
}

func show(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		fmt.Fprintf(&b, "--- %s\n%s", path, data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// generator makes configurations.
type generator struct {
	rand *rand.Rand
	dir  string
	b    strings.Builder
}

func (g *generator) chance(percent int) bool { return g.rand.IntN(100) < percent }

func (g *generator) pick(from ...string) string { return from[g.rand.IntN(len(from))] }

// tree writes a main file and what it imports, and returns its path.
func (g *generator) tree() string {
	files := []string{"config.toml", "conf.d/10-a.toml", "conf.d/20-b.toml", "conf.d/nested/c.toml"}
	files = files[:1+g.rand.IntN(len(files))]
	for i, name := range files {
		g.b.Reset()
		g.file(i == 0 || g.chance(15))
		g.write(name, g.b.String())
	}
	must(os.MkdirAll(filepath.Join(g.dir, "empty"), 0o700))
	return filepath.Join(g.dir, "config.toml")
}

// write writes a file of the tree.
func (g *generator) write(name, text string) {
	path := filepath.Join(g.dir, name)
	must(os.MkdirAll(filepath.Dir(path), 0o700))
	must(os.WriteFile(path, []byte(text), 0o600))
}

func must(err error) {
	if err != nil {
		panic(err) // the test's own directory
	}
}

func (g *generator) line(format string, args ...any) { fmt.Fprintf(&g.b, format+"\n", args...) }

// file writes one file's text.
func (g *generator) file(imports bool) {
	if v := g.rand.IntN(11); v < 10 {
		g.line("version = %d", []int{1, 2, 2, 2, 3, 3, 3, 4, 4, 4}[v])
	} else if g.chance(20) {
		g.line("version = %s", g.pick(`"3"`, "5", "3.0"))
	}
	if g.chance(20) {
		g.line("%s = %q", g.pick("root", "Root"), g.pick("", "/data/root"))
	}
	if g.chance(20) {
		g.line("state = %q", g.pick("", "/data/state"))
	}
	if g.chance(20) {
		g.line("%s = [%s]", g.pick("disabled_plugins", "required_plugins"), g.plugins())
	}
	if imports {
		g.imports()
	}
	if g.chance(20) {
		g.line("[grpc]\naddress = %q\nuid = 5", g.pick("", "/data/c.sock"))
	}
	for range g.rand.IntN(5) {
		g.section()
	}
	if g.chance(3) {
		g.line("[plugins.io.containerd.image-verifier.v1.bindir]\nbin_dir = \"/unquoted\"")
	}
	if g.chance(2) {
		g.line("%s", g.pick("[plugins", "x = ", "[plugins]\n[plugins]", "version = 3"))
	}
}

func (g *generator) plugins() string {
	list := []string{"io.containerd.image-verifier.v1.bindir", "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.nri.v1.nri",
		"io.containerd.transfer.v1.local", "io.containerd.snapshotter.v1.zfs"}
	if !strings.Contains(g.b.String(), "version = ") || g.chance(10) {
		list = append(list, "cri", "zfs", "windows", "diff-service", "other") // names of version 1
	}
	var out []string
	for range g.rand.IntN(3) {
		out = append(out, fmt.Sprintf("%q", g.pick(list...)))
	}
	return strings.Join(out, ", ")
}

// imports names files that exist: one that does not ends a dump early, without an
// error.
func (g *generator) imports() {
	patterns := []string{"conf.d/*.toml", "conf.d/*/*.toml", "empty/*.toml", filepath.Join(g.dir, "config.toml"), "./conf.d/../conf.d/*.toml", filepath.Join(g.dir, "conf.d/*.toml"), "none*"}
	if g.chance(3) {
		patterns = []string{"conf.d/[*", g.dir, "*"}
	}
	var out []string
	for range 1 + g.rand.IntN(3) {
		out = append(out, fmt.Sprintf("%q", g.pick(patterns...)))
	}
	g.line("imports = [%s]", strings.Join(out, ", "))
}

// section writes one plugin's section, which may be there twice.
func (g *generator) section() {
	name := g.pick("io.containerd.image-verifier.v1.bindir", "io.containerd.cri.v1.images", "io.containerd.cri.v1.images", "io.containerd.grpc.v1.cri",
		"io.containerd.grpc.v1.cri", "io.containerd.nri.v1.nri", "io.containerd.transfer.v1.local", "io.containerd.server.v1.grpc", "cri")
	table := fmt.Sprintf("plugins.%q", name)
	text := g.b.String()
	if strings.Contains(text, "["+table) || name == "cri" && strings.Contains(text, "grpc.v1.cri") || name == "io.containerd.grpc.v1.cri" && strings.Contains(text, `"cri"`) {
		return // of the same two in version 1, chance decides
	}
	if g.chance(1) && !strings.Contains(g.b.String(), "[") {
		g.line("%s = 5", table)
		return
	}
	g.line("[%s]", table)
	switch name {
	case "io.containerd.image-verifier.v1.bindir":
		g.values(`bin_dir = "/opt/a"`, `bin_dir = ""`, "max_verifiers = 0", "max_verifiers = -1", `per_verifier_timeout = "1m"`, `!per_verifier_timeout = "10"`, "per_verifier_timeout = 5", "Max_Verifiers = 3", "unknown = 1")
	case "io.containerd.cri.v1.images":
		g.images()
		g.registry(table)
		if g.chance(20) {
			g.line("[%s.pinned_images]\n%s = %q", table, g.pick("sandbox", "base", "Sandbox"), g.pick("", "example/pause:1"))
		}
	case "cri", "io.containerd.grpc.v1.cri":
		g.values("disable_tcp_service = false", "use_local_image_pull = true", "max_concurrent_downloads = 5", "max_concurrent_downloads = 3", `sandbox_image = "example/pause:2"`, "image_pull_with_sync_fs = true", "!sandbox_image = 3")
		g.registry(table)
		if g.chance(60) {
			g.line("[%s.containerd]", table)
			g.values(`snapshotter = "native"`, "disable_snapshot_annotations = false", "discard_unpacked_layers = true", "disable_snapshot_annotations = true")
			if g.chance(60) {
				g.line("[%s.containerd.runtimes%s]", table, g.pick("", ".runc"))
			}
		}
	case "io.containerd.nri.v1.nri":
		g.values("disable = true", "disable = false", `socket_path = "/run/x.sock"`, `plugin_path = ""`, `plugin_config_path = "/c"`, `plugin_registration_timeout = "3s"`, `plugin_request_timeout = "0s"`, "disable_connections = true")
		if g.chance(50) {
			g.line("[%s.default_validator]", table)
			g.values("enable = true", `required_plugins = ["a", "b"]`, `required_plugins = ["c"]`, "required_plugins = []", `tolerate_missing_plugins_annotation = "x"`, "reject_sysctl_adjustment = true")
		}
	case "io.containerd.transfer.v1.local":
		g.values("max_concurrent_downloads = 9", `config_path = "/etc/h"`, "check_platform_supported = true")
	case "io.containerd.server.v1.grpc":
		g.values(`address = "/data/d.sock"`, `address = ""`, "uid = 7")
	}
}

func (g *generator) images() {
	g.values("use_local_image_pull = true", "use_local_image_pull = false", "disable_snapshot_annotations = false", "disable_snapshot_annotations = true", "discard_unpacked_layers = true", "discard_unpacked_layers = false",
		"max_concurrent_downloads = 3", "max_concurrent_downloads = 0", "max_concurrent_downloads = 20", "image_pull_with_sync_fs = true", "image_pull_with_sync_fs = false", `snapshotter = "native"`,
		`image_pull_progress_timeout = "x"`, `image_pull_progress_timeout = ""`, "USE_LOCAL_IMAGE_PULL = true", `!use_local_image_pull = "true"`)
}

func (g *generator) registry(table string) {
	if !g.chance(35) {
		return
	}
	g.line("[%s.registry]", table)
	g.values(`config_path = "/etc/containerd/certs.d"`, `config_path = ""`)
	for range g.rand.IntN(3) {
		host := g.pick("docker.io", "quay.io", "*")
		if g.chance(5) {
			host = "%zz" // in auths not a URL
		}
		sub := g.pick("mirrors", "configs", "auths", "headers")
		head := fmt.Sprintf("[%s.registry.%s", table, sub)
		if strings.Contains(g.b.String(), head) {
			continue
		}
		if g.chance(20) {
			g.line("%s]", head)
			continue
		}
		switch sub {
		case "mirrors":
			g.line("%s.%q]\n%s = [%q]", head, host, g.pick("endpoint", "endpoints"), "https://m.example")
		case "configs":
			g.line("%s.%q.auth]\nusername = %s", head, host, g.pick(slices.Concat(slices.Repeat([]string{`"u"`}, 9), []string{"5"})...))
		case "auths":
			g.line("%s.%q]\nauth = \"dTpw\"", head, host)
		default:
			g.line("%s]\nX-A = [\"b\"]", head)
		}
	}
}

// values writes up to four lines, a key once. Those with a "!" before them
// are seldom taken: they are refused.
func (g *generator) values(from ...string) {
	var keys []string
	for range g.rand.IntN(5) {
		v, bad := strings.CutPrefix(g.pick(from...), "!")
		if bad && !g.chance(10) {
			continue
		}
		key, _, _ := strings.Cut(v, " ")
		if !slices.Contains(keys, key) {
			keys = append(keys, key)
			g.line("%s", v)
		}
	}
}
