package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// ours and theirs are all that the program links besides the standard library: it is
// started for each pull, and takes two milliseconds of a processor, a half of which any
// program takes. A further package has to be worth its part.
var (
	ours = []string{
		"cmd/touchmark-containerd", "containerd/bindir", "core/child", "core/configfile", "core/configfile/yamlfile", "core/gate/ask", "core/hostconfig",
		"core/imagename", "core/jsonguard",
	}
	theirs = []string{"github.com/go-json-experiment/json", "go.yaml.in/yaml/v3"}
)

// heavy is what it does without of the standard library: net and net/http take a
// millisecond to be ready, of which asking the agent takes no part.
var heavy = []string{"net", "net/http", "crypto", "encoding/json", "text/template", "log"}

const (
	// maxPackages bounds how many packages it links; it has 118.
	maxPackages = 130
	// maxSize bounds the program without debug information, in bytes; it has 3.6 MB.
	maxSize = 4 << 20
)

func TestItIsSmall(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	deps := strings.Fields(string(out))
	for _, dep := range deps {
		first, _, _ := strings.Cut(dep, "/")
		own, isOwn := strings.CutPrefix(dep, "github.com/touchmark/touchmark/")
		switch {
		case isOwn && slices.Contains(ours, own):
		case !isOwn && slices.ContainsFunc(theirs, func(p string) bool { return dep == p || strings.HasPrefix(dep, p+"/") }):
		case !strings.Contains(first, ".") && !slices.Contains(heavy, dep):
		default:
			t.Errorf("it needs %s", dep)
		}
	}
	if len(deps) > maxPackages {
		t.Errorf("it has %d packages, the limit is %d", len(deps), maxPackages)
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
	t.Logf("%d packages, %d bytes", len(deps), info.Size())
}
