package lab

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// serveTimeout bounds the start of a server on a host, on a busy machine.
const serveTimeout = 30 * time.Second

// Serve starts touchmark as a server on the host, as the user, and waits until it answers at the URL. It ends with the host at the latest.
func (a Account) Serve(tb testing.TB, url string, args ...string) *Process {
	tb.Helper()
	c, args := a.command(append([]string{touchmark}, args...))
	p := &Process{URL: url, cmd: exec.Command(c.Program, args...), log: &syncBuffer{}}
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = append(Environment(tb), c.Env...), p.log, p.log
	if err := p.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { p.cmd.Wait(); close(exited) }()
	client := http.Client{Timeout: time.Second}
	for deadline := time.After(serveTimeout); ; {
		if resp, err := client.Get(url); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				break
			}
		}
		select {
		case <-exited:
			tb.Fatalf("touchmark %s ended at once:\n%s", strings.Join(args, " "), p.log)
		case <-deadline:
			tb.Fatalf("touchmark %s does not answer at %s:\n%s", strings.Join(args, " "), url, p.log)
		case <-time.After(10 * time.Millisecond):
		}
	}
	// nsenter, which was started, has touchmark as its child.
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", p.cmd.Process.Pid))
	if err == nil {
		_, err = fmt.Sscan(string(children), &p.pid)
	}
	if err != nil {
		tb.Fatalf("finding the process of touchmark: %v", err)
	}
	tb.Cleanup(p.Kill)
	return p
}

// FreeAddress is a loopback address with a port that nobody listens on at the moment.
func FreeAddress(tb testing.TB) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
