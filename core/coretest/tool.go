package coretest

import (
	"os"
	"os/exec"
	"testing"
)

// RequireTool returns the path of an outside program. Where it is missing the test is skipped with the reason, but fails when the environment
// says CI=true: there everything must run.
func RequireTool(tb testing.TB, name string) string {
	tb.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv("CI") == "true" {
		tb.Fatalf("program %s is missing, and CI=true asks for every test: %v", name, err)
	}
	tb.Skipf("program %s is missing: %v", name, err)
	return ""
}
