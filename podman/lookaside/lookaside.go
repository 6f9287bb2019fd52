// Package lookaside answers containers/image's question for signatures with the gate's verdict.
//
// podman, skopeo, buildah and CRI-O ask the lookaside that registries.d names, before they hold an image against policy.json:
//
//	GET /lookaside/<registry host[:port]>/<repository path>@sha256=<hex>/signature-<n>
//
// with n from 1 until there is no more. The registry and the path are the physical ones, where the client really looks; registries.conf may lead
// there from other names. [Handler] asks the [gate.Admitter] about each logical name that leads there, and answers
//
//   - with one countersignature (core/countersign) for each of these names under which the image is admitted, then with what the lookaside holds that
//     was configured before ours (a chained one), then 404;
//   - if it is admitted under none, with a blob that is no signature but the reason. Clients show it, and pull nothing;
//   - where no rule of policy.json demands our signature, only with what the chained lookaside holds.
//
// What can't be decided (the registry is down, a rewrite leads to one place from too many names) is such a reason too, and says so. 404 never stands for a failure.
//
// # Who asks
//
// A request carries no credentials. On loopback, the kernel knows which user's socket is at the other end ([Peers]). The agent's own account and root are answered with the
// agent's credentials for registries; everybody else, by a system's agent, as if there were none: they learn of a private image what the registry tells
// a stranger. A user's own agent answers nobody else.
//
// # Paths
//
// The path is read by the grammar of the distribution specification, as it came, before anything is looked up: no escape, no dot segment, no second
// slash, no query. Methods are GET and HEAD; the Host header must be this machine's, so that no web page can ask by a name of its own.
package lookaside

import (
	"errors"
	"net/http"
	"net/netip"
	"os"
	"time"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/gate"
)

// Prefix is where the handler is mounted. Requests must reach it with their path as it was sent.
const Prefix = "/lookaside/"

// Countersigner makes countersignatures; a countersign.Key is one.
type Countersigner interface {
	// Countersign returns a blob for an image that was admitted now. The repository is the logical name.
	Countersign(repository, digest string, now time.Time) ([]byte, error)
}

// Config is what a [Handler] is made from. Admitter, Key, Logical and Source are required. The functions may be called by many goroutines.
type Config struct {
	Admitter gate.Admitter
	Key      Countersigner
	// Logical gives the names that lead clients to a physical repository, as clients spell them. An error is shown to whoever pulls.
	Logical func(physical string) ([]string, error)
	// Source says how a physical repository is asked for evidence, with the agent's credentials or without any.
	Source func(physical string, withCredentials bool) (attach.Source, error)
	// Required reports whether policy.json demands our signature of a logical name; nil: of every one.
	Required func(logical string) bool
	// Chain gives the lookaside that clients would have asked about a physical repository if ours were not configured: an http, https or file URL. nil: there is none.
	Chain func(physical string) (lookaside string, ok bool)
	// Transport carries the requests to chained lookasides, http.DefaultTransport if nil.
	Transport http.RoundTripper
	// Peer tells whose socket is at the other end of a connection; nil is that of [Peers].
	Peer func(local, remote netip.AddrPort) (uid int, ok bool)
	// User says that this is one user's agent: it answers nobody else.
	User bool
	// Now is the clock, time.Now if nil.
	Now func() time.Time
}

// Handler is the lookaside.
type Handler struct {
	Config
	uid   int // our own
	plans *plans
	chain *chain
}

// New makes a handler.
func New(c Config) (*Handler, error) {
	if c.Admitter == nil || c.Key == nil || c.Logical == nil || c.Source == nil {
		return nil, errors.New("making lookaside: Admitter, Key, Logical and Source are required")
	}
	if c.Required == nil {
		c.Required = func(string) bool { return true }
	}
	if c.Chain == nil {
		c.Chain = func(string) (string, bool) { return "", false }
	}
	if c.Peer == nil {
		c.Peer = new(Peers).UID
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Transport == nil {
		c.Transport = http.DefaultTransport
	}
	return &Handler{Config: c, uid: os.Geteuid(), plans: newPlans(), chain: newChain(c.Transport)}, nil
}
