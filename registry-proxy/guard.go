package registryproxy

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"golang.org/x/time/rate"

	"github.com/touchmark/touchmark/registry-proxy/tracing"
)

const (
	// maxRedirects is enough for registry -> object storage -> regional endpoint; loops end here.
	maxRedirects = 5
	// maxHandshakeBody bounds the ping's and the token service's answers.
	maxHandshakeBody = 64 << 10
	// maxResponseHeader bounds what an upstream can make us hold per response before its body.
	maxResponseHeader = 64 << 10

	dialTimeout           = 10 * time.Second
	tlsTimeout            = 10 * time.Second
	responseHeaderTimeout = 30 * time.Second
	idleConnTimeout       = 90 * time.Second

	// An HTTP/2 connection on which nothing has come for pingAfter is asked for a sign of life, and given up without one after pingTimeout: together less
	// than responseHeaderTimeout. All requests share it, and it would be used, in vain, until the kernel gives up a quarter of an hour after the other end
	// was lost without a word, as where a balancer is replaced.
	pingAfter   = 15 * time.Second
	pingTimeout = 10 * time.Second

	// maxAhead is how much of a blob an upstream may send by HTTP/2 ahead of a client that does not read, in bytes; net/http's own 4 MiB would let
	// slow clients hold four times as much. At 20 ms to the upstream, one stream gets 400 Mbit/s out of it.
	maxAhead = 1 << 20
)

// errRate says that the upstream would have been asked too often.
var errRate = errors.New("the limit of requests to the upstream registry is used up")

// errRefusedAddress is wrapped by every error about an address that this proxy does not go to.
var errRefusedAddress = errors.New("refused address")

// guard is the one door to the network: every request of this package, of the token handshake and of the search for
// evidence passes it. It decides by host and scheme, so that a registry cannot send the proxy, or its credentials,
// elsewhere:
//
//   - the upstream itself, always under the configured scheme;
//   - a token service that is configured or built in for this upstream, over HTTPS;
//   - where a redirect of a GET or HEAD points, over HTTPS, without Authorization, at most [maxRedirects] times, and not to a
//     loopback or link-local address.
type guard struct {
	scheme, host string // of the upstream, host with its port if the URL has one
	tokenHosts   map[string]bool
	limiter      *rate.Limiter   // of all requests; nil for none
	tracer       *tracing.Tracer // of requests to the upstream; may be nil
	upstream     http.RoundTripper
	elsewhere    http.RoundTripper // refuses loopback and link-local addresses when it dials
}

// RoundTrip implements http.RoundTripper.
func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	if g.limiter != nil {
		if err := g.limiter.Wait(req.Context()); err != nil {
			return nil, fmt.Errorf("%w: %w", errRate, err)
		}
	}
	origin, hops := chain(req)
	if hops > maxRedirects {
		return nil, fmt.Errorf("%w: more than %d redirects", errRefusedAddress, maxRedirects)
	}
	if hops > 0 && req.Method != http.MethodGet && req.Method != http.MethodHead {
		return nil, fmt.Errorf("%w: a request with a body was redirected", errRefusedAddress)
	}
	if req.URL.Host == g.host {
		if req.URL.Scheme != g.scheme {
			if hops > 0 {
				return nil, fmt.Errorf("%w: redirected to %s on a registry that is configured as %s", errRefusedAddress, req.URL.Scheme, g.scheme)
			}
			req = req.Clone(req.Context()) // go-containerregistry's ping tries both schemes where it believes it may
			req.URL.Scheme = g.scheme
		}
		return g.send(traced{g.tracer, g.upstream}, req, origin)
	}
	if req.URL.Scheme != "https" || req.URL.User != nil {
		return nil, fmt.Errorf("%w: %s is not plain https", errRefusedAddress, req.URL.Host)
	}
	if !g.tokenHosts[req.URL.Host] {
		if hops == 0 || origin.URL.Host != g.host {
			return nil, fmt.Errorf("%w: token service %s is not allowed for this upstream", errRefusedAddress, req.URL.Host)
		}
		req = req.Clone(req.Context())
		req.Header.Del("Authorization")
		req.Header.Del("Referer")
	}
	return g.send(g.elsewhere, req, origin)
}

// traced is the way to the upstream, of which spans tell.
type traced struct {
	tracer *tracing.Tracer
	next   http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (t traced) RoundTrip(req *http.Request) (*http.Response, error) {
	return t.tracer.RoundTrip(t.next, req)
}

// send bounds what the handshake reads, and keeps the upstream from choosing the scope of the proxy's tokens: only the
// ping's challenge is heard, and the scope is always ours (pull, of one repository).
func (g *guard) send(next http.RoundTripper, req, origin *http.Request) (*http.Response, error) {
	resp, err := next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	ping := req.URL.Path == "/v2/"
	if origin.URL.Path == "/v2/" || !strings.HasPrefix(origin.URL.Path, "/v2/") {
		resp.Body = limitedBody{io.LimitReader(resp.Body, maxHandshakeBody), resp.Body}
	}
	if resp.StatusCode == http.StatusUnauthorized && !ping {
		bearer := strings.HasPrefix(strings.ToLower(resp.Header.Get("Www-Authenticate")), "bearer ")
		resp.Header.Del("Www-Authenticate")
		if bearer && req.URL.Host == g.host {
			resp.Header.Set("Www-Authenticate", `Bearer error="invalid_token"`) // a reason to renew, and no scope
		}
	}
	return resp, nil
}

type limitedBody struct {
	io.Reader
	io.Closer
}

// chain follows a redirected request back to the one that it began with.
func chain(req *http.Request) (origin *http.Request, hops int) {
	origin = req
	for origin.Response != nil && origin.Response.Request != nil {
		origin = origin.Response.Request
		hops++
	}
	return origin, hops
}

// newTransport makes the transport for one class of hosts. Bodies are asked for and passed on as they are: what is hashed
// must be what was sent.
func newTransport(control func(network, address string, c syscall.RawConn) error, roots *x509.CertPool) *http.Transport {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second, Control: control}
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dialer.DialContext,
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{MaxReceiveBufferPerStream: maxAhead, SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		TLSHandshakeTimeout:    tlsTimeout,
		ResponseHeaderTimeout:  responseHeaderTimeout,
		ExpectContinueTimeout:  time.Second,
		IdleConnTimeout:        idleConnTimeout,
		MaxIdleConnsPerHost:    64,
		MaxResponseHeaderBytes: maxResponseHeader,
		DisableCompression:     true,
	}
}

// refuseLocal runs after the name was resolved and before the connection is made, so that a name that resolves to the
// cloud's metadata service, or to this host, does not get there either. Private ranges stay reachable: registries inside
// a company redirect to object storage inside the company.
func refuseLocal(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %s", errRefusedAddress, address)
	}
	ip := ap.Addr().Unmap()
	if ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip.IsUnspecified() {
		return fmt.Errorf("%w: %s is a local address", errRefusedAddress, ip)
	}
	return nil
}
