package lab

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Process is touchmark, or what it is compared with, as a server.
type Process struct {
	URL string // that it listens on
	cmd *exec.Cmd
	pid int // of the server, which cmd may have started
	log fmt.Stringer
}

// Log is what it has printed so far.
func (p *Process) Log() string { return p.log.String() }

// syncBuffer collects a process's output while it runs.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

var anyURL = regexp.MustCompile(`https?://127\.0\.0\.[0-9]+:[0-9]+`)

// Start starts touchmark as a server, and waits until it has printed the URL
// that it listens on and answers on the path ready there. It ends with the test.
func Start(t testing.TB, ready string, args ...string) *Process {
	t.Helper()
	said := &syncBuffer{}
	p := &Process{cmd: exec.Command(touchmark, args...), log: said}
	p.cmd.Env = Environment(t)
	r, w := io.Pipe()
	p.cmd.Stdout, p.cmd.Stderr = io.MultiWriter(said, w), io.MultiWriter(said, w)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.pid = p.cmd.Process.Pid
	t.Cleanup(func() { p.Kill() })
	found := make(chan string, 1)
	go func() {
		for lines := bufio.NewScanner(r); lines.Scan(); {
			if url := anyURL.FindString(lines.Text()); url != "" {
				select {
				case found <- url:
				default:
				}
			}
		}
		io.Copy(io.Discard, r)
	}()
	exited := make(chan struct{})
	go func() { p.cmd.Wait(); w.Close(); close(exited) }()
	deadline := time.After(30 * time.Second)
	select {
	case p.URL = <-found:
	case <-exited:
		t.Fatalf("touchmark %s ended at once:\n%s", strings.Join(args, " "), p.log)
	case <-deadline:
		t.Fatalf("touchmark %s did not say where it listens:\n%s", strings.Join(args, " "), p.log)
	}
	for {
		if resp, err := http.Get(p.URL + ready); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return p
			}
		}
		select {
		case <-exited:
			t.Fatalf("touchmark %s ended:\n%s", strings.Join(args, " "), p.log)
		case <-deadline:
			t.Fatalf("touchmark %s did not get ready:\n%s", strings.Join(args, " "), p.log)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Kill ends the process without warning, as a power cut would.
func (p *Process) Kill() { p.End(syscall.SIGKILL) }

// End sends a signal and waits until the process's descriptors are gone.
func (p *Process) End(sig syscall.Signal) {
	if p.cmd.Process.Signal(syscall.Signal(0)) == nil {
		syscall.Kill(p.pid, sig)
		p.Resume() // one that is suspended
	}
	for range 1000 {
		if p.cmd.Process.Signal(syscall.Signal(0)) != nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}
