package agent

import (
	"errors"
	"net"
	"sync"
)

// How many connections of a listener may be open at once. Those that are one too
// many for their user are closed; those that are one too many for the listener
// wait in the kernel's queue.
const (
	// maxConns bounds all: a node that pulls 200 images at once has that many.
	maxConns = 512
	// maxOthers bounds those of everybody but root and our own user. What is left is
	// theirs alone: no user of the host can keep its own pulls from being judged.
	maxOthers = 384
	// maxPerUser bounds those of each of the others.
	maxPerUser = 256
)

// errCrowded ends a connection of a user who has too many.
var errCrowded = errors.New("too many connections of one user")

// limit bounds a listener's connections. peer says whose a connection is, -1 if
// that is not known; owns, of whom there may be as many as there is room for.
func limit(l net.Listener, peer func(net.Conn) int, owns func(uid int) bool) net.Listener {
	return &limited{
		Listener: l, places: make(chan struct{}, maxConns), closed: make(chan struct{}),
		crowd: &crowd{peer: peer, owns: owns, byUser: make(map[int]int)},
	}
}

type limited struct {
	net.Listener
	places chan struct{} // holds one for each open connection
	once   sync.Once
	closed chan struct{}
	crowd  *crowd
}

// Accept waits for a place, and then for a connection.
func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.places <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.places
		return nil, err
	}
	return &limitedConn{Conn: conn, crowd: l.crowd, leave: sync.OnceFunc(func() { <-l.places })}, nil
}

// Close ends waiting for a place, too.
func (l *limited) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// crowd counts the open connections of others.
type crowd struct {
	peer func(net.Conn) int
	owns func(uid int) bool

	mu     sync.Mutex
	all    int
	byUser map[int]int
}

// enter counts a connection, if there is room for it. leave takes it back; it is
// nil if there is nothing to.
func (c *crowd) enter(conn net.Conn) (leave func(), ok bool) {
	uid := c.peer(conn)
	if c.owns(uid) {
		return nil, true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == maxOthers || c.byUser[uid] == maxPerUser {
		return nil, false
	}
	c.all++
	c.byUser[uid]++
	return sync.OnceFunc(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.all--
		if c.byUser[uid]--; c.byUser[uid] == 0 {
			delete(c.byUser, uid)
		}
	}), true
}

type limitedConn struct {
	net.Conn
	leave func()
	crowd *crowd

	once sync.Once // for the rest
	exit func()    // of the crowd; nil if it does not count
	err  error     // why nothing is read
}

// Read asks whose the connection is before the first byte: here and not in
// Accept, which all others wait for.
func (c *limitedConn) Read(p []byte) (int, error) {
	c.once.Do(func() {
		var ok bool
		if c.exit, ok = c.crowd.enter(c.Conn); !ok {
			c.err = errCrowded
		}
	})
	if c.err != nil {
		return 0, c.err
	}
	return c.Conn.Read(p)
}

// Close gives the place to another one.
func (c *limitedConn) Close() error {
	defer c.leave()
	c.once.Do(func() { c.err = net.ErrClosed }) // it was never read from
	if c.exit != nil {
		c.exit()
	}
	return c.Conn.Close()
}

// NetConn is the connection itself, for who wants to know its peer.
func (c *limitedConn) NetConn() net.Conn { return c.Conn }
