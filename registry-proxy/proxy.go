// Package registryproxy is a registry proxy that serves only what the policy admits.
//
// It stands in front of one registry and speaks the pull side of the OCI distribution specification 1.1, so every client
// can pull through it: docker, containerd, podman, skopeo, crane, oras and cosign need nothing but another address.
//
//	p, err := registryproxy.New(registryproxy.Config{
//		Upstream: "https://registry.example",
//		Admitter: g, // a *gate.Gate
//	})
//	http.Serve(listener, p.Handler())
//
// What it promises:
//
//   - A tag is resolved once. The bytes that came back are hashed here, exactly those bytes are judged by the
//     [gate.Admitter], and exactly those bytes are served, on GET and HEAD alike. The upstream's headers are not believed.
//   - A manifest that can be read in two ways (CVE-2021-41190), of another type than the four image types, or with a
//     malformed digest anywhere, is never served.
//   - A blob is served only under a manifest of the same repository that is admitted at that moment. It is hashed while it
//     streams, and its end is held back until the digest is confirmed: no complete wrong blob leaves.
//   - Signatures, attestations and SBOMs can be read before there is a verdict, so that clients can verify for themselves;
//     see evidence.go for what passes as such, and why nothing else can dress up as it.
//   - "Refused" is 403 DENIED with the verdict's sentence. "Could not decide" is 503 with Retry-After: an outage is never
//     called unsigned, and never admits.
//   - Nothing of a client's request reaches the upstream but names that passed the grammar; the proxy uses its own
//     credentials, and they never appear in an answer or the log.
//
// It is read-only: those who push and sign talk to the registry itself.
//
// A client must have no other way to the registry: a mirror entry is not enforcement, because podman, skopeo and containerd
// ask the registry itself when a mirror answers 403. The proxy has to be the location (registries.conf) or the server
// (hosts.toml).
//
// The proxy keeps no state that it could not lose. A table of what manifests list (facts, not verdicts) is filled as
// images are pulled. What is missing after a restart, or on another replica, is looked for in the cache, asked of the other
// replicas, and then searched for among the repository's tags; if that does not find it, the answer is 503.
//
// A manifest that was served is remembered, by tag for one second ([tagFresh]) and by digest for ten minutes, but no verdict is: each
// time, the gate is asked about it.
package registryproxy

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/steady"
	"github.com/touchmark/touchmark/registry-proxy/cache"
	"github.com/touchmark/touchmark/registry-proxy/decisions"
	"github.com/touchmark/touchmark/registry-proxy/tracing"
)

