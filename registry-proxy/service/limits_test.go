package service

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/steady"
	"github.com/touchmark/touchmark/registry-proxy/config"
)

// The tests of this file run in bubbles (testing/synctest), where time goes on when everybody waits; their connections are pipes in memory.

// serve has a server of this package answer in a bubble, by TLS if there are files. stop ends it, and returns what it says.
func serve(t *testing.T, files config.TLS, handler http.HandlerFunc) (l *coretest.Pipes, stop func() error) {
	t.Helper()
	s, err := listen("127.0.0.1:0", files, handler, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l = coretest.NewPipes()
	s.listener.Close()
	s.listener = l
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, nil) }()
	stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { _ = stop() })
	return l, stop
}

// dial connects; with protocols, by TLS, after its handshake.
func dial(t *testing.T, l *coretest.Pipes, protocols ...string) (client net.Conn, closed <-chan struct{}) {
	t.Helper()
	pipe, err := l.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(protocols) == 0 {
		return pipe, pipe.Closed
	}
	over := tls.Client(pipe, &tls.Config{InsecureSkipVerify: true, NextProtos: protocols}) // who it is is for other tests
	if err := over.Handshake(); err != nil {
		t.Fatal(err)
	}
	return over, pipe.Closed
}

// drip sends a text, and its last byte again and again, a byte a second, until the connection ends.
func drip(conn net.Conn, text string) {
	for i := 0; ; i = min(i+1, len(text)-1) {
		if _, err := io.WriteString(conn, text[i:i+1]); err != nil {
			return
		}
		time.Sleep(time.Second) // the drip itself
	}
}

// send sends texts with a pause between them.
func send(conn net.Conn, pause time.Duration, texts ...string) {
	for i, text := range texts {
		if i > 0 {
			time.Sleep(pause) // the pause itself
		}
		_, _ = io.WriteString(conn, text)
	}
}

// repeat sends one text, and another every second until the connection ends.
func repeat(conn net.Conn, first, again string) {
	_, err := io.WriteString(conn, first)
	for err == nil {
		time.Sleep(time.Second) // the pause itself
		_, err = io.WriteString(conn, again)
	}
}

// frame is one of HTTP/2 (RFC 9113, 4.1).
func frame(kind, flags byte, stream uint32, payload string) string {
	head := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
	head = append(head, flags)
	return string(binary.BigEndian.AppendUint32(head, stream)) + payload
}

const (
	frameHeaders, frameSettings, framePing, frameContinuation = 1, 4, 6, 9
	endStream, endHeaders                                     = 1, 4

	request1, end1  = "GET / HTTP/1.1\r\nHost: p\r\n", "\r\n"
	request2        = "\x82\x87\x84\x41\x01p" // GET https://p/ (RFC 7541)
	anotherHeader   = "\x00\x01x\x01y"
	preface, answer = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "the answer"
)

// The limits as operators know them: tests that took them from the code would follow wherever it goes.
const toSend, toRead, toIdle, toEnd = 10 * time.Second, time.Minute, 2 * time.Minute, 2 * time.Minute

// secured are the files of a server with TLS.
func secured(t *testing.T) config.TLS {
	p := newPlace(t)
	_, _, certPEM, keyPEM := certificate(t, &x509.Certificate{Subject: pkix.Name{CommonName: "proxy"}}, nil, nil)
	p.write("proxy.pem", certPEM)
	p.write("proxy.key", keyPEM)
	return config.TLS{Cert: p.path("proxy.pem"), Key: p.path("proxy.key")}
}

