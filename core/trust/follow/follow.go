// Package follow keeps a trust root current by TUF, for processes that run for
// months.
//
//	f := follow.New(follow.Config{Name: "acme", Mirror: "https://sigstore.acme.example/tuf", Root: root, CacheDir: dir, MaxStale: tuf.DefaultMaxStale})
//	root, err := f.Load(ctx) // at the start, and whenever files in dir have changed
//	go f.Run(ctx, func(s follow.Status) { log(s) })
//
// [Follower.Run] asks the repository now and then, and puts what is new into the
// cache's directory. Whoever watches files watches that directory like any other,
// and calls [Follower.Load] again. A repository that is down changes nothing: the
// root is good until MaxStale after the end of its metadata, which the root itself
// says ([trust.Root.Until]).
package follow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/trust/tuf"
)

const (
	// refreshEvery is how often a TUF repository is asked. Timestamps there live for
	// days.
	refreshEvery = time.Hour
	// retryAfter is how soon it is asked again after it could not be.
	retryAfter = 5 * time.Minute
	// jitter is which part of these times is left to chance: a fleet that was
	// started at once does not ask at once.
	jitter = 0.1
	// firstTimeout bounds the start of a process that has never seen a repository.
	firstTimeout = 15 * time.Second
	// forEver is given to the TUF client as grace when the cache is read: what has
	// ended for good is still named, with its end, so that a verdict can say so.
	forEver = 50 * 365 * 24 * time.Hour
)

// ErrUnseen is wrapped by the error about a trust root of which nothing is cached,
// and nothing could be had.
var ErrUnseen = errors.New("was never seen")

// Config says which trust root is followed. All of it is required but MaxStale,
// Transport and Now.
type Config struct {
	Name     string // of the trust root, for policies
	Mirror   string // URL of the TUF repository
	Root     []byte // the root.json to start from
	CacheDir string // for this repository alone
	// MaxStale is how long metadata is good after its end; 0 is strict.
	MaxStale  time.Duration
	Transport http.RoundTripper
	Now       func() time.Time
}

// Follower follows one trust root by TUF.
type Follower struct {
	name     string
	client   tuf.Client
	maxStale time.Duration

	cache *sync.Mutex // one use of the cache at a time; see Next

	mu     sync.Mutex
	status Status
	last   *trust.Root // that Load returned
}

// Status is a trust root in force, and what became of following it.
type Status struct {
	Name   string    `json:"name"`
	Digest string    `json:"digest,omitempty"` // SHA-256 of trusted_root.json
	Loaded time.Time `json:"loaded,omitzero"`  // when it was read
	// Mirror is where it is followed; empty, like all below, if it is not.
	Mirror string `json:"mirror,omitempty"`
	// Expires is when the first part of the metadata ends, and Until when the root
	// is not used any more.
	Expires   time.Time `json:"expires,omitzero"`
	Until     time.Time `json:"until,omitzero"`
	Refreshed time.Time `json:"refreshed,omitzero"` // when the repository was asked last, with success
	Error     string    `json:"error,omitempty"`    // of the last attempt
	Failures  uint64    `json:"failures,omitempty"` // attempts that failed, since the start
	Warnings  []string  `json:"warnings,omitempty"`
}

// Line is a line for a log about the last attempt: the agent and the proxy say the same of it.
func (s Status) Line() (level slog.Level, message string, attributes []any) {
	switch {
	case s.Error != "":
		return slog.LevelError, "the trust root could not be refreshed; the last good one is used until its end", []any{"name", s.Name, "error", s.Error, "until", s.Until}
	case len(s.Warnings) > 0:
		return slog.LevelWarn, "the trust root was refreshed, with warnings", []any{"name", s.Name, "warnings", s.Warnings}
	default:
		return slog.LevelInfo, "the trust root was refreshed", []any{"name", s.Name, "expires", s.Expires}
	}
}

