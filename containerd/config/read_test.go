package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/touchmark/touchmark/containerd"
	"github.com/touchmark/touchmark/containerd/config"
)

// write writes files below a root, by their paths on the node.
func write(t *testing.T, root string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func load(t *testing.T, release config.Release, files map[string]string) *config.Config {
	t.Helper()
	h := containerd.Host{Root: t.TempDir()}
	write(t, h.Root, files)
	c, err := config.Load(h, h.Config(), release)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const main = "/etc/containerd/config.toml"

// What cannot be a configuration is refused in one sentence that names the file,
// and costs neither time nor memory.
func TestCTRD09_WhatIsNoConfiguration(t *testing.T) {
	text := func(text string) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			write(t, filepath.Dir(path), map[string]string{filepath.Base(path): text})
		}
	}
	many := make(map[string]string)
	for i := range 300 {
		many[fmt.Sprintf("d/%d.toml", i)] = ""
	}
	for name, c := range map[string]struct {
		make func(t *testing.T, path string)
		want string
	}{
		"a directory":       {func(t *testing.T, path string) { must(t, os.Mkdir(path, 0o700)) }, "not a regular file"},
		"a FIFO":            {func(t *testing.T, path string) { must(t, syscall.Mkfifo(path, 0o600)) }, "not a regular file"},
		"a link to itself":  {func(t *testing.T, path string) { must(t, os.Symlink(path, path)) }, "too many levels of symbolic links"},
		"a device":          {func(t *testing.T, path string) { must(t, os.Symlink("/dev/zero", path)) }, "not a regular file"},
		"too large":         {text(strings.Repeat("#\n", 1<<19) + "#"), "larger than 1048576 bytes"},
		"not TOML":          {text("version = 3\nroot = \n"), ":2:8: toml: "},
		"a type":            {text("version = 3\n[plugins.\"io.containerd.image-verifier.v1.bindir\"]\nmax_verifiers = \"5\"\n"), `config.toml: plugins."io.containerd.image-verifier.v1.bindir": toml: cannot decode TOML string`},
		"a version":         {text("version = 9\n"), "version 9 is newer than 4"},
		"a negative one":    {text("version = -1\n"), "version -1 is none"},
		"a short name":      {text("version = 3\ndisabled_plugins = [\"cri\"]\n"), `"cri" is not a plugin's full name`},
		"two of one":        {text("[plugins.cri]\n[plugins.\"io.containerd.grpc.v1.cri\"]\n"), "chance decides"},
		"not a table":       {text("version = 2\n[plugins]\n\"io.containerd.grpc.v1.cri\" = 5\n"), "is not a table"},
		"runtimes":          {text("version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd]\nruntimes = 5\n"), "is not a table"},
		"deep":              {text("[plugins." + strings.Repeat("a.", 1<<14) + "a]\n"), "nested too deeply"},
		"deep and wide":     {text(branches()), "nested too deeply"},
		"arrays":            {text("a = " + strings.Repeat("[", 1<<19)), "nested more than"},
		"long names":        {text("[plugins.x." + strings.Repeat("a", 1<<14) + "]\n" + wide(1<<12)), "nested too deeply"},
		"a missing import":  {text("imports = [\"a.toml\"]\n"), "a.toml: no such file or directory; containerd does not start: remove it from the imports of /etc/containerd/config.toml"},
		"a pattern":         {text("imports = [\"[*\"]\n"), "syntax error in pattern"},
		"imports directory": {text("imports = [\"/etc/containerd\"]\n"), "/etc/containerd: not a regular file"},
		"many imports": {func(t *testing.T, path string) {
			write(t, filepath.Dir(path), many)
			text("imports = [\"d/*\"]\n")(t, path)
		}, "more than 256 files are imported"},
		"a directory in itself": {func(t *testing.T, path string) {
			must(t, os.Symlink(".", filepath.Join(filepath.Dir(path), "here")))
			text("imports = [\"here/config.toml\"]\n")(t, path)
		}, "too many levels of symbolic links"},
	} {
		t.Run(name, func(t *testing.T) {
			h := containerd.Host{Root: t.TempDir()}
			must(t, os.MkdirAll(filepath.Dir(h.Config()), 0o700))
			c.make(t, h.Config())
			_, err := config.Load(h, h.Config(), config.Newest())
			if err == nil || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 1000 {
				t.Errorf("%.2000v, want %s", err, c.want)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// branches are long branches of one tree.
func branches() string {
	var b strings.Builder
	for i := range 1 << 9 {
		fmt.Fprintf(&b, "[plugins.x%d.%sa]\n", i, strings.Repeat("a.", 1<<9))
	}
	return b.String()
}

// wide is many small tables.
func wide(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "a%d = {}\n", i)
	}
	return b.String()
}

// What is wrong with a password is said without it.
func TestCTRD09_NoSecretInAnError(t *testing.T) {
	const secret = "hunter2"
	for _, value := range []string{`"` + secret, `'` + secret + `\x`, `"` + secret + `\q"`, secret, "7" + secret, `["` + secret + `"]`, `{a = "` + secret + `"}`, "1e" + secret, "2020-" + secret, `"""` + secret, "0x" + secret, "+" + secret, "tru" + secret, "\"" + secret + "\x01\""} {
		h := containerd.Host{Root: t.TempDir()}
		write(t, h.Root, map[string]string{main: "version = 3\n[plugins.'io.containerd.cri.v1.images'.registry.configs.'a.example'.auth]\npassword = " + value + "\n"})
		_, err := config.Load(h, h.Config(), config.Newest())
		if err == nil || strings.Contains(err.Error(), secret) || !strings.Contains(err.Error(), "config.toml") {
			t.Errorf("%s: %v", value, err)
		}
	}
}
