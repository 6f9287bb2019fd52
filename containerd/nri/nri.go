// Package nri refuses containers of images that are not admitted, at their creation, as a
// plugin of containerd's NRI (Node Resource Interface).
//
//	p := nri.New(nri.Config{Socket: "/run/nri/nri.sock", Decide: decide})
//	p.Run(ctx) // connects, again and again
//
// Image verifiers are asked about pulls by the transfer service. What came by another way
// (imported, pulled by "ctr --local" or by CRI's own pulls, pulled before there was a
// policy), and what a name leads to by now, is seen here: CRI asks before it makes a
// container of a pod, with the digest of the very image that the container is made
// from. It is judged under the name that the pod asked for.
//
// # Fails closed, if containerd is told so
//
// NRI lets containers through when a plugin goes away. That is closed by both of:
//
//   - required_plugins of NRI's default validator, in containerd's configuration, has
//     [Name]. Without it, everything is created while the agent is down.
//   - The plugin is asked twice: at the creation, with an error that a pod's event shows,
//     and as a validator. containerd 2.4.2 (NRI 0.12.3) counts a plugin as present that
//     dies or stalls in the middle of a request, and so lets one container through
//     after each; a validator that does not answer fails the request. From NRI 0.12.5
//     on, the failure policy that the plugin asks for does the same.
//
// Containers that exist are left alone, whatever happens to the agent.
//
// # What it does not see
//
// Containers of other clients than CRI (ctr, nerdctl, Docker), the sandbox (pause)
// container of a pod, and images that are mounted as volumes.
package nri

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/containerd/nri/pkg/api"

	"github.com/touchmark/touchmark/core/gate"
)

const (
	// Name is what the plugin registers as, and what required_plugins has.
	Name = "touchmark"
	// Index orders plugins: ours is asked first, since what is refused needs no one
	// else's adjustments.
	Index = "00"
)

// Config is what a [Plugin] works with. Socket and Decide are required.
type Config struct {
	Socket string
	// Decide judges an image of this node. repository is its repository as containerd
	// writes it; the request's Source is left to Decide. The context's deadline is below
	// NRI's.
	Decide func(ctx context.Context, req gate.Request, repository string) gate.Verdict
	Logger *slog.Logger // nil discards
	Now    func() time.Time
}

// Plugin is the plugin. Its exported methods may be called by many goroutines.
type Plugin struct {
	config Config
	logger *slog.Logger

	mu     sync.Mutex
	status Status
	passed *passed       // the container that was admitted last
	limit  time.Duration // how long NRI waits for an answer
}

// Status says how a plugin is.
type Status struct {
	// Connected says that containerd asks the plugin.
	Connected bool
	Since     time.Time // of Connected being as it is
	// Error says why it is not connected.
	Error string
	// Runtime is containerd and its version, as of the last connection.
	Runtime           string
	Admitted, Refused uint64 // containers; what is undecided counts as refused
}

// passed is a container that was admitted and has to be validated.
type passed struct{ id, digest string }

// New makes a plugin. It is not connected before [Plugin.Run].
func New(c Config) *Plugin {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Plugin{config: c, logger: c.Logger, limit: api.DefaultPluginRequestTimeout, status: Status{Since: c.Now(), Error: "it was not connected yet"}}
}

// Status returns how the plugin is.
func (p *Plugin) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status
}

// connected notes that containerd asks us from now on, or, with an error, why not.
func (p *Plugin) connected(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	was := p.status
	p.status.Connected, p.status.Error = err == nil, ""
	if err != nil {
		p.status.Error = err.Error()
	}
	if p.status.Connected != was.Connected {
		p.status.Since = p.config.Now()
	}
	switch {
	case err == nil:
		p.logger.Info("containerd asks about containers by NRI", "socket", p.config.Socket, "runtime", p.status.Runtime)
	case was.Connected || was.Error != p.status.Error:
		p.logger.Error("containerd does not ask about containers; with required_plugins it starts none, without it all", "socket", p.config.Socket, "error", err)
	}
}