// Config says what a [Proxy] fronts and who decides.
type Config struct {
	// Upstream is the registry, scheme://host[:port], http or https. Required.
	Upstream string
	// LogicalName is the registry's name in policies and in ?ns=; by default the upstream's host, docker.io for Docker
	// Hub's many names.
	LogicalName string
	// Admitter decides. Required.
	Admitter gate.Admitter
	// Keychain finds the proxy's own credentials for the upstream; nil is anonymous.
	Keychain authn.Keychain
	// TokenHosts are hosts (host[:port]) of token services that the upstream may send the proxy to, besides itself and
	// those built in for well-known registries.
	TokenHosts []string
	// RootCAs are authorities of the upstream's and its token service's certificates; nil is the system's.
	RootCAs *x509.CertPool
	// PassThrough has the upstream decide who may read what: each request carries the client's own Authorization header, and
	// that alone, to the upstream, and to nobody else. Keychain is not used then.
	PassThrough bool
	// Observe has everything served, whatever the verdict, with a warning in the answer's header.
	Observe bool
	// Fetches bounds how many manifests, and blobs of evidence, are read at once; 0 is 64, which take 256 MiB with the largest manifests, and 512 MiB
	// with the largest evidence.
	Fetches int
	// Rate bounds the requests to the upstream, per second; 0 does not. Those above it wait.
	Rate float64
	// Decisions gets every decision; nil is none.
	Decisions *decisions.Log
	// Tracer has a span for each request to the upstream, in the trace of the request that it is for; nil has none.
	Tracer *tracing.Tracer
	// Metrics counts what happens; nil does not. Several proxies may have one.
	Metrics *Metrics
	// Held bounds the memory of answers; nil is a bound of this proxy's own. Several proxies may have one.
	Held *Held
	// Cache keeps blobs, and what admissions were based on; nil keeps nothing. Several proxies may have one.
	Cache *cache.Cache
	// Offline is how long after the upstream said it, what led to an admission is used again while the upstream cannot be asked; 0 is never. It
	// needs Cache, and cannot be had with PassThrough. See answers.go for the rules.
	Offline time.Duration
	// Peers are the other replicas; nil if there are none.
	Peers Peers
	// Countersigner has the signatures of an admitted image include the proxy's own; nil does not. See countersign.go.
	Countersigner Countersigner
	// CountersignNames are what else clients put before a repository's path than LogicalName, such as the proxy's host name and a prefix.
	CountersignNames []string
	// Transport carries every request to the outside. Nil is one with timeouts that does not dial loopback and link-local
	// addresses unless they are the upstream's.
	Transport http.RoundTripper
	// Logger gets a line per decision and per failure; nil discards them.
	Logger *slog.Logger
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Proxy is a verifying registry proxy. Its methods may be called at the same time.
type Proxy struct {
	registry string // logical name
	upstream *upstream
	admitter gate.Admitter
	observe  bool

	logger    *slog.Logger
	decisions *decisions.Log
	metrics   *Metrics
	held      *Held
	now       func() time.Time

	cache           *cache.Cache // may be nil
	peers           Peers        // may be nil
	table           *table
	recent          *recent
	evidence        *recent // blobs of evidence
	evidenceFlights flights[[]byte]
	fetches         chan struct{}       // see maxFetches
	judging         *Held               // see maxJudged
	searching       *semaphore.Weighted // see walkWorkers
	lists           *semaphore.Weighted // see maxLists
	manifestFlights flights[judged]
	walkFlights     flights[walked]
	countersigned   *countersigned // nil if nothing is
	learnFlights    flights[struct{}]
	fruitless       fruitless // searches for blobs
	sightings       sightings // of blobs

	mu     sync.Mutex
	walks  map[string]walked // by repository
	loaded map[string]bool   // repositories that were read from the cache
}

// builtInTokenHosts are the token services of well-known registries that keep theirs on another host. Most have it on their own:
// ghcr.io, quay.io, gcr.io and *.pkg.dev, public.ecr.aws, *.azurecr.io, registry.k8s.io.
var builtInTokenHosts = map[string]string{
	"docker.elastic.co":         "docker-auth.elastic.co",
	"index.docker.io":           "auth.docker.io",
	"registry-1.docker.io":      "auth.docker.io",
	"registry.digitalocean.com": "api.digitalocean.com",
	"registry.gitlab.com":       "gitlab.com",
}

// New checks the configuration and returns a proxy. It contacts nobody.
func New(c Config) (*Proxy, error) {
	switch {
	case c.Admitter == nil:
		return nil, errors.New("admitter is missing")
	case c.Offline > 0 && c.Cache == nil:
		return nil, errors.New("offline needs a cache")
	case c.Offline > 0 && c.PassThrough:
		return nil, errors.New("offline cannot be had where clients are passed through: nobody could ask what a client may read")
	case c.Offline < 0:
		return nil, errors.New("offline is negative")
	}
	u, err := newUpstream(c)
	if err != nil {
		return nil, err
	}
	registry := c.LogicalName
	if registry == "" {
		registry = u.registry.RegistryStr()
		if builtInTokenHosts[registry] == "auth.docker.io" {
			registry = "docker.io"
		}
	}
	// The gate's own normalisation must leave the name alone, or policies would be asked about another one.
	const probe = "/library/x"
	if full, err := attach.NormalizeRepository(registry + probe); err != nil || full != registry+probe {
		return nil, fmt.Errorf("logical name %q is not a registry's name as policies write it", registry)
	}
	p := &Proxy{
		registry:  registry,
		upstream:  u,
		admitter:  c.Admitter,
		observe:   c.Observe,
		logger:    c.Logger,
		decisions: c.Decisions,
		metrics:   c.Metrics,
		held:      c.Held,
		now:       c.Now,
		cache:     c.Cache,
		peers:     c.Peers,
		table:     newTable(maxTableEntries),
		recent:    newRecent(),
		evidence:  newRecent(),
		fetches:   make(chan struct{}, cmp.Or(max(c.Fetches, 0), maxFetches)),
		judging:   newHeld(maxJudged, maxJudgedLarge),
		lists:     semaphore.NewWeighted(maxLists),
		walks:     map[string]walked{},
		loaded:    map[string]bool{},
	}
	p.searching = semaphore.NewWeighted(max(1, int64(cap(p.fetches)/2)))
	if p.metrics == nil {
		p.metrics = NewMetrics()
	}
	if p.held == nil {
		p.held = NewHeld()
	}
	if p.logger == nil {
		p.logger = slog.New(slog.DiscardHandler)
	}
	if p.now == nil {
		p.now = time.Now
	}
	if c.Countersigner != nil {
		p.countersigned = &countersigned{key: c.Countersigner, names: c.CountersignNames, made: map[string]made{}, parts: map[string]made{}}
	}
	if c.Cache != nil && !c.PassThrough {
		u.answers = &answers{next: u.guard, cache: c.Cache, name: registry, host: u.guard.host, offline: c.Offline, logger: p.logger, now: p.now, steady: steady.New(p.now)}
		u.door = u.answers
	}
	return p, nil
}

func newUpstream(c Config) (*upstream, error) {
	u, err := url.Parse(c.Upstream)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("upstream is not of the form https://host[:port]")
	}
	if u.User != nil || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("upstream holds more than scheme, host and port")
	}
	var opts []name.Option
	if u.Scheme == "http" {
		opts = append(opts, name.Insecure)
	}
	registry, err := name.NewRegistry(strings.ToLower(u.Host), opts...)
	if err != nil {
		return nil, fmt.Errorf("upstream %q: %w", u.Host, err)
	}
	g := &guard{
		scheme:     u.Scheme,
		host:       registry.RegistryStr(),
		tokenHosts: map[string]bool{},
		tracer:     c.Tracer,
		upstream:   c.Transport,
		elsewhere:  c.Transport,
	}
	if host, ok := builtInTokenHosts[g.host]; ok {
		g.tokenHosts[host] = true
	}
	for _, host := range c.TokenHosts {
		g.tokenHosts[host] = true
	}
	if c.Transport == nil {
		g.upstream, g.elsewhere = newTransport(nil, c.RootCAs), newTransport(refuseLocal, c.RootCAs)
	}
	if c.Rate > 0 {
		g.limiter = rate.NewLimiter(rate.Limit(c.Rate), max(1, int(c.Rate)))
	}
	keychain := c.Keychain
	if keychain == nil {
		keychain = anonymous{}
	}
	return &upstream{scheme: u.Scheme, registry: registry, keychain: keychain, guard: g, door: g, passThrough: c.PassThrough, sessions: map[string]*session{}}, nil
}

