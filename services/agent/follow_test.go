package agent_test

import (
	"context"
	"crypto"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/services/agent"
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

func TestFollower(t *testing.T) {
	s := coretest.New(t)
	clock := coretest.NewClock(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	targets := map[string][]byte{trustroot.TrustedRootFile: s.TrustedRootJSON(t)}
	repository, err := trustroot.CreateRepository(trustroot.RepositoryConfig{
		Dir: t.TempDir(), Keys: trustroot.RepositoryKeys{Root: []crypto.Signer{coretest.NewKey(t)}, Targets: coretest.NewKey(t), Online: coretest.NewKey(t)},
		Targets: targets, Clock: clock.Now, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = repository.Close() })
	m := &mirror{Repository: repository}
	config := agent.FollowerConfig{
		Name: "acme", Mirror: "https://sigstore.acme.example/tuf", Root: repository.Root(), CacheDir: t.TempDir(), MaxStale: 24 * time.Hour, Transport: m, Now: clock.Now,
	}

	// Never seen, and not to be had.
	m.down.Store(true)
	if _, err := agent.NewFollower(config).Load(t.Context()); err == nil || !strings.Contains(err.Error(), `"acme" was never seen`) {
		t.Errorf("%v", err)
	}
	// The first time it is asked for, later it is there without a request.
	m.down.Store(false)
	first, err := agent.NewFollower(config).Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m.down.Store(true)
	f := agent.NewFollower(config)
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
	run := func() agent.RootStatus {
		ctx, stop := context.WithCancel(t.Context())
		told := make(chan agent.RootStatus, 1)
		done := make(chan struct{})
		go func() { f.Run(ctx, func(s agent.RootStatus) { told <- s }); close(done) }()
		s := <-told
		stop()
		<-done
		return s
	}
	if s := run(); s.Error == "" || !s.Refreshed.IsZero() {
		t.Errorf("the mirror is down: %+v", s)
	}
	clock.Set(status.Expires.Add(time.Hour))
	m.down.Store(false)
	if s := run(); s.Error != "" || len(s.Warnings) == 0 || !s.Refreshed.Equal(clock.Now()) {
		t.Errorf("the metadata has expired: %+v", s)
	}
	if err := repository.Renew(); err != nil {
		t.Fatal(err)
	}
	if s := run(); s.Error != "" || len(s.Warnings) != 0 {
		t.Errorf("renewed: %+v", s)
	}
	if renewed, err := f.Load(t.Context()); err != nil || !renewed.Until.After(root.Until) {
		t.Errorf("renewed: %+v, %v", renewed, err)
	}
}

// What the repository publishes anew is in force soon after it was fetched, and
// the agent starts with what it has seen, whether or not the repository is there.
func TestFollowedRootIsReloaded(t *testing.T) {
	t.Parallel() // it waits for files to be looked at
	old, changed := coretest.New(t).TrustedRootJSON(t), coretest.New(t).TrustedRootJSON(t)
	config := trustroot.RepositoryConfig{
		Dir: t.TempDir(), Keys: trustroot.RepositoryKeys{Root: []crypto.Signer{coretest.NewKey(t)}, Targets: coretest.NewKey(t), Online: coretest.NewKey(t)},
		Targets: map[string][]byte{trustroot.TrustedRootFile: old}, Clock: time.Now, Logger: slog.New(slog.DiscardHandler),
	}
	repository, err := trustroot.CreateRepository(config)
	if err != nil {
		t.Fatal(err)
	}
	m := &mirror{Repository: repository}
	cache := t.TempDir()
	f := agent.NewFollower(agent.FollowerConfig{
		Name: "acme", Mirror: "https://sigstore.acme.example/tuf", Root: repository.Root(), CacheDir: cache, MaxStale: time.Hour, Transport: m,
	})
	first, err := f.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := repository.Close(); err != nil {
		t.Fatal(err)
	}
	config.Targets = map[string][]byte{trustroot.TrustedRootFile: changed}
	if m.Repository, err = trustroot.OpenRepository(config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })

	w := start(t, func(c *agent.Config) {
		load := c.Load
		c.Load = func(ctx context.Context) (*policy.Set, []*trust.Root, error) {
			set, _, err := load(ctx)
			if err != nil {
				return nil, nil, err
			}
			root, err := f.Load(ctx)
			return set, []*trust.Root{root}, err
		}
		c.Followers = []*agent.Follower{f}
		c.Files = append(c.Files, cache)
	})
	eventually(t, "the new root is in force", func() bool {
		roots := w.agent.Status().Roots
		return len(roots) == 1 && roots[0].Name == "acme" && !roots[0].Refreshed.IsZero() && roots[0].Digest == fmt.Sprintf("%x", sha256.Sum256(changed))
	})
	if first.Digest != sha256.Sum256(old) {
		t.Error("the old one was not in force before")
	}
	if metrics := w.metrics(); !strings.Contains(metrics, `touchmark_trust_root_stale{name="acme"} 0`) {
		t.Error("the metrics do not know of it")
	}
}
