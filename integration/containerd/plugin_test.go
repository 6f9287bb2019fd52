package containerd_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/integration/internal/lab"
)

// daemon builds containerd with Touchmark's plugin, see the directory daemon. Its go.mod is copied, so that one that lags behind the root's is no failure.
func daemon(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, file := range []string{"go.mod", "go.sum"} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(read(t, filepath.Join("daemon", file))), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(dir, "containerd")
	build := exec.CommandContext(t.Context(), "go", "build", "-mod=mod", "-modfile="+filepath.Join(dir, "go.mod"), "-trimpath", "-ldflags=-s", "-o", program, ".")
	build.Dir, build.Env = "daemon", append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building containerd with the plugin: %v\n%s", err, out)
	}
	return program
}

// pluginSettings are the plugin's section, and what keeps containerd from starting without the plugin.
func pluginSettings(further string) string {
	return "required_plugins = ['io.containerd.image-verifier.v1.touchmark']\n" +
		lab.ContainerdSettings(3, "[plugins.'io.containerd.image-verifier.v1.touchmark']\n"+further)
}

// A containerd that was built with the plugin needs no program in bin_dir: it admits and refuses by itself, with the same reasons, by ctr and by CRI.
func TestCTRD01_Plugin(t *testing.T) {
	s := newSite(t)
	signed, unsigned, wrong := s.push(t, "signed", alice), s.push(t, "unsigned", ""), s.push(t, "wrong", mallory)
	program := daemon(t)
	pluginHost := func(t *testing.T, settings, further string) *host {
		h := s.host(t, further)
		h.Root().Must(t, 0, "rm", "-r", lab.BinDir)
		h.Install(t, program, "/usr/local/bin/our-containerd")
		h.Program = "/usr/local/bin/our-containerd"
		h.Write(t, lab.ContainerdConfig, pluginSettings(settings))
		return h
	}
	const blocked = "image verifier touchmark blocked pull of "
	t.Run("by the agent", func(t *testing.T) {
		t.Parallel()
		h := pluginHost(t, "", "containerd: {standalone: false}").boot(t)
		h.admits(t, signed)
		h.refuses(t, unsigned, blocked+unsigned, " for reason: refused by touchmark: ", "is not signed")
		h.refuses(t, wrong, " for reason: refused by touchmark: ", "signed by "+mallory)
		h.unserve()
		h.refuses(t, signed, " for reason: touchmark cannot decide: asking the agent at /run/touchmark/agent.sock: ")
		h.serve(t)
		h.admits(t, signed)
		h.Restart(t)
		h.cri = h.CRI(t)
		h.admits(t, signed)
		h.refuses(t, unsigned, blocked)
	})
	t.Run("standalone", func(t *testing.T) {
		t.Parallel()
		h := pluginHost(t, "", "")
		h.Start(t)
		h.cri = h.CRI(t)
		h.admits(t, signed)
		h.refuses(t, unsigned, "refused by touchmark: ", "is not signed")
	})
	t.Run("in process", func(t *testing.T) {
		t.Parallel()
		h := pluginHost(t, "  in_process = true\n", "")
		h.Start(t)
		h.cri = h.CRI(t)
		h.admits(t, signed)
		h.refuses(t, unsigned, blocked, " for reason: refused by touchmark: ", "is not signed")
		h.refuses(t, wrong, "signed by "+mallory)
	})
	t.Run("configuration that is wrong", func(t *testing.T) {
		t.Parallel()
		h := pluginHost(t, "  in_process = true\n", "polcies: x")
		h.Start(t)
		h.cri = h.CRI(t)
		h.refuses(t, signed, blocked, "touchmark cannot decide: ", "polcies")
	})
	t.Run("disabled", func(t *testing.T) {
		t.Parallel()
		h := pluginHost(t, "", "")
		h.Write(t, lab.ContainerdConfig, "disabled_plugins = ['io.containerd.image-verifier.v1.touchmark']\n"+pluginSettings(""))
		r := h.Root().Run(t, h.Program, "--config", lab.ContainerdConfig)
		if r.Status == 0 || !strings.Contains(r.Output(), "required plugin [io.containerd.image-verifier.v1.touchmark] not included") {
			t.Errorf("status %d: %s", r.Status, r.Output())
		}
	})
}
