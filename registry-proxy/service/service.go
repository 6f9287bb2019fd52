// Package service runs registry proxies as a configuration says: in front of one
// or many registries, on one address, with metrics and health on another.
//
//	s, err := service.New(ctx, service.Config{Read: read, Load: load, Logger: logger})
//	err = s.Run(ctx)
//
// All files are looked at every few seconds. When they have changed everything is
// made anew from them, beside what runs, and then put in its place: requests under
// way end as they began. If anything in them cannot be used nothing changes, and
// the log and a metric say so until it can; but a configuration that names a trust
// root of which nothing was seen yet waits alone, and policies and users do not.
// Registries whose part of the configuration is as before keep what they know.
package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/touchmark/touchmark/core/gate/reload"
	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/trust/follow"
	registryproxy "github.com/touchmark/touchmark/registry-proxy"
	"github.com/touchmark/touchmark/registry-proxy/config"
	"github.com/touchmark/touchmark/registry-proxy/decisions"
)

// Config says where everything comes from. All of it but Keys, Logger and Ready is
// required.
type Config struct {
	// Read reads the configuration; a second time and more often, too.
	Read func() (*config.Config, error)
	// Load reads policies, a file or a directory, and returns them with the trust roots
	// given, and further ones that they need.
	Load func(ctx context.Context, policy string, roots []*trust.Root) (*policy.Set, []*trust.Root, error)
	// Keys says how a key to countersign with is opened that lies elsewhere.
	Keys keys.Options
	// Logger gets what happens; nil discards it.
	Logger *slog.Logger
	// Ready is called, if it is not nil, when requests are answered.
	Ready func()
}

// Service is a running proxy.
type Service struct {
	config    Config
	logger    *slog.Logger
	metrics   *registryproxy.Metrics
	held      *registryproxy.Held
	decisions *decisions.Log
	server    *server
	admin     *server // nil if there is none
	kept      *kept

	world    atomic.Pointer[world]
	draining atomic.Bool

	unseenAgain time.Duration // see [unseenAgain]

	mu        sync.Mutex
	failed    error // of the last reload; guarded by mu
	announced map[policy.Notice]bool
}

// New reads everything, and listens. The error names the file and the field, or the
// address ([ErrListen]), or a trust root that could not be had yet ([follow.ErrUnseen]).
func New(ctx context.Context, c Config) (*Service, error) {
	s := &Service{config: c, logger: c.Logger, metrics: registryproxy.NewMetrics(), held: registryproxy.NewHeld(), unseenAgain: unseenAgain, announced: map[policy.Notice]bool{}}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	conf, err := c.Read()
	if err != nil {
		return nil, err
	}
	s.decisions, err = decisions.Open(decisions.Config{File: conf.Decisions, Changed: s.logDecisions})
	if err != nil {
		return nil, err
	}
	if s.kept, err = openKept(ctx, conf, c.Keys, s.holders, s.logger); err != nil {
		s.decisions.Close()
		return nil, err
	}
	w, err := s.build(ctx, conf, nil)
	if err == nil {
		s.world.Store(w)
		err = s.listen(conf)
	}
	if err != nil {
		s.decisions.Close()
		return nil, errors.Join(err, s.kept.close())
	}
	return s, nil
}

// listen opens the listeners.
func (s *Service) listen(conf *config.Config) (err error) {
	front := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.world.Load().front.ServeHTTP(w, r) })
	if s.server, err = listen(conf.Listen, conf.TLS, front, s.logger); err != nil {
		return err
	}
	if conf.Metrics != "" {
		if s.admin, err = listen(conf.Metrics, config.TLS{}, s.adminHandler(conf.Metrics), s.logger); err != nil {
			return errors.Join(fmt.Errorf("metrics: %w", err), s.server.Close())
		}
	}
	return nil
}

// URL is where registries are served.
func (s *Service) URL() string { return s.server.URL() }

// MetricsURL is where metrics and health are served; empty if they are not.
func (s *Service) MetricsURL() string {
	if s.admin == nil {
		return ""
	}
	return s.admin.URL()
}

// Registries are the logical names of what is fronted.
func (s *Service) Registries() []string { return s.world.Load().names }

// Run answers requests until ctx ends, and then waits for those under way, up to
// [DrainTimeout]. It ends with an error if one of its listeners does.
func (s *Service) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx) // which ends if a listener does
	watch, stop := context.WithCancel(ctx)
	defer stop()
	// The page about the proxy's health outlives the proxy, so that it can be seen to stop.
	admin, stopAdmin := context.WithCancel(context.WithoutCancel(ctx))
	defer stopAdmin()
	if s.admin != nil {
		group.Go(func() error { return s.admin.Serve(admin, nil) })
	}
	group.Go(func() error {
		s.watch(watch)
		return nil
	})
	group.Go(func() error { return s.kept.serve(watch) })
	if s.config.Ready != nil {
		s.config.Ready()
	}
	err := s.server.Serve(ctx, func() { s.draining.Store(true) })
	stop()
	stopAdmin()
	err = errors.Join(err, group.Wait(), s.kept.close())
	s.decisions.Close()
	return err
}

