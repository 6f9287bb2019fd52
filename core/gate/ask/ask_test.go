package ask_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/gate/ask"
)

var question = ask.Question{Client: "containerd", Repository: "registry.example/app", Digest: "sha256:" + strings.Repeat("a", 64)}

const verdict = `{"outcome":"admitted","code":"admitted","reason":"r","repository":"registry.example/app","digest":"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","cached":true}`

// listen answers each connection to a socket by a function.
func listen(t *testing.T, answer func(net.Conn)) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // it is closed
			}
			go func() {
				defer func() { _ = conn.Close() }()
				answer(conn)
			}()
		}
	}()
	return socket
}

// Only a whole answer by HTTP with status 200 is one (POD-08, CTRD-06).
func TestCTRD06_Answers(t *testing.T) {
	for what, c := range map[string]struct {
		answer string
		says   string // "" is an answer
	}{
		"by its end":         {"HTTP/1.0 200 OK\r\n\r\n" + verdict, ""},
		"by its length":      {"HTTP/1.1 200 OK\r\ncontent-length: 186\r\n\r\n" + verdict, ""},
		"half of it":         {"HTTP/1.0 200 OK\r\n\r\n" + verdict[:80], "reading the verdict"},
		"shorter than it is": {"HTTP/1.0 200 OK\r\nContent-Length: 187\r\n\r\n" + verdict, "186 bytes of 187"},
		"a length of x":      {"HTTP/1.0 200 OK\r\nContent-Length: x\r\n\r\n" + verdict, "bytes of x"},
		"nothing":            {"", "without an answer"},
		"a head alone":       {"HTTP/1.0 200 OK\r\nA: b\r\n", "is not HTTP"},
		"a head of 17 KiB":   {"HTTP/1.0 200 OK\r\nA: " + strings.Repeat("b", 17<<10) + "\r\n\r\n" + verdict, "is not HTTP"},
		"no HTTP":            {verdict + "\r\n\r\n", "is not HTTP"},
		"another status":     {"HTTP/1.0 503 Busy\r\n\r\n" + verdict, "it answers 503 Busy"},
		"a status like it":   {"HTTP/1.0 2000 OK\r\n\r\n" + verdict, "it answers 2000"},
	} {
		socket := listen(t, func(conn net.Conn) {
			var question [4096]byte
			if _, err := conn.Read(question[:]); err == nil {
				_, _ = io.WriteString(conn, c.answer)
			}
		})
		data, err := ask.Agent(t.Context(), socket, question)
		var a ask.Answer
		if err == nil {
			a, err = ask.Read(data, question)
		}
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) || err == nil && a.Outcome != ask.Admitted {
			t.Errorf("%s: %+v, %v; want %q", what, a, err, c.says)
		}
	}
}

// Who asks does not wait longer than it wants to, and learns what ended it.
func TestPatienceEnds(t *testing.T) {
	asked := make(chan struct{}, 2)
	socket := listen(t, func(conn net.Conn) {
		asked <- struct{}{}
		_, _ = io.Copy(io.Discard, conn) // until who asks goes away
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := ask.Agent(ctx, socket, question); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	<-asked
	ctx, cancel = context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	if _, err := ask.Agent(ctx, socket, question); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestNoSocket(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, socket := range []string{filepath.Join(dir, "none"), file, "", filepath.Join(dir, strings.Repeat("x", 120))} {
		if _, err := ask.Agent(t.Context(), socket, question); err == nil || !strings.HasSuffix(err.Error(), ask.Advice) {
			t.Errorf("%q: %v", socket, err)
		}
	}
}
