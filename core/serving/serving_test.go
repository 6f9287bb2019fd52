package serving_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/serving"
)

// start serves; the first request is answered when more is closed.
func start(t *testing.T, drain time.Duration, stopping func()) (l net.Listener, stop context.CancelFunc, ended <-chan error, begun, more chan struct{}) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	begun, more = make(chan struct{}), make(chan struct{})
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(begun)
		<-more
		_, _ = io.WriteString(w, "answered")
	})}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- serving.Run(ctx, server, l, drain, stopping) }()
	return l, stop, done, begun, more
}

// What is under way when the order to stop comes is answered, and nothing after it.
func TestAnswersUnderWayEnd(t *testing.T) {
	stopping := make(chan struct{})
	l, stop, ended, begun, more := start(t, time.Minute, func() { close(stopping) })
	said := make(chan string, 1)
	go func() {
		resp, err := http.Get("http://" + l.Addr().String())
		if err != nil {
			said <- err.Error()
			return
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		said <- string(body)
	}()
	<-begun
	stop()
	<-stopping
	close(more)
	if text := <-said; text != "answered" {
		t.Error(text)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if conn, err := net.Dial("tcp", l.Addr().String()); err == nil {
		conn.Close()
		t.Error("it still listens")
	}
}

// What takes longer is cut off, and that is said.
func TestAnswersThatTakeTooLong(t *testing.T) {
	l, stop, ended, begun, more := start(t, time.Millisecond, nil)
	defer close(more)
	go func() {
		if resp, err := http.Get("http://" + l.Addr().String()); err == nil {
			resp.Body.Close()
		}
	}()
	<-begun
	stop()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "under way") {
		t.Error(err)
	}
}

// A listener that ends by itself is an error, which names it.
func TestListenerEnds(t *testing.T) {
	l, stop, ended, _, _ := start(t, time.Minute, nil)
	defer stop()
	l.Close()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Error(err)
	}
}
