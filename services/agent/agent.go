// Package agent is the service that decides about images for a whole host, or
// for one user: one policy, one set of trust roots, one cache of verdicts, for
// every enforcement point there.
//
//	recorder := agent.NewRecorder(finder, store, logger)
//	a, err := agent.New(agent.Config{Gate: g, Recorder: recorder, ...})
//	err = a.Run(ctx)
//
// It listens in two places. On a unix socket it answers
//
//	POST /v1/admit             whether an image may run: core/gate/remote
//	GET  /v1/why?image=IMAGE   what was decided about an image
//	GET  /v1/report            what was refused, or would be by enforcing
//	GET  /v1/status            what is in force, and what is wrong
//	GET  /metrics              for Prometheus
//
// and on loopback TCP /healthz and what is mounted there: the lookaside that
// podman, skopeo, buildah and CRI-O ask.
//
// # Who may see what
//
// The kernel says who is at the other end of the socket. The agent's own user
// and root see everything, and their questions are answered with the agent's
// registry credentials. Other users of the host may ask whether an image may run:
// a system's agent answers with no credentials at all, so that nobody learns of
// a private image by it; and what it told them before. A user's own agent tells
// others nothing.
//
// # What may go wrong
//
// A policy or trust root that cannot be used after a change leaves the last good
// one in force; the log, the status and a metric say so until it is repaired.
// Trust roots are followed by TUF in the background; one that ended for good
// makes undecided what needs it, and nothing else. A store that breaks makes the
// agent forget, not decide otherwise.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/gate/reload"
	"github.com/touchmark/touchmark/core/gate/remote"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/trust/follow"
	"github.com/touchmark/touchmark/services/agent/store"
)

const (
	// readHeaderTimeout ends connections that send their headers byte by byte.
	readHeaderTimeout = 5 * time.Second
	// readTimeout is for a whole question, of a few hundred bytes.
	readTimeout = 10 * time.Second
	// writeTimeout is for a whole answer, and the decision before it: eight seconds
	// for each logical name that a lookaside's image may have.
	writeTimeout = time.Minute
	idleTimeout  = 30 * time.Second
	// drainTimeout is how long questions under way may take after the order to
	// stop: a decision, and its answer.
	drainTimeout = 10 * time.Second
	// maxHeader bounds a request's headers, in bytes; real ones have 300.
	maxHeader = 8 << 10
)

// Config is what an [Agent] is made from. Gate, Recorder, Set, Load, Source and
// Listeners are required.
type Config struct {
	// Gate's rules are kept those of Files, which Load reads anew. Set is what it
	// was made from, and Seen how the files were before that; see [reload.Look].
	Gate  *gate.Gate
	Set   *policy.Set
	Files []string
	Seen  reload.State
	Load  func(context.Context) (*policy.Set, []*trust.Root, error)
	// Recorder answers. What it asks leads to Gate in the end.
	Recorder *Recorder
	// Source says where evidence is looked for beside a physical repository, with
	// the agent's registry credentials or without any.
	Source func(physical string, withCredentials bool) (attach.Source, error)
	// Clients decide, in the place of Recorder and Source, what the clients of these
	// names ask; their verdicts are recorded all the same. It is for clients that say
	// nothing of where they look: physical is the repository as the client calls it.
	Clients map[string]func(ctx context.Context, req gate.Request, physical string, withCredentials bool) gate.Verdict
	// Observing are those clients of which Clients admits everything, in words for
	// the status.
	Observing []string
	// Followers are the trust roots that are followed by TUF, among those that Load
	// gives.
	Followers []*follow.Follower
	Further   []Further
	// Parts run as long as the agent does.
	Parts     []Part
	Listeners Listeners
	// Mounts are served on loopback, by the path that they begin with. Their
	// handlers see the path as it was sent.
	Mounts map[string]http.Handler
	Store  *store.Store // may be nil
	Logger *slog.Logger // nil discards
	// Version is the program's, for the status.
	Version string
	// Key is the fingerprint of the key that the agent countersigns with, for the
	// status; "" for none.
	Key string
	// Peer tells which user's socket is at the other end of a connection on
	// loopback, so that one user cannot have all of them; nil knows nobody.
	Peer func(local, remote netip.AddrPort) (uid int, ok bool)
	// User says that this is one user's agent: it answers nobody else.
	User bool
}

