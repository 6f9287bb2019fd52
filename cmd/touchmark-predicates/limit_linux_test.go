package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"
)

// The kernel confirms what the program takes from itself before it reads.
func TestLimits(t *testing.T) {
	program := filepath.Join(t.TempDir(), "touchmark-predicates")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	cmd := exec.Command(program)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stdin.Close(); _ = cmd.Wait() }() // it ends with its input

	for limit, want := range map[string]string{
		"Max open files":     "0 +0",
		"Max data size":      fmt.Sprintf("%d +%d", maxMemory, maxMemory),
		"Max cpu time":       fmt.Sprintf("%d +%d", maxCPU, maxCPU),
		"Max core file size": "0 +0",
	} {
		pattern := regexp.MustCompile(limit + " +" + want)
		var limits []byte
		for end := time.Now().Add(20 * time.Second); !pattern.Match(limits); {
			if limits, err = os.ReadFile(fmt.Sprintf("/proc/%d/limits", cmd.Process.Pid)); err != nil {
				t.Fatal(err)
			}
			if time.Now().After(end) {
				t.Fatalf("%s is not %s:\n%s", limit, want, limits)
			}
		}
	}
}
