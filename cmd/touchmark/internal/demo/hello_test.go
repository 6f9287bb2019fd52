package demo

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// TestHelloProgram runs the program of this machine's architecture.
func TestHelloProgram(t *testing.T) {
	const message = "hello from a signed image\n"
	for _, arch := range platforms {
		program, err := helloProgram(arch, message)
		if err != nil {
			t.Fatal(err)
		}
		if arch != runtime.GOARCH || runtime.GOOS != "linux" {
			continue
		}
		path := filepath.Join(t.TempDir(), "hello")
		if err := os.WriteFile(path, program, 0o700); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(path).CombinedOutput()
		if err != nil || string(out) != message {
			t.Errorf("the %s program printed %q (%v), want %q", arch, out, err, message)
		}
	}
	if _, err := helloProgram("pdp11", message); err == nil {
		t.Error("a program was made for an unknown architecture")
	}
}
