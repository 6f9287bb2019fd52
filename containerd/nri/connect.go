package nri

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"syscall"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"
)

const (
	// retryDelay is between attempts to connect. While there is no connection no pod
	// starts, and an attempt costs a system call.
	retryDelay = 250 * time.Millisecond
	// dialTimeout ends an attempt: the socket is on this host.
	dialTimeout = time.Second
	// registerTimeout is for registration and configuration, above the five seconds
	// and the two after which containerd itself gives up.
	registerTimeout = 10 * time.Second
)

// Run keeps the plugin connected until the context ends: containerd is restarted,
// and drops plugins.
func (p *Plugin) Run(ctx context.Context) {
	for ctx.Err() == nil {
		err := p.session(ctx)
		if ctx.Err() != nil {
			return
		}
		p.connected(err)
		select {
		case <-ctx.Done():
		case <-time.After(retryDelay):
		}
	}
}

// session is one connection, from its beginning to its end.
func (p *Plugin) session(ctx context.Context) error {
	conn, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "unix", p.config.Socket)
	if err != nil {
		return p.unreachable(err)
	}
	closed := make(chan struct{})
	s, err := stub.New(&handler{p}, stub.WithPluginName(Name), stub.WithPluginIdx(Index), stub.WithConnection(conn),
		stub.WithLogger(logger{p.logger}), stub.WithOnClose(func() { close(closed) }),
		stub.WithFailurePolicy(&api.FailurePolicy{FailRequest: true, KeepConnected: true}))
	if err != nil {
		return errors.Join(fmt.Errorf("making the NRI plugin: %w", err), conn.Close())
	}
	// The stub waits for its configuration without an end, also if the connection
	// breaks in that moment.
	started := make(chan error, 1)
	go func() { started <- s.Start(ctx) }()
	select {
	case err = <-started:
	case <-time.After(registerTimeout):
		err = fmt.Errorf("no answer within %s", registerTimeout)
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		_ = conn.Close() // there is an error already
		return fmt.Errorf("registering with containerd at %s: %w", p.config.Socket, err)
	}
	p.mu.Lock()
	if d := s.RequestTimeout(); d > 0 {
		p.limit = d
	}
	p.mu.Unlock()
	select {
	case <-closed:
		return fmt.Errorf("containerd closed the connection at %s", p.config.Socket)
	case <-ctx.Done():
		s.Stop()
		return ctx.Err()
	}
}

// unreachable says what to do about a socket that does not lead to containerd.
func (p *Plugin) unreachable(err error) error {
	what := err.Error()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		what = "there is no such socket: containerd is not running, or its NRI is disabled (disable, disable_connections or socket_path in [plugins.'io.containerd.nri.v1.nri'])"
	case errors.Is(err, fs.ErrPermission):
		what = "permission denied: run the agent as root"
	case errors.Is(err, syscall.ECONNREFUSED):
		what = "nobody listens there: containerd is not running"
	}
	return fmt.Errorf("connecting to NRI at %s: %s", p.config.Socket, what)
}
