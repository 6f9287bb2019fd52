package agentcmd

import (
	"bytes"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/countersign"
	"github.com/touchmark/touchmark/core/hostconfig"
	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/podman"
)

// A host for containerd alone needs no key; one with scopes of podman's does.
func TestMountLookaside_WithoutKey(t *testing.T) {
	for scope, level := range map[string]string{"": "level=INFO", "registry.example": "level=WARN"} {
		c := hostconfig.New(filepath.Join(t.TempDir(), "config.yaml"), hostconfig.System("/"))
		if scope != "" {
			c.Podman.Scopes = []string{scope}
		}
		var log strings.Builder
		_, key, err := mountLookaside(t.Context(), c, podman.Host{Root: t.TempDir()}, nil, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil || key != "" || !strings.Contains(log.String(), level) {
			t.Errorf("scope %q: key %q, %v, %s", scope, key, err, log.String())
		}
	}
}

func TestAgentKey(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte("podman:\n  form: sigstore\n"), 0o600); err != nil { // whose keys are made fast
		t.Fatal(err)
	}
	run := func(args ...string) (string, error) {
		cmd := newAgentKey()
		var out bytes.Buffer
		cmd.SetOut(&out)
		cmd.SetErr(io.Discard) // what to do next
		cmd.SetArgs(append(args, "--config", file))
		err := cmd.ExecuteContext(t.Context())
		return out.String(), err
	}
	for _, args := range [][]string{{}, {"rotate"}, {"retire"}} {
		if _, err := run(args...); err == nil || !strings.Contains(err.Error(), "touchmark install podman") {
			t.Errorf("%v without a key: %v", args, err)
		}
	}
	c, err := hostconfig.Load(file, hostconfig.System("/"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := countersign.Generate(t.Context(), countersign.ForHost(c, keys.Options{})); err != nil {
		t.Fatal(err)
	}
	kinds := func(out string) (kinds []string) {
		for line := range strings.Lines(out) {
			kinds = append(kinds, strings.Fields(line)[0])
		}
		return kinds
	}
	for _, step := range []struct{ args, want string }{
		{"", "signing"}, {"rotate", "signing previous"}, {"", "signing previous"}, {"retire", "signing"},
	} {
		out, err := run(strings.Fields(step.args)...)
		if err != nil || strings.Join(kinds(out), " ") != step.want {
			t.Errorf("key %s: %v, %q, want %s", step.args, err, out, step.want)
		}
	}
}