// New makes a follower. Nothing is read before [Follower.Load].
func New(c Config) *Follower {
	return &Follower{
		name: c.Name, maxStale: c.MaxStale, status: Status{Name: c.Name, Mirror: c.Mirror}, cache: new(sync.Mutex),
		client: tuf.Client{Mirror: c.Mirror, Root: c.Root, CacheDir: c.CacheDir, Transport: c.Transport, MaxStale: c.MaxStale, Now: c.Now},
	}
}

// Next makes the follower that takes f's place when something about it is to change. f
// may run on for a while: the two never use one CacheDir at the same time, so that
// neither takes the other back to what it read before the other wrote.
func (f *Follower) Next(c Config) *Follower {
	next := New(c)
	if c.CacheDir == f.client.CacheDir {
		next.cache = f.cache
	}
	return next
}

// Load returns the trust root as it is in the cache, without any request, and
// while the repository is being asked the one that it returned last. Where
// nothing is cached yet, the repository is asked, within 15 seconds; if that is
// to no avail the error wraps [ErrUnseen].
func (f *Follower) Load(ctx context.Context) (*trust.Root, error) {
	if !f.cache.TryLock() {
		if last := f.remembered(); last != nil {
			return last, nil
		}
		f.cache.Lock()
	}
	defer f.cache.Unlock()
	result, err := f.cached()
	if err != nil {
		ctx, cancel := context.WithTimeout(ctx, firstTimeout)
		defer cancel()
		if result, err = f.refresh(ctx); err != nil {
			return nil, fmt.Errorf("trust root %q %w: %w", f.name, ErrUnseen, err)
		}
	}
	return f.use(result)
}

// Cached returns the trust root as it is in the cache, and never asks the
// repository. Without a cache the error wraps [ErrUnseen].
func (f *Follower) Cached() (*trust.Root, error) {
	f.cache.Lock()
	defer f.cache.Unlock()
	result, err := f.cached()
	if err != nil {
		return nil, fmt.Errorf("trust root %q %w: %w", f.name, ErrUnseen, err)
	}
	return f.use(result)
}

func (f *Follower) cached() (*tuf.Result, error) {
	lenient := f.client
	lenient.MaxStale = forEver
	return lenient.Offline()
}

// use makes a trust root of what the repository publishes.
func (f *Follower) use(result *tuf.Result) (*trust.Root, error) {
	root, err := trust.Parse(f.name, result.TrustedRoot)
	if err == nil {
		err = root.Check()
	}
	if err != nil {
		return nil, fmt.Errorf("the TUF repository of trust root %q publishes what cannot be used: %w", f.name, err)
	}
	root.Until = result.Expires.Add(f.maxStale)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last = root
	f.status.Digest, f.status.Expires, f.status.Until = fmt.Sprintf("%x", root.Digest), result.Expires.UTC(), root.Until.UTC()
	return root, nil
}

func (f *Follower) remembered() *trust.Root {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

// refresh asks the repository. Callers hold the cache.
func (f *Follower) refresh(ctx context.Context) (*tuf.Result, error) {
	result, err := f.client.Refresh(ctx)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		f.status.Error = err.Error()
		f.status.Failures++
		return nil, err
	}
	f.status.Error, f.status.Refreshed, f.status.Warnings = "", f.now().UTC(), result.Warnings
	return result, nil
}

func (f *Follower) now() time.Time {
	if f.client.Now != nil {
		return f.client.Now()
	}
	return time.Now()
}

// Status is what became of it.
func (f *Follower) Status() Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status
}

// Run asks the repository now and every hour, until the context ends. What is
// new is in the cache afterwards, where whoever watches its files finds it. told
// gets the status after each attempt.
func (f *Follower) Run(ctx context.Context, told func(Status)) {
	for {
		f.cache.Lock()
		_, err := f.refresh(ctx)
		f.cache.Unlock()
		if ctx.Err() != nil {
			return
		}
		told(f.Status())
		wait := refreshEvery
		if err != nil {
			wait = retryAfter
		}
		timer := time.NewTimer(jittered(wait, rand.Float64()))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// jittered is a time that chance, from 0 to 1, makes shorter or longer.
func jittered(d time.Duration, chance float64) time.Duration {
	return time.Duration(math.Round(float64(d) * (1 - jitter + 2*jitter*chance)))
}
