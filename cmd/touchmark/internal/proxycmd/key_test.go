package proxycmd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/commandtest"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
)

// A proxy's key is made once, exchanged while the previous one is still accepted, and the previous one is taken away.
func TestProxyKey(t *testing.T) {
	const registry = "policy: p.yaml\nregistries: [{upstream: \"https://registry.example\"}]\n"
	file := commandtest.WriteFile(t, "proxy.yaml", registry+"countersign: {key: countersign.key, authority: countersign.pem}\n")
	key := filepath.Join(filepath.Dir(file), "countersign.key")
	run := func(want int, args ...string) (out, errs string) {
		t.Helper()
		status, out, errs := commandtest.Run(t, []*cobra.Command{New()}, append([]string{"proxy", "key", "--config", file}, args...)...)
		if status != want {
			t.Fatalf("%v: status %d, want %d: %s", args, status, want, errs)
		}
		return out, errs
	}
	if _, errs := run(exit.StatusUsage); !strings.Contains(errs, "countersign.pem") || !strings.Contains(errs, "touchmark proxy key make") {
		t.Errorf("without a key: %s", errs)
	}
	first, _ := run(0, "make")
	if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key: %v, %v", info, err)
	}
	if again, _ := run(0, "make"); again != first || !strings.HasPrefix(first, "signing   ") || strings.Count(first, "\n") != 1 {
		t.Errorf("made: %q, again: %q", first, again)
	}
	rotated, _ := run(0, "rotate")
	if lines := strings.Split(rotated, "\n"); len(lines) != 3 || strings.Contains(lines[0], first[10:]) || lines[1] != "previous  "+strings.TrimSpace(first[10:]) {
		t.Errorf("rotated: %q, before: %q", rotated, first)
	}
	if listed, _ := run(0); listed != rotated {
		t.Errorf("listed: %q, rotated: %q", listed, rotated)
	}
	if retired, _ := run(0, "retire"); retired != strings.SplitAfter(rotated, "\n")[0] {
		t.Errorf("retired: %q", retired)
	}

	file = commandtest.WriteFile(t, "none.yaml", registry)
	if _, errs := run(exit.StatusUsage, "make"); !strings.Contains(errs, "countersign is missing") {
		t.Errorf("without countersign: %s", errs)
	}
	file = ""
	if _, errs := run(exit.StatusUsage, "make"); !strings.Contains(errs, "--config is missing") {
		t.Errorf("without --config: %s", errs)
	}
}
