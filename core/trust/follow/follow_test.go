package follow_test

import (
	"context"
	"crypto"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/trust/follow"
	"github.com/touchmark/touchmark/services/trustroot"
)

// mirror serves a TUF repository without a network, or is down.
type mirror struct {
	*trustroot.Repository
	down atomic.Bool
}

func (m *mirror) RoundTrip(request *http.Request) (*http.Response, error) {
	if m.down.Load() {
		return nil, errors.New("connection refused")
	}
	recorder := httptest.NewRecorder()
	http.StripPrefix("/tuf", m.Handler()).ServeHTTP(recorder, request)
	response := recorder.Result()
	response.Request = request
	return response, nil
}

// acme is a repository with a trust root, its mirror, and how it is followed.
func acme(t *testing.T, clock *coretest.Clock) (*mirror, follow.Config) {
	t.Helper()
	repository, err := trustroot.CreateRepository(trustroot.RepositoryConfig{
		Dir: t.TempDir(), Keys: trustroot.RepositoryKeys{Root: []crypto.Signer{coretest.NewKey(t)}, Targets: coretest.NewKey(t), Online: coretest.NewKey(t)},
		Targets: map[string][]byte{trustroot.TrustedRootFile: coretest.New(t).TrustedRootJSON(t)}, Clock: clock.Now, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = repository.Close() })
	m := &mirror{Repository: repository}
	return m, follow.Config{
		Name: "acme", Mirror: "https://sigstore.acme.example/tuf", Root: repository.Root(), CacheDir: t.TempDir(), MaxStale: 24 * time.Hour, Transport: m, Now: clock.Now,
	}
}

func TestFollower(t *testing.T) {
	clock := coretest.NewClock(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	m, config := acme(t, clock)

	// Never seen, and not to be had.
	m.down.Store(true)
	unseen := follow.New(config)
	if _, err := unseen.Load(t.Context()); !errors.Is(err, follow.ErrUnseen) || !strings.Contains(err.Error(), `"acme" was never seen`) {
		t.Errorf("%v", err)
	}
	if _, err := unseen.Cached(); !errors.Is(err, follow.ErrUnseen) || unseen.Status().Failures != 1 {
		t.Errorf("%v, %+v", err, unseen.Status())
	}
	// The first time it is asked for, later it is there without a request.
	m.down.Store(false)
	first, err := follow.New(config).Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m.down.Store(true)
	f := follow.New(config)
	if root, err := f.Cached(); err != nil || root.Digest != first.Digest {
		t.Errorf("%+v, %v", root, err)
	}
	root, err := f.Load(t.Context())
	if err != nil || root.Name != "acme" || root.Digest != first.Digest {
		t.Fatalf("%+v, %v", root, err)
	}
	status := f.Status()
	if !status.Until.Equal(status.Expires.Add(24*time.Hour)) || !root.Until.Equal(status.Until) || !status.Expires.After(clock.Now()) {
		t.Errorf("%+v, the root ends at %s", status, root.Until)
	}
	// Long after its end it still has a name and an end, for the verdict to tell.
	clock.Set(root.Until.Add(365 * 24 * time.Hour))
	if late, err := f.Load(t.Context()); err != nil || !late.Until.Equal(root.Until) {
		t.Errorf("%+v, %v", late, err)
	}

	// It asks at once, and says what became of it.
	run := func() follow.Status {
		ctx, stop := context.WithCancel(t.Context())
		told := make(chan follow.Status, 1)
		done := make(chan struct{})
		go func() { f.Run(ctx, func(s follow.Status) { told <- s }); close(done) }()
		s := <-told
		stop()
		<-done
		return s
	}
	if s := run(); s.Error == "" || s.Failures != 1 || !s.Refreshed.IsZero() {
		t.Errorf("the mirror is down: %+v", s)
	}
	clock.Set(status.Expires.Add(time.Hour))
	m.down.Store(false)
	if s := run(); s.Error != "" || len(s.Warnings) == 0 || !s.Refreshed.Equal(clock.Now()) {
		t.Errorf("the metadata has expired: %+v", s)
	}
	if err := m.Renew(); err != nil {
		t.Fatal(err)
	}
	if s := run(); s.Error != "" || len(s.Warnings) != 0 {
		t.Errorf("renewed: %+v", s)
	}
	if renewed, err := f.Load(t.Context()); err != nil || !renewed.Until.After(root.Until) {
		t.Errorf("renewed: %+v, %v", renewed, err)
	}
}

// slow is a mirror whose first answer waits.
type slow struct {
	*mirror
	asked, answer chan struct{}
	once          sync.Once
}

func (s *slow) RoundTrip(request *http.Request) (*http.Response, error) {
	s.once.Do(func() { close(s.asked); <-s.answer })
	return s.mirror.RoundTrip(request)
}

// A follower that takes another's place does not read or write the cache while that one is at it, and sees what it has written.
func TestNext(t *testing.T) {
	clock := coretest.NewClock(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	m, config := acme(t, clock)
	first, err := follow.New(config).Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	clock.Set(first.Until.Add(-config.MaxStale - time.Hour))
	if err := m.Renew(); err != nil {
		t.Fatal(err)
	}
	s := &slow{mirror: m, asked: make(chan struct{}), answer: make(chan struct{})}
	before := config
	before.Transport = s
	f := follow.New(before)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { f.Run(ctx, func(follow.Status) { stop() }); close(ended) }()
	<-s.asked

	elsewhere := config
	elsewhere.CacheDir = t.TempDir()
	if _, err := f.Next(elsewhere).Load(t.Context()); err != nil {
		t.Errorf("with a cache of its own: %v", err)
	}
	renewed := make(chan time.Time, 1)
	go func() {
		if root, err := f.Next(config).Load(t.Context()); err != nil {
			t.Error(err)
		} else {
			renewed <- root.Until
		}
		close(renewed)
	}()
	select {
	case <-renewed:
		t.Error("it did not wait")
	case <-time.After(50 * time.Millisecond): // of itself it does not say that it waits
	}
	close(s.answer)
	if until := <-renewed; !until.After(first.Until) {
		t.Errorf("good until %s, as what was there before", until)
	}
	<-ended
}
