package bindir

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/gate/ask"
)

// A configuration that can't be used decides nothing, and is not passed over.
func TestForHost(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	if _, ok := ForHost(file).Asker.(nobody); !ok {
		t.Error("a file that is named and missing is no error")
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("containerd: {standalone: false}\n")
	if c, err := configuration(file); err != nil || c.Containerd.Standalone || c.File != file {
		t.Errorf("%+v, %v", c, err)
	}
	write("containerd: {standalone: true}\n")
	if a, ok := ForHost(file).Asker.(Alone); !ok || a.Config != file {
		t.Errorf("standalone is passed over: %+v", a)
	}
	write("containerd: {verifierTimeout: 4s, observe: true}\n")
	if h := ForHost(file); h.Timeout != 3500*time.Millisecond || !h.Observe {
		t.Errorf("%+v", h)
	}
	write("containerd: {standalon: false}\n")
	if v := ForHost(file).Asker.Ask(t.Context(), ask.Question{}); v.Outcome != ask.Undecided || !strings.Contains(v.Reason, "standalon") {
		t.Errorf("a file that is wrong is passed over: %+v", v)
	}
}

// It answers before containerd stops waiting.
func TestCTRD04_BelowContainerdsTimeout(t *testing.T) {
	for perVerifier, want := range map[time.Duration]time.Duration{
		time.Second: 500 * time.Millisecond, 3 * time.Second: 2500 * time.Millisecond, 10 * time.Second: Timeout, time.Minute: Timeout,
	} {
		if got := Deadline(perVerifier); got != want {
			t.Errorf("%s: %s, want %s", perVerifier, got, want)
		}
	}
}
