package lab

import (
	"bytes"
	"context"
	"io"
	"os/exec"
	"regexp"
	"sync"
	"testing"
	"time"
)

// Dialogue is a command that a test talks with while it runs.
type Dialogue struct {
	// Stdin is what it reads.
	Stdin io.WriteCloser

	command string
	cmd     *exec.Cmd
	mu      sync.Mutex
	said    bytes.Buffer
	changed chan struct{} // something was said, or it ended
	ended   chan struct{}
}

// Write takes what the command says, on both streams.
func (d *Dialogue) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case d.changed <- struct{}{}:
	default:
	}
	return d.said.Write(p)
}

// Output is what the command has said so far.
func (d *Dialogue) Output() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.said.String()
}

// Start starts the command, which ends with the test at the latest. Its Stdin is not used.
func (c Command) Start(tb testing.TB, args ...string) *Dialogue {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), commandTimeout)
	d := &Dialogue{command: c.Program, cmd: exec.CommandContext(ctx, c.Program, args...), changed: make(chan struct{}, 1), ended: make(chan struct{})}
	d.cmd.Env, d.cmd.Dir, d.cmd.Stdout, d.cmd.Stderr = append(Environment(tb), c.Env...), c.Dir, d, d
	// What it starts may hold the streams open: they are not waited for.
	d.cmd.WaitDelay = time.Second
	var err error
	if d.Stdin, err = d.cmd.StdinPipe(); err != nil {
		tb.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		tb.Fatalf("starting %s: %v", c.Program, err)
	}
	go func() {
		_ = d.cmd.Wait()
		cancel()
		close(d.ended)
	}()
	tb.Cleanup(func() {
		cancel()
		<-d.ended
	})
	return d
}

// Find waits until the command has said something that matches, and returns the match and its groups. The test fails if it ends without.
func (d *Dialogue) Find(tb testing.TB, pattern *regexp.Regexp) []string {
	tb.Helper()
	for {
		if found := pattern.FindStringSubmatch(d.Output()); found != nil {
			return found
		}
		select {
		case <-d.changed:
		case <-d.ended:
			if found := pattern.FindStringSubmatch(d.Output()); found != nil {
				return found
			}
			tb.Fatalf("%s ended without saying %s:\n%s", d.command, pattern, d.Output())
		}
	}
}

// Wait waits for the end. All that was said is in Stdout.
func (d *Dialogue) Wait() Result {
	<-d.ended
	return Result{Stdout: d.Output(), Status: d.cmd.ProcessState.ExitCode()}
}
