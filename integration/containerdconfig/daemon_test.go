package containerdconfig_test

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/touchmark/touchmark/containerd"
	"github.com/touchmark/touchmark/containerd/config"
	"github.com/touchmark/touchmark/integration/internal/lab"
)

// A dump ends at an import that does not exist and says nothing; the daemon does
// not start. Load agrees with the daemon.
func TestCTRD09_AMissingImport(t *testing.T) {
	program := lab.Tool(t, "containerd-v2.4.2")
	dir := t.TempDir()
	main := filepath.Join(dir, "config.toml")
	g := &generator{dir: dir}
	g.write("config.toml", "version = 3\nimports = [\"a.toml\"]\n")
	if _, err := config.Load(containerd.Host{}, main, config.Newest()); err == nil || !strings.Contains(err.Error(), "containerd does not start: remove it from the imports of "+main) {
		t.Errorf("Load: %v", err)
	}
	if _, err := config.Dump(t.Context(), program, main, config.Newest()); err != nil {
		t.Errorf("Dump: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, "--config", main, "--root", filepath.Join(dir, "root"), "--state", filepath.Join(dir, "state")).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "a.toml: no such file or directory") {
		t.Errorf("the daemon: %v\n%s", err, out)
	}
}

// The newest containerd has the directory of drop-ins in its default imports, but
// reads it only where config.toml says so.
func TestCTRD09_TheDefaultImportIsNotRead(t *testing.T) {
	program := lab.Tool(t, "containerd-v2.4.2")
	// In a mount namespace of its own, with another /etc/containerd.
	dir := t.TempDir()
	g := &generator{dir: dir}
	g.write("conf.d/x.toml", "version = 4\nroot = \"/dropped-in\"\n")
	g.write("config.toml", "version = 4\n")
	namespaces(t)
	run := func(args ...string) string {
		t.Helper()
		script := `mount -t tmpfs none /etc && mkdir /etc/containerd && mount --bind "$0" /etc/containerd && exec "$@"`
		out, err := exec.CommandContext(t.Context(), "unshare", append([]string{"-m", "sh", "-c", script, dir, program}, args...)...).Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	if out := run("config", "dump"); !strings.Contains(out, "imports = ['/etc/containerd/conf.d/*.toml']") || strings.Contains(out, "dropped-in") {
		t.Errorf("without imports of its own:\n%s", out)
	}
	g.write("config.toml", "version = 4\nimports = [\"/etc/containerd/conf.d/*.toml\"]\n")
	if out := run("config", "dump"); !strings.Contains(out, "root = '/dropped-in'") {
		t.Errorf("with imports:\n%s", out)
	}
}