// Agent is the service.
type Agent struct {
	config   Config
	logger   *slog.Logger
	watcher  *reload.Watcher
	further  []*further
	registry *prometheus.Registry
	uid      int // our own
	started  time.Time
}

// New makes an agent. Nothing is served before [Agent.Run].
func New(c Config) (*Agent, error) {
	if c.Gate == nil || c.Recorder == nil || c.Set == nil || c.Load == nil || c.Source == nil || c.Listeners.Socket == nil {
		return nil, errors.New("making agent: Gate, Recorder, Set, Load, Source and Listeners.Socket are required")
	}
	a := &Agent{config: c, logger: c.Logger, uid: os.Geteuid(), started: time.Now()}
	if a.logger == nil {
		a.logger = slog.New(slog.DiscardHandler)
	}
	a.watcher = reload.New(reload.Config{
		Gate: c.Gate, Set: c.Set, Files: c.Files, Seen: c.Seen, Load: c.Load, Changed: a.logReload,
		Notice: func(n policy.Notice) { a.logger.Warn(n.Text, "kind", n.Kind, "image", n.Image, "days", n.Days) },
	})
	for _, f := range c.Further {
		a.further = append(a.further, newFurther(f, a.started))
	}
	a.registry = a.newRegistry()
	return a, nil
}

// logReload says what came of a change of the policy or a trust root.
func (a *Agent) logReload(s reload.Status) {
	if s.Err != nil {
		a.logger.Error("the changed policy or trust root cannot be used; the last good one stays in force", "error", s.Err, "enforced since", s.Enforced)
		return
	}
	a.logger.Info("policy and trust roots were read again", "policy digest", fmt.Sprintf("%x", s.Set.Digest))
}

// Run serves until the context ends, and then waits for questions under way, up
// to ten seconds. The listeners are closed when it returns.
func (a *Agent) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var background sync.WaitGroup
	defer background.Wait()
	defer stop()
	background.Go(func() { _ = a.watcher.Run(ctx) }) // ends with the context
	for _, f := range a.further {
		background.Go(func() { f.run(ctx, a.logger) })
	}
	for _, p := range a.config.Parts {
		background.Go(func() { p.Run(ctx) })
	}
	for _, f := range a.config.Followers {
		background.Go(func() { f.Run(ctx, a.logFollower) })
	}
	servers := []*http.Server{a.server(a.socketHandler())}
	listeners := []net.Listener{a.config.Listeners.Socket}
	if a.config.Listeners.Loopback != nil {
		servers = append(servers, a.server(a.loopbackHandler()))
		listeners = append(listeners, a.config.Listeners.Loopback)
	}
	failed := make(chan error, len(servers))
	for i, s := range servers {
		background.Go(func() {
			if err := s.Serve(limit(listeners[i], a.peerOf, a.owns)); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("serving %s: %w", listeners[i].Addr(), err)
			}
		})
	}
	a.logger.Info("agent is ready", "socket", a.config.Listeners.Socket.Addr().String(), "loopback", a.config.Listeners.loopbackAddr(),
		"policy digest", fmt.Sprintf("%x", a.config.Set.Digest), "enforcing", a.Status().Enforcing)
	background.Go(func() { a.tellManager(ctx) })
	var err error
	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	for _, s := range servers {
		if e := s.Shutdown(drain); e != nil {
			err = errors.Join(err, fmt.Errorf("waiting for questions under way: %w", e), s.Close())
		}
	}
	return err
}

func (a *Agent) server(h http.Handler) *http.Server {
	return &http.Server{
		Handler: h, ConnContext: remote.ConnContext, ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout,
		WriteTimeout: writeTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(a.logger.Handler(), slog.LevelWarn),
	}
}

// logFollower says what came of following a trust root.
func (a *Agent) logFollower(status follow.Status) {
	level, message, attributes := status.Line()
	a.logger.Log(context.Background(), level, message, attributes...)
}
