package registryproxy

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestPX28_ThousandClientsOneFetchOneVerdict(t *testing.T) {
	l := newLab(t)
	img := l.pushImage("app:v1")
	l.admitter.sign(digestOf(t, img))
	l.admitter.block = make(chan struct{})
	handler := l.proxy.Handler()
	l.seen("")
	const clients = 1000
	var wg sync.WaitGroup
	var ok atomic.Int64
	gone, cancel := context.WithCancel(t.Context())
	for i := range clients {
		wg.Go(func() {
			ctx := t.Context()
			if i == 0 || i%3 == 1 {
				ctx = gone // these hang up, the first one, whose request began it all, too
			}
			req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://proxy/v2/app/manifests/v1", nil)
			rec := &recorder{header: http.Header{}}
			handler.ServeHTTP(rec, req)
			if rec.status == http.StatusOK {
				ok.Add(1)
			} else if ctx != gone {
				t.Errorf("client %d: %d %s", i, rec.status, rec.body.String())
			}
		})
	}
	waitFor(t, func() bool {
		l.proxy.manifestFlights.mu.Lock()
		defer l.proxy.manifestFlights.mu.Unlock()
		fl := l.proxy.manifestFlights.flying["app@v1"]
		return fl != nil && fl.waiting == clients
	})
	cancel()
	waitFor(t, func() bool {
		l.proxy.manifestFlights.mu.Lock()
		defer l.proxy.manifestFlights.mu.Unlock()
		return l.proxy.manifestFlights.flying["app@v1"].waiting < clients*2/3+1
	})
	close(l.admitter.block)
	wg.Wait()
	if n := l.seen("/manifests/v1"); n != 1 {
		t.Errorf("%d manifest fetches", n)
	}
	if n := len(l.admitter.questions()); n != 1 {
		t.Errorf("%d questions to the gate", n)
	}
	if ok.Load() < clients/2 {
		t.Errorf("%d clients were served", ok.Load())
	}
}

// waitFor waits for a condition that other goroutines bring about.
func waitFor(t *testing.T, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !condition(); {
		if time.Now().After(deadline) {
			t.Fatal("the condition did not come about")
		}
		time.Sleep(time.Millisecond)
	}
}

func TestFlightIsGivenUpWithItsLastCaller(t *testing.T) {
	var f flights[int]
	ctx, cancel := context.WithCancel(t.Context())
	began, ended := make(chan struct{}), make(chan struct{})
	go func() {
		<-began
		cancel()
	}()
	_, err := f.do(ctx, "k", func(ctx context.Context) (int, error) {
		close(began)
		<-ctx.Done()
		close(ended)
		return 0, ctx.Err()
	})
	if err == nil {
		t.Error("no error")
	}
	<-ended
	if v, err := f.do(t.Context(), "k", func(context.Context) (int, error) { return 7, nil }); v != 7 || err != nil {
		t.Errorf("the next caller got %d, %v", v, err)
	}
	if _, err := f.do(t.Context(), "k", func(context.Context) (int, error) { panic("x") }); err == nil {
		t.Error("a panic is no error")
	}
}
