package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

// Listeners are where an agent is reached.
type Listeners struct {
	Socket   net.Listener // a unix socket
	Loopback net.Listener // TCP; nil if nothing is mounted
}

func (l Listeners) loopbackAddr() string {
	if l.Loopback == nil {
		return ""
	}
	return l.Loopback.Addr().String()
}

// Close closes both. It is for when Run was never called.
func (l Listeners) Close() error {
	var errs []error
	for _, one := range []net.Listener{l.Socket, l.Loopback} {
		if one != nil {
			errs = append(errs, one.Close())
		}
	}
	return errors.Join(errs...)
}

// Listen opens what is not among the listeners that a service manager handed
// over already: a unix socket at a path, and an address on loopback, unless it
// is "". Everybody on the host may connect to the socket of a system's agent,
// and nobody else to a user's; who is answered what is decided later.
func Listen(ctx context.Context, inherited []net.Listener, socket, loopback string, user bool) (Listeners, error) {
	l, err := byKind(inherited)
	if err != nil {
		return l, err
	}
	if l.Socket == nil {
		if l.Socket, err = listenUnix(ctx, socket, user); err != nil {
			return l, errors.Join(fmt.Errorf("listening on %s: %w", socket, err), l.Close())
		}
	}
	if l.Loopback == nil && loopback != "" {
		if l.Loopback, err = new(net.ListenConfig).Listen(ctx, "tcp", loopback); err != nil {
			return l, errors.Join(fmt.Errorf("listening on %s: %w", loopback, err), l.Close())
		}
	}
	if l.Loopback == nil {
		return l, nil
	}
	if addr, err := netip.ParseAddrPort(l.Loopback.Addr().String()); err != nil || !addr.Addr().IsLoopback() {
		return l, errors.Join(fmt.Errorf("listening on %s: not a loopback address; others than this host could ask", l.Loopback.Addr()), l.Close())
	}
	return l, nil
}

// byKind tells inherited listeners apart by their kind.
func byKind(inherited []net.Listener) (Listeners, error) {
	var l Listeners
	for _, one := range inherited {
		switch {
		case one.Addr().Network() == "unix" && l.Socket == nil:
			l.Socket = one
		case one.Addr().Network() == "tcp" && l.Loopback == nil:
			l.Loopback = one
		default:
			return l, fmt.Errorf("the service manager handed over %s %s besides what is wanted: one unix socket and one on loopback", one.Addr().Network(), one.Addr())
		}
	}
	return l, nil
}

// probeTimeout is for an agent that may be there already.
const probeTimeout = time.Second

// listenUnix makes a socket, in the place of one that nobody answers any more.
func listenUnix(ctx context.Context, path string, user bool) (net.Listener, error) {
	dirMode, mode := fs.FileMode(0o755), fs.FileMode(0o666)
	if user {
		dirMode, mode = 0o700, 0o600
	}
	if err := os.MkdirAll(filepath.Dir(path), dirMode); err != nil {
		return nil, err
	}
	if info, err := os.Lstat(path); err == nil {
		if info.Mode().Type() != fs.ModeSocket {
			return nil, errors.New("something else than a socket is there; move it away")
		}
		dialer := net.Dialer{Timeout: probeTimeout}
		if conn, err := dialer.DialContext(ctx, "unix", path); err == nil {
			return nil, errors.Join(errors.New("another agent answers there"), conn.Close())
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, mode); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return listener, nil
}
