package lab

import (
	"fmt"
	"net"
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
	return a.ServeProgram(tb, url, Command{Program: touchmark}, args...)
}

// ServeProgram does the same with any program that the host sees under its path here.
func (a Account) ServeProgram(tb testing.TB, url string, c Command, args ...string) *Process {
	tb.Helper()
	transport := a.Host.Transport()
	defer transport.CloseIdleConnections()
	p := a.process(tb, c.Env, append([]string{c.Program}, args...))
	p.URL = url
	p.await(tb, transport, url)
	p.findChild(tb)
	return p
}

// launch starts a server on the host, as the user, with further environment, and waits until it is ready. It ends with the host at the latest.
func (a Account) launch(tb testing.TB, env []string, ready func() bool, args ...string) *Process {
	tb.Helper()
	p := a.process(tb, env, args)
	p.awaitReady(tb, ready)
	p.findChild(tb)
	return p
}

// process is a server on the host before its start.
func (a Account) process(tb testing.TB, env, args []string) *Process {
	tb.Helper()
	c, args := a.command(args)
	said := &syncBuffer{}
	p := &Process{cmd: exec.Command(c.Program, args...), log: said}
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = append(append(Environment(tb), c.Env...), env...), said, said
	return p
}

// findChild finds the server, which is the child of nsenter, which was started.
func (p *Process) findChild(tb testing.TB) {
	tb.Helper()
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", p.cmd.Process.Pid))
	if err == nil {
		_, err = fmt.Sscan(string(children), &p.pid)
	}
	if err != nil {
		tb.Fatalf("finding the process of %s: %v", strings.Join(p.cmd.Args, " "), err)
	}
	tb.Cleanup(p.Kill)
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
	return freeAddress(tb, "127.0.0.1")
}

// KeptAddress is a loopback address with a port that no connection takes either, whatever the time until somebody listens there, or does
// again: connections come from 127.0.0.1.
func KeptAddress(tb testing.TB) string {
	tb.Helper()
	return freeAddress(tb, "127.0.0.77")
}

func freeAddress(tb testing.TB, host string) string {
	tb.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
