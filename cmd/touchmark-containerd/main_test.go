package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// heavy is what the program may not link: it is started for each pull.
var heavy = []string{
	"github.com/open-policy-agent/", "cuelang.org/", "modernc.org/", "google.golang.org/grpc", "go.podman.io/", "github.com/spf13/",
	"github.com/transparency-dev/tessera", "github.com/theupdateframework/", "github.com/prometheus/", "github.com/BurntSushi/", "k8s.io/",
	"github.com/touchmark/touchmark/services", "github.com/touchmark/touchmark/core/policy/rego", "github.com/touchmark/touchmark/core/policy/cue",
}

// maxSize bounds the program without debug information, in bytes; it has 7.5 MB.
const maxSize = 10 << 20

func TestItIsSmall(t *testing.T) {
	deps, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, dep := range strings.Fields(string(deps)) {
		for _, h := range heavy {
			if strings.HasPrefix(dep, h) {
				t.Errorf("it needs %s", dep)
			}
		}
	}
	program := filepath.Join(t.TempDir(), "program")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags=-s", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	info, err := os.Stat(program)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > maxSize {
		t.Errorf("it has %d bytes, the limit is %d", info.Size(), maxSize)
	}
	t.Logf("%d bytes", info.Size())
}
