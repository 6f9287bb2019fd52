package coretest

import (
	"context"
	"net"
	"sync"
)

// Pipes is a listener whose connections are pipes in memory. It is for bubbles (testing/synctest), where time goes on when everybody waits,
// but not while somebody waits for a network: tests of time limits take no time there. A pipe holds nothing: what nobody reads is not sent.
type Pipes struct {
	accepted chan net.Conn
	closed   chan struct{}
	once     sync.Once
}

// NewPipes listens.
func NewPipes() *Pipes {
	return &Pipes{accepted: make(chan net.Conn), closed: make(chan struct{})}
}

// Accept implements net.Listener.
func (p *Pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.accepted:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (p *Pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

// Addr implements net.Listener. It says nothing.
func (p *Pipes) Addr() net.Addr { return pipeAddr{} }

// Pipe is the client's end of a connection.
type Pipe struct {
	net.Conn
	// Closed is closed when the server closes the connection, also while nobody reads.
	Closed <-chan struct{}
}

// Dial connects. The network and the address are not looked at, so that it can be a transport's.
func (p *Pipes) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	conn, err := p.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return conn, nil
}

// Connect connects.
func (p *Pipes) Connect(ctx context.Context) (*Pipe, error) {
	client, server := net.Pipe()
	end := &serverEnd{Conn: server, closed: make(chan struct{})}
	select {
	case p.accepted <- end:
		return &Pipe{Conn: client, Closed: end.closed}, nil
	case <-p.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }

// serverEnd is the server's end of a connection.
type serverEnd struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

// Close implements net.Conn.
func (e *serverEnd) Close() error {
	e.once.Do(func() { close(e.closed) })
	return e.Conn.Close()
}
