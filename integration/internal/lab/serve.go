package lab

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// serveTimeout bounds the start of a server on a host, on a busy machine.
const serveTimeout = 30 * time.Second

// Serve starts touchmark as a server on the host, as the user, and waits until it answers at the URL. It ends with the host at the latest.
func (a Account) Serve(tb testing.TB, url string, args ...string) *Process {
	tb.Helper()
	transport := &http.Transport{DialContext: a.Host.dialContext}
	defer transport.CloseIdleConnections()
	client := http.Client{Timeout: time.Second, Transport: transport}
	p := a.launch(tb, nil, func() bool {
		resp, err := client.Get(url)
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	}, append([]string{touchmark}, args...)...)
	p.URL = url
	return p
}

// launch starts a server on the host, as the user, with further environment, and waits until it is ready. It ends with the host at the latest.
func (a Account) launch(tb testing.TB, env []string, ready func() bool, args ...string) *Process {
	tb.Helper()
	what := strings.Join(args, " ")
	c, args := a.command(args)
	p := &Process{cmd: exec.Command(c.Program, args...), log: &syncBuffer{}}
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = append(append(Environment(tb), c.Env...), env...), p.log, p.log
	if err := p.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { p.cmd.Wait(); close(exited) }()
	for deadline := time.After(serveTimeout); !ready(); {
		select {
		case <-exited:
			tb.Fatalf("%s ended at once:\n%s", what, p.log)
		case <-deadline:
			tb.Fatalf("%s does not get ready:\n%s", what, p.log)
		case <-time.After(10 * time.Millisecond):
		}
	}
	// nsenter, which was started, has the server as its child.
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", p.cmd.Process.Pid))
	if err == nil {
		_, err = fmt.Sscan(string(children), &p.pid)
	}
	if err != nil {
		tb.Fatalf("finding the process of %s: %v", what, err)
	}
	tb.Cleanup(p.Kill)
	return p
}

// Suspend stops a server of a host from running, until it is resumed.
func (p *Process) Suspend() { syscall.Kill(p.pid, syscall.SIGSTOP) }

// Resume lets a suspended server run on.
func (p *Process) Resume() {
	syscall.Kill(p.pid, syscall.SIGCONT)
	p.cmd.Process.Signal(syscall.SIGCONT) // nsenter, which stops with its child
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