// anonymous is the keychain of a proxy without credentials.
type anonymous struct{}

// Resolve implements authn.Keychain.
func (anonymous) Resolve(authn.Resource) (authn.Authenticator, error) { return authn.Anonymous, nil }

// Registry is the logical name under which policies are asked about the upstream's repositories.
func (p *Proxy) Registry() string { return p.registry }

// Handler returns the registry API for whoever can reach it; a [Front] also asks who they are. Paths are taken as they were
// sent, so it must not be put behind an http.ServeMux, which cleans them first.
func (p *Proxy) Handler() http.Handler {
	return &Front{mounts: []*Mount{{Proxy: p}}, metrics: p.metrics, logger: p.logger}
}

// serve answers a request that has passed the grammar, the routing and the access rules.
func (p *Proxy) serve(w http.ResponseWriter, r *http.Request, req request) *failure {
	switch req.endpoint {
	case endpointManifest:
		if done, fail := p.serveCountersigned(w, r, req); done {
			return fail
		}
		return p.serveManifest(w, r, req)
	case endpointBlob:
		if p.serveCountersignedBlob(w, r, req) {
			return nil
		}
		return p.serveBlob(w, r, req)
	case endpointTags:
		return p.serveTags(w, r, req)
	default:
		return p.serveReferrers(w, r, req)
	}
}