// watch reloads when files have changed, and keeps trust roots followed, until ctx ends.
func (s *Service) watch(ctx context.Context) {
	roots := following{told: s.logFollower, running: map[*followed]context.CancelFunc{}}
	defer roots.end()
	for ctx.Err() == nil {
		w := s.world.Load()
		roots.keep(ctx, w)
		round, next := context.WithCancel(ctx)
		_ = reload.Watch(round, w.files, w.seen, s.announce, func(ctx context.Context) {
			err := s.reload(ctx)
			switch {
			case errors.Is(err, follow.ErrUnseen):
				time.AfterFunc(s.unseenAgain, next) // no file will change
			case s.world.Load() != w:
				next() // other files may be named now
			}
		}) // ends with its context
		next()
	}
}

// unseenAgain is how soon changed files are looked at again that name a trust root which
// could not be had: as often as one is asked for that was seen before.
const unseenAgain = 5 * time.Minute

// reload makes everything anew from the files. What cannot be used changes nothing, and is
// returned.
func (s *Service) reload(ctx context.Context) error {
	err := s.renew(ctx)
	s.mu.Lock()
	s.failed = err
	s.mu.Unlock()
	if err != nil {
		s.logger.Error("the changed files cannot be used; what was read before stays in force", "error", err)
	}
	return err
}

// renew reads the configuration again, and puts it in force. A revocation must not wait
// for the repository of a trust root that was never seen: while a changed configuration
// does, the one before stays, and the other files are what that one makes of them now.
func (s *Service) renew(ctx context.Context) error {
	before := s.world.Load()
	conf, err := s.config.Read()
	if err != nil {
		return err
	}
	if field := fixed(before.conf, conf); field != "" {
		return fmt.Errorf("%s: %s: takes a restart to change; nothing else of the file is in force before that either", conf.File, field)
	}
	if err := s.kept.own(conf); err != nil {
		return err
	}
	err = s.put(ctx, conf, before)
	if errors.Is(err, follow.ErrUnseen) && conf.Digest != before.conf.Digest && s.put(ctx, before.conf, before) == nil {
		s.logger.Warn("the configuration before stays in force until the trust root is seen; all other files were read again")
	}
	return err
}

// put makes everything anew for a configuration, and puts it in force.
func (s *Service) put(ctx context.Context, conf *config.Config, before *world) error {
	w, err := s.build(ctx, conf, before)
	if err != nil {
		return err
	}
	if err := s.server.renewClients(conf.TLS); err != nil {
		return err
	}
	if err := w.enforce(); err != nil {
		return err
	}
	if conf == before.conf {
		w.seen = reload.State{} // another configuration waits, and is tried again though no file changes
	}
	s.world.Store(w)
	for _, r := range w.rules {
		s.logger.Info("configuration, policy and trust roots were read again", "policy", r.policy, "policy digest", fmt.Sprintf("%x", r.set.Digest))
	}
	return nil
}

// fixed names what is other than before and belongs to the process.
func fixed(before, now *config.Config) string {
	switch {
	case before.Listen != now.Listen:
		return "listen"
	case before.TLS.Cert != now.TLS.Cert || before.TLS.Key != now.TLS.Key:
		return "tls" // the files' content may change at any time
	case before.Metrics != now.Metrics:
		return "metrics"
	case before.Decisions != now.Decisions:
		return "decisions"
	case before.Tracing != now.Tracing:
		return "tracing"
	case before.Cache != now.Cache:
		return "cache"
	case fmt.Sprint(before.Countersign) != fmt.Sprint(now.Countersign):
		return "countersign"
	case before.State != now.State && len(before.Followed()) > 0: // what it holds would be left behind
		return "state"
	case before.Offline != now.Offline:
		return "offline"
	case fmt.Sprint(before.Peers) != fmt.Sprint(now.Peers):
		return "peers"
	}
	return ""
}

// announce logs each notice of the policies in force once: an exception that ends, a
// pin to be reviewed.
func (s *Service) announce() {
	due := make(map[policy.Notice]bool)
	for _, r := range s.world.Load().rules {
		for _, n := range r.set.Enforcement.Notices(time.Now()) {
			if due[n] {
				continue
			}
			due[n] = true
			if !s.announced[n] {
				s.logger.Warn(n.Text, "kind", n.Kind, "image", n.Image, "days", n.Days)
			}
		}
	}
	s.announced = due
}

func (s *Service) logDecisions(err error) {
	if err != nil {
		s.logger.Error("decisions cannot be written", "error", err)
		return
	}
	s.logger.Info("decisions are written again")
}
