package lab

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Serve starts the command as a server on this machine, and waits until it answers 200 at the URL. It ends with the test. What it prints goes to a file, and
// costs nobody anything.
func (c Command) Serve(tb testing.TB, url string, args ...string) *Process {
	tb.Helper()
	said, err := os.Create(filepath.Join(tb.TempDir(), "log"))
	if err != nil {
		tb.Fatal(err)
	}
	defer said.Close()
	p := &Process{URL: url, cmd: exec.Command(c.Program, args...), log: fileLog(said.Name())}
	p.cmd.Env, p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = append(Environment(tb), c.Env...), c.Dir, said, said
	p.await(tb, http.DefaultTransport, url)
	p.pid = p.cmd.Process.Pid
	tb.Cleanup(p.Kill)
	return p
}

// await starts a server, and waits until it answers 200 at the URL.
func (p *Process) await(tb testing.TB, transport http.RoundTripper, url string) {
	tb.Helper()
	client := http.Client{Timeout: time.Second, Transport: transport}
	p.awaitReady(tb, func() bool {
		resp, err := client.Get(url)
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// awaitReady starts a server, and waits until it is ready.
func (p *Process) awaitReady(tb testing.TB, ready func() bool) {
	tb.Helper()
	if err := p.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	what := strings.Join(p.cmd.Args, " ")
	exited := make(chan struct{})
	go func() { p.cmd.Wait(); close(exited) }()
	for deadline := time.After(serveTimeout); !ready(); {
		select {
		case <-exited:
			tb.Fatalf("%s ended at once:\n%s", what, p.log)
		case <-deadline:
			p.cmd.Process.Kill()
			tb.Fatalf("%s does not get ready:\n%s", what, p.log)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// fileLog is the name of a file with what a process has printed.
type fileLog string

// String reads it.
func (f fileLog) String() string {
	said, err := os.ReadFile(string(f))
	if err != nil {
		return fmt.Sprint(err)
	}
	return string(said)
}