// TestPX27_ConnectionsEnd: whoever sends slowly or nothing, or does not read, is cut off in time, over HTTP/1.1 and 2.
func TestPX27_ConnectionsEnd(t *testing.T) {
	t.Parallel()
	files := secured(t)
	begin2 := preface + frame(frameSettings, 0, 0, "")
	whole2 := begin2 + frame(frameHeaders, endStream|endHeaders, 1, request2)
	const (
		noTLS   = ""
		silence = "TLS without a handshake"
		// An HTTP/2 connection says that it goes, and TLS that it has ended, for some seconds each.
		goodbye = time.Second
		ended   = 5 * time.Second
	)
	for _, c := range []struct {
		name  string
		proto string
		talk  func(net.Conn)
		deaf  bool // it reads nothing
		after time.Duration
	}{
		{"nothing", noTLS, func(net.Conn) {}, false, toSend},
		{"a header that comes byte by byte and never ends", noTLS, func(c net.Conn) { drip(c, request1+"X: y") }, false, toSend},
		{"a header that comes line by line and never ends", noTLS, func(c net.Conn) { repeat(c, request1, "X: y\r\n") }, false, toSend},
		{"half a request", noTLS, func(c net.Conn) { send(c, 0, request1) }, false, toSend},
		{"a body that never comes", noTLS, func(c net.Conn) { send(c, 0, request1+"Content-Length: 5\r\n\r\n") }, false, toSend},
		{"a body that comes byte by byte", noTLS, func(c net.Conn) { repeat(c, request1+"Content-Length: 5000\r\n\r\n", "x") }, false, toSend},
		{"no other request", noTLS, func(c net.Conn) { send(c, 0, request1+end1) }, false, toIdle},
		{"half of another request", noTLS, func(c net.Conn) { send(c, toIdle-time.Second, request1+end1, request1) }, false, toIdle - time.Second + toSend},
		{"an answer that nobody reads", noTLS, func(c net.Conn) { send(c, 0, request1+end1) }, true, toRead},
		{"what net/http answers itself, and nobody reads", noTLS, func(c net.Conn) { send(c, 0, "GET /% HTTP/1.1\r\nHost: p\r\n\r\n") }, true, toRead},

		{"no TLS handshake", silence, func(net.Conn) {}, false, toSend},
		{"a TLS handshake that comes byte by byte", silence, func(c net.Conn) { drip(c, "\x16\x03\x01\x40\x00\x01") }, false, toSend},
		{"TLS and nothing", "http/1.1", func(net.Conn) {}, false, toSend},
		{"TLS and no other request", "http/1.1", func(c net.Conn) { send(c, 0, request1+end1) }, false, toIdle},
		{"an answer over TLS that nobody reads", "http/1.1", func(c net.Conn) { send(c, 0, request1+end1) }, true, toRead + ended},

		{"HTTP/2 without its beginning", "h2", func(net.Conn) {}, false, toSend},
		{"HTTP/2 without a request", "h2", func(c net.Conn) { send(c, 0, begin2) }, false, toIdle + goodbye},
		{"HTTP/2 with pings alone", "h2", func(c net.Conn) { repeat(c, begin2, frame(framePing, 0, 0, "12345678")) }, false, toIdle + goodbye},
		{"HTTP/2 with a header that never ends", "h2", func(c net.Conn) {
			repeat(c, begin2+frame(frameHeaders, endStream, 1, request2), frame(frameContinuation, 0, 1, anotherHeader))
		}, false, toIdle + goodbye},
		{"HTTP/2 with a body that never comes", "h2", func(c net.Conn) { send(c, 0, begin2+frame(frameHeaders, endHeaders, 1, request2)) }, false, toIdle + goodbye},
		{"HTTP/2 and no other request", "h2", func(c net.Conn) { send(c, 0, whole2) }, false, toIdle + goodbye},
		{"HTTP/2 that nobody reads", "h2", func(c net.Conn) { send(c, 0, whole2) }, true, toRead + ended},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var conn net.Conn
				var closed <-chan struct{}
				handler := func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, answer) }
				switch c.proto {
				case noTLS:
					l, _ := serve(t, config.TLS{}, handler)
					conn, closed = dial(t, l)
				case silence:
					l, _ := serve(t, files, handler)
					conn, closed = dial(t, l)
				default:
					l, _ := serve(t, files, handler)
					conn, closed = dial(t, l, c.proto)
				}
				var talking sync.WaitGroup
				defer func() { conn.Close(); talking.Wait() }()
				begin := time.Now()
				if !c.deaf {
					talking.Go(func() { _, _ = io.Copy(io.Discard, conn) })
				}
				talking.Go(func() { c.talk(conn) })
				select {
				case <-closed:
					if took := time.Since(begin); took > c.after || took < c.after-ended {
						t.Errorf("it was cut off after %v, want %v", took, c.after)
					}
				case <-time.After(10 * c.after):
					t.Error("it was not cut off")
				}
			})
		})
	}
}

// TestPX27_SlowClientsInTime: whoever is a second ahead of each limit is answered.
func TestPX27_SlowClientsInTime(t *testing.T) {
	t.Parallel()
	files := secured(t)
	second := func(limit time.Duration) time.Duration { return limit - time.Second }
	for name, c := range map[string]struct {
		proto   []string
		talk    func(net.Conn)
		deaf    time.Duration // before it reads
		answers int
	}{
		"a slow header":      {nil, func(c net.Conn) { send(c, second(toSend), request1, end1) }, 0, 1},
		"a late request":     {nil, func(c net.Conn) { send(c, second(toSend), "", request1+end1) }, 0, 1},
		"another request":    {nil, func(c net.Conn) { send(c, second(toIdle), request1+end1, request1+end1) }, 0, 2},
		"a late reader":      {nil, func(c net.Conn) { send(c, 0, request1+end1) }, second(toRead), 1},
		"a late reader, TLS": {[]string{"http/1.1"}, func(c net.Conn) { send(c, 0, request1+end1) }, second(toRead), 1},
		"HTTP/2 and a late request": {[]string{"h2"}, func(c net.Conn) {
			send(c, second(toIdle), preface+frame(frameSettings, 0, 0, ""), frame(frameHeaders, endStream|endHeaders, 1, request2))
		}, 0, 1},
		"HTTP/2 and a late reader": {[]string{"h2"}, func(c net.Conn) {
			send(c, 0, preface+frame(frameSettings, 0, 0, "")+frame(frameHeaders, endStream|endHeaders, 1, request2))
		}, second(toRead), 1},
		"HTTP/2 and another request": {[]string{"h2"}, func(c net.Conn) {
			send(c, second(toIdle), preface+frame(frameSettings, 0, 0, "")+frame(frameHeaders, endStream|endHeaders, 1, request2), frame(frameHeaders, endStream|endHeaders, 3, request2))
		}, 0, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				tls := config.TLS{}
				if c.proto != nil {
					tls = files
				}
				l, _ := serve(t, tls, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, answer) })
				conn, _ := dial(t, l, c.proto...)
				var talking sync.WaitGroup
				defer func() { conn.Close(); talking.Wait() }()
				talking.Go(func() { c.talk(conn) })
				time.Sleep(c.deaf)         // in which it reads nothing
				got, _ := io.ReadAll(conn) // until the server ends it
				if n := bytes.Count(got, []byte(answer)); n != c.answers {
					t.Errorf("%d answers, want %d: %q", n, c.answers, got)
				}
			})
		})
	}
}

