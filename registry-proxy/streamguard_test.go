package registryproxy

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/touchmark/touchmark/core/coretest"
)

// The tests of this file run in bubbles (testing/synctest), where time goes on when everybody waits: nothing here takes the time that it says.

// lossy is a connection on which nothing that is sent arrives any more from some time on.
type lossy struct {
	net.Conn
	lost *atomic.Bool
}

// Write implements net.Conn.
func (l lossy) Write(b []byte) (int, error) {
	if l.lost.Load() {
		return len(b), nil
	}
	return l.Conn.Write(b)
}

// uplink is a transport as the proxy has it to its upstream, in a bubble, with a server at its end.
type uplink struct {
	t         *testing.T
	transport *http.Transport
	pipes     []*coretest.Pipe
	lost      *atomic.Bool // of the connection made last
}

// newUplink makes one until the test ends; the server speaks TLS and a protocol unless that is empty.
func newUplink(t *testing.T, certificate tls.Certificate, protocol string, handler http.HandlerFunc) *uplink {
	t.Helper()
	l, pipes := &uplink{t: t, transport: newTransport(nil, nil)}, coretest.NewPipes()
	l.transport.TLSClientConfig.InsecureSkipVerify = true // who it is is for other tests
	l.transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		pipe, err := pipes.Connect(ctx)
		if err != nil {
			return nil, err
		}
		l.pipes, l.lost = append(l.pipes, pipe), new(atomic.Bool)
		return lossy{pipe, l.lost}, nil
	}
	server := &http.Server{Handler: handler, TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{protocol}}}
	if protocol == "" {
		go func() { _ = server.Serve(pipes) }()
	} else {
		go func() { _ = server.ServeTLS(pipes, "", "") }()
	}
	t.Cleanup(func() {
		l.transport.CloseIdleConnections()
		server.Close()
		time.Sleep(time.Hour) // those who sleep in the bubble, which waits for all, wake up
	})
	return l
}

// get sends one request, and returns how long it took.
func (l *uplink) get(url string) (took time.Duration, err error) {
	l.t.Helper()
	begin := time.Now()
	req, err := http.NewRequestWithContext(l.t.Context(), http.MethodGet, url, nil)
	if err != nil {
		l.t.Fatal(err)
	}
	resp, err := l.transport.RoundTrip(req)
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	return time.Since(begin), err
}

// TestPX25_Uplinks: connections to an upstream that does not answer, or is no longer there, end in time, and the next request makes
// another.
func TestPX25_Uplinks(t *testing.T) {
	t.Parallel()
	certified := httptest.NewTLSServer(nil)
	certificate := certified.TLS.Certificates[0]
	certified.Close()
	at := map[string]string{"": "http://upstream.example/", "http/1.1": "https://upstream.example/", "h2": "https://upstream.example/"}
	for protocol, url := range at {
		t.Run("silent, "+protocol, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				wait := 29 * time.Second
				l := newUplink(t, certificate, protocol, func(http.ResponseWriter, *http.Request) { time.Sleep(wait) }) // how late it is
				if took, err := l.get(url); err != nil || took != wait {
					t.Errorf("a slow answer: %v after %v", err, took)
				}
				wait = 31 * time.Second
				if took, err := l.get(url); !isTimeout(err) || took != 30*time.Second {
					t.Errorf("none: %v after %v", err, took)
				}
			})
		})
		t.Run("idle, "+protocol, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := newUplink(t, certificate, protocol, func(http.ResponseWriter, *http.Request) {})
				for range 2 {
					if _, err := l.get(url); err != nil {
						t.Fatal(err)
					}
					time.Sleep(89 * time.Second) // nobody uses it, for almost as long as it is kept
				}
				if len(l.pipes) != 1 {
					t.Errorf("%d connections within the time", len(l.pipes))
				}
				time.Sleep(2 * time.Second) // and for longer
				select {
				case <-l.pipes[0].Closed:
				default:
					t.Error("it is still open")
				}
			})
		})
	}
	t.Run("dead, h2", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			l := newUplink(t, certificate, "h2", func(http.ResponseWriter, *http.Request) {})
			if _, err := l.get(at["h2"]); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute) // the connection is used for a while
			l.lost.Store(true)      // as where a balancer in between was replaced
			if took, err := l.get(at["h2"]); err == nil || took > 30*time.Second {
				t.Errorf("%v after %v", err, took)
			}
			if took, err := l.get(at["h2"]); err != nil || took > time.Second || len(l.pipes) != 2 {
				t.Errorf("the next: %v after %v, %d connections", err, took, len(l.pipes))
			}
		})
	})
	t.Run("TLS that is not answered", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			l := newUplink(t, certificate, "", func(http.ResponseWriter, *http.Request) {})
			dial := l.transport.DialContext
			l.transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := dial(ctx, network, address)
				l.lost.Store(true)
				return conn, err
			}
			if took, err := l.get("https://upstream.example/"); !isTimeout(err) || took != 10*time.Second {
				t.Errorf("%v after %v", err, took)
			}
		})
	})
}

// TestPX25_UpstreamsThatCannotBeDialed: a connection is made in ten seconds, or not at all.
func TestPX25_UpstreamsThatCannotBeDialed(t *testing.T) {
	t.Parallel()
	there := httptest.NewServer(nil)
	defer there.Close()
	for takes, whole := range map[time.Duration]bool{9 * time.Second: true, 11 * time.Second: false} {
		synctest.Test(t, func(t *testing.T) {
			slow := func(string, string, syscall.RawConn) error { time.Sleep(takes); return nil } // how long the address takes
			conn, err := newTransport(slow, nil).DialContext(t.Context(), "tcp", there.Listener.Addr().String())
			if err == nil {
				conn.Close()
			}
			if (err == nil) != whole || err != nil && !isTimeout(err) && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("a connection that takes %v: %v", takes, err)
			}
		})
	}
}
