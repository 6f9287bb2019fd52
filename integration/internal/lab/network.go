package lab

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// ports are what servers and clients of such a host get that name none: others than this machine gives, so that none of them has the port of what is
// forwarded.
const ports = "10000 29999"

// Connect lets a host with [OwnNetwork] have its network, at first and again after Disconnect.
func (h *Host) Connect(tb testing.TB) {
	tb.Helper()
	h.loopback(tb, "busybox ip link set lo up && busybox ip address add "+OutsideAddress+"/32 dev lo") // which gets 127.0.0.1 by the first
	err := h.inNetwork(func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte(ports), 0) })
	if err != nil {
		tb.Fatal(err)
	}
}

// Disconnect is a script that takes the network from a host with [OwnNetwork], when it runs there: not even 127.0.0.1 can be reached.
const Disconnect = "busybox ip link set lo down && busybox ip address flush dev lo"

// Disconnect runs that script.
func (h *Host) Disconnect(tb testing.TB) {
	tb.Helper()
	h.loopback(tb, Disconnect)
}

func (h *Host) loopback(tb testing.TB, script string) {
	tb.Helper()
	if !h.ownNetwork {
		tb.Fatal("the host has the network of this machine, which is left alone")
	}
	h.Root().Must(tb, 0, "sh", "-c", script)
}

// Forward is how a host with [OwnNetwork] reaches a server outside of it.
type Forward struct {
	listener net.Listener // on the host
	address  string

	mu     sync.Mutex
	closed bool
	conns  map[net.Conn]bool
	all    sync.WaitGroup
}

// Forward lets the host reach what listens on this machine's loopback, under the very same address and port, until the Forward is closed or the test ends.
func (h *Host) Forward(tb testing.TB, address string) *Forward {
	tb.Helper()
	return h.forward(tb, address, address)
}

// OutsideAddress is an address of each host with [OwnNetwork] by which it reaches what is forwarded as if it were no server of its own: unlike a loopback address
// it is one that dockerd wants certificates of, and that a registry may redirect to.
const OutsideAddress = "192.0.2.1"

// Reach lets the host reach what listens on this machine's loopback, at [OutsideAddress] and the same port, until the test ends.
func (h *Host) Reach(tb testing.TB, address string) {
	tb.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		tb.Fatal(err)
	}
	h.forward(tb, net.JoinHostPort(OutsideAddress, port), address)
}

// forward lets the host reach an address of this machine as another one of its own.
func (h *Host) forward(tb testing.TB, as, address string) *Forward {
	tb.Helper()
	if !h.ownNetwork {
		tb.Fatal("the host has the network of this machine, where nothing is to be forwarded")
	}
	f := &Forward{address: address, conns: map[net.Conn]bool{}}
	err := h.inNetwork(func() (err error) {
		f.listener, err = net.Listen("tcp", as)
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	f.all.Go(f.serve)
	tb.Cleanup(f.Close)
	return f
}

// Close ends every connection, and refuses further ones. It may be called again.
func (f *Forward) Close() {
	f.listener.Close()
	f.mu.Lock()
	f.closed = true
	for c := range f.conns {
		c.Close()
	}
	f.mu.Unlock()
	f.all.Wait()
}

func (f *Forward) serve() {
	for {
		from, err := f.listener.Accept()
		if err != nil {
			return // it was closed
		}
		to, err := net.Dial("tcp", f.address)
		if err != nil {
			from.Close()
			continue
		}
		if !f.own(from, to) {
			return
		}
		f.all.Go(func() { pipe(from, to) })
		f.all.Go(func() { pipe(to, from) })
	}
}

// own remembers connections, for Close, or closes them if that was called.
func (f *Forward) own(conns ...net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range conns {
		if f.closed {
			c.Close()
		}
		f.conns[c] = true
	}
	return !f.closed
}

// pipe copies until one side ends, which ends both.
func pipe(to, from net.Conn) {
	_, _ = io.Copy(to, from) // the other pipe may have closed them
	to.Close()
	from.Close()
}

// Transport is for requests to servers on the host, from the test.
func (h *Host) Transport() *http.Transport { return &http.Transport{DialContext: h.dialContext} }

// dialContext connects to an address on the host, which has no name service.
func (h *Host) dialContext(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = h.inNetwork(func() (err error) {
		var d net.Dialer
		conn, err = d.DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// inNetwork calls f in a thread that is in the host's network, as are the sockets that it makes.
func (h *Host) inNetwork(f func() error) error {
	if !h.ownNetwork {
		return f()
	}
	ended := make(chan error)
	go func() {
		runtime.LockOSThread()
		back, err := enterNetwork(h.pid)
		if err == nil {
			err = f()
		}
		if back != nil && back() == nil {
			runtime.UnlockOSThread()
		} // else the thread ends with the goroutine
		ended <- err
	}()
	return <-ended
}

// enterNetwork moves the thread to the network of a process. The returned function, if it is not nil, moves it back.
func enterNetwork(pid int) (back func() error, err error) {
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	theirs, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err == nil {
		err = unix.Setns(int(theirs.Fd()), unix.CLONE_NEWNET)
		theirs.Close()
	}
	return func() error {
		defer own.Close()
		return unix.Setns(int(own.Fd()), unix.CLONE_NEWNET)
	}, err
}