// TestPX27_LongAnswersAreNotCut: a layer may take hours, as long as its client goes on to read.
func TestPX27_LongAnswersAreNotCut(t *testing.T) {
	t.Parallel()
	files := secured(t)
	for _, proto := range []string{"http/1.1", "h2"} {
		synctest.Test(t, func(t *testing.T) {
			l, _ := serve(t, files, func(w http.ResponseWriter, _ *http.Request) {
				control := http.NewResponseController(w)
				for range 300 {
					_ = control.SetWriteDeadline(time.Now().Add(toRead)) // as a blob does for each of its parts
					_, _ = io.WriteString(w, answer)
					_ = control.Flush()
					time.Sleep(toRead - time.Second) // the client is almost too slow
				}
			})
			transport := &http.Transport{ForceAttemptHTTP2: true, DialTLSContext: func(context.Context, string, string) (net.Conn, error) {
				conn, _ := dial(t, l, proto)
				return conn, nil
			}}
			defer transport.CloseIdleConnections()
			begin := time.Now()
			_, body := get(t, &http.Client{Transport: transport}, "https://p/")
			if n := strings.Count(body, answer); n != 300 || time.Since(begin) < 4*time.Hour {
				t.Errorf("%s: cut off after %d parts and %v", proto, n, time.Since(begin))
			}
		})
	}
}

// TestAnswersUnderWayAtTheEnd: the order to stop leaves them [DrainTimeout], and no more.
func TestAnswersUnderWayAtTheEnd(t *testing.T) {
	t.Parallel()
	for takes, whole := range map[time.Duration]bool{toEnd - time.Second: true, toEnd + time.Second: false} {
		synctest.Test(t, func(t *testing.T) {
			begun := make(chan struct{})
			l, stop := serve(t, config.TLS{}, func(w http.ResponseWriter, r *http.Request) {
				_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(time.Hour)) // as a blob is
				close(begun)
				select {
				case <-time.After(takes):
				case <-r.Context().Done():
				}
				_, _ = io.WriteString(w, answer)
			})
			conn, _ := dial(t, l)
			defer conn.Close()
			go send(conn, 0, request1+end1)
			got := make(chan string, 1)
			go func() {
				all, _ := io.ReadAll(conn)
				got <- string(all)
			}()
			<-begun
			begin := time.Now()
			err := stop()
			if took := time.Since(begin); took < toEnd-2*time.Second || took > toEnd || (err == nil) != whole {
				t.Errorf("an answer of %v: it stopped after %v: %v", takes, took, err)
			}
			if text := <-got; strings.HasSuffix(text, answer) != whole {
				t.Errorf("an answer of %v: got %q", takes, text)
			}
		})
	}
}

// PX-25: a client's certificate ends when either clock says so.
func TestPX25_WallClockIsSet(t *testing.T) {
	const day, year = 24 * time.Hour, 365 * 24 * time.Hour
	clock := coretest.NewClock(time.Now())
	s := &server{clock: steady.New(clock.Now)}
	pool := x509.NewCertPool()
	s.clients.Store(pool)
	ctx := s.accepted(t.Context(), nil)
	leaf, _, _, _ := certificate(t, &x509.Certificate{Subject: pkix.Name{CommonName: "client"}}, nil, nil) // of an hour
	r := (&http.Request{TLS: &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{leaf}}}}).WithContext(ctx)
	stands := func(what string, want bool) {
		t.Helper()
		if got := s.stands(r); got != want {
			t.Errorf("%s: it stands: %v", what, got)
		}
	}
	stands("at first", true)
	clock.SetWall(year)
	stands("a year ahead", false)
	clock.SetWall(-year)
	stands("back again", true)
	clock.SetWall(-day)
	stands("a day behind", true)
	clock.Advance(time.Hour + time.Second)
	stands("a day behind, when it has ended", false)
	clock.SetWall(day)
	stands("when it has ended", false)
}
