package lab

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// commandTimeout bounds one command. The slowest client needs some seconds on a busy machine.
const commandTimeout = 2 * time.Minute

// Result is how a command ended.
type Result struct {
	Stdout, Stderr string
	Status         int
}

// Output is what the command said, on both streams.
func (r Result) Output() string { return r.Stdout + r.Stderr }

// Command is a client, with the environment that it needs beside [Environment].
type Command struct {
	Program string
	Env     []string // KEY=value
	Dir     string   // to run in; empty is the test's own
	Stdin   []byte
}

// Run runs the command to its end and returns how it ended. The test fails if it cannot be started.
func (c Command) Run(tb testing.TB, args ...string) Result {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), commandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.Program, args...)
	cmd.Env, cmd.Dir, cmd.Stdin = append(Environment(tb), c.Env...), c.Dir, bytes.NewReader(c.Stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		tb.Fatalf("running %s: %v", c.Program, err)
	}
	return Result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// Environment keeps the machine's own credentials and settings out of a test.
func Environment(tb testing.TB) []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + tb.TempDir(), "TMPDIR=" + os.TempDir()}
}

// Touchmark runs touchmark and fails the test unless it exits with the status.
func Touchmark(tb testing.TB, status int, args ...string) Result {
	tb.Helper()
	r := Command{Program: touchmark}.Run(tb, args...)
	if r.Status != status {
		tb.Fatalf("touchmark %s: exit status %d, want %d\n%s", strings.Join(args, " "), r.Status, status, r.Output())
	}
	return r
}
