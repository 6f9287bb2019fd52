package proxy_test

import (
	"io"
	"net"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"
)

// balancer passes connections on to replicas, each to the next one: it knows nothing of HTTP and of clients, and remembers
// nothing. A replica that does not accept a connection is passed over.
type balancer struct {
	address  string // where it listens
	listener net.Listener
	replicas []string
	all      sync.WaitGroup

	mu     sync.Mutex
	next   int
	passed int64 // bytes to clients since the last call of reset
	marks  []mark
	asked  []string          // "GET /v2/..." and so on, since the last call of reset
	conns  map[net.Conn]bool // nil when it has been closed
}

// mark is something to be done when so many bytes have gone to clients. Meanwhile what follows is held.
type mark struct {
	at int64
	do func()
}

// patience is how long a connection waits for any replica. It is longer than one takes to start.
const patience = 20 * time.Second

func newBalancer(t *testing.T, replicas []string) *balancer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &balancer{address: l.Addr().String(), listener: l, replicas: replicas, conns: map[net.Conn]bool{}}
	b.all.Go(func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return // it was closed
			}
			b.all.Go(func() { b.serve(from) })
		}
	})
	t.Cleanup(b.close)
	return b
}

// reset counts anew, and forgets what was to be done.
func (b *balancer) reset(marks ...mark) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.passed, b.marks, b.asked = 0, marks, nil
}

// requests are those that clients have sent since the last call of reset: a method, a space and a path each.
func (b *balancer) requests() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.asked)
}

// close ends every connection.
func (b *balancer) close() {
	b.listener.Close()
	b.mu.Lock()
	for c := range b.conns {
		c.Close()
	}
	b.conns = nil
	b.mu.Unlock()
	b.all.Wait()
}

func (b *balancer) serve(from net.Conn) {
	defer from.Close()
	to := b.connect()
	if to == nil {
		return
	}
	defer to.Close()
	if !b.own(from, to) {
		return
	}
	defer b.disown(from, to)
	sent := make(chan struct{})
	go func() {
		_, _ = io.Copy(listener{to, b}, from) // a client that goes away is no news
		to.(*net.TCPConn).CloseWrite()
		close(sent)
	}()
	_, _ = io.Copy(counter{from, b}, to) // nor is a replica that does
	from.Close()
	<-sent
}

// connect connects to the next replica that lets it.
func (b *balancer) connect() net.Conn {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		for range b.replicas {
			b.mu.Lock()
			b.next++
			chosen, closed := b.replicas[b.next%len(b.replicas)], b.conns == nil
			b.mu.Unlock()
			if closed {
				return nil
			}
			if to, err := net.DialTimeout("tcp", chosen, time.Second); err == nil {
				return to
			}
		}
	}
	return nil
}

func (b *balancer) own(conns ...net.Conn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.conns == nil {
		return false
	}
	for _, c := range conns {
		b.conns[c] = true
	}
	return true
}

func (b *balancer) disown(conns ...net.Conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range conns {
		delete(b.conns, c)
	}
}

// requestLine begins a request. Those of the registry's protocol that read have no body, so that each stands at the beginning of what is read at once.
var requestLine = regexp.MustCompile(`^[A-Z]+ /\S*`)

// listener notes what a client asks for.
type listener struct {
	to net.Conn
	b  *balancer
}

func (l listener) Write(p []byte) (int, error) {
	if line := requestLine.Find(p); line != nil {
		l.b.mu.Lock()
		l.b.asked = append(l.b.asked, string(line))
		l.b.mu.Unlock()
	}
	return l.to.Write(p)
}

// counter counts what goes to a client.
type counter struct {
	to net.Conn
	b  *balancer
}

func (c counter) Write(p []byte) (int, error) {
	c.b.mu.Lock()
	c.b.passed += int64(len(p))
	var due []func()
	var later []mark
	for _, m := range c.b.marks {
		if c.b.passed >= m.at {
			due = append(due, m.do)
		} else {
			later = append(later, m)
		}
	}
	c.b.marks = later
	c.b.mu.Unlock()
	for _, do := range due {
		do()
	}
	return c.to.Write(p)
}
