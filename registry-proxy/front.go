package registryproxy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/loopback"
	"github.com/touchmark/touchmark/registry-proxy/auth"
	"github.com/touchmark/touchmark/registry-proxy/tracing"
)

// Mount is a registry at a [Front], and how clients address it. ?ns= with the registry's logical name always does.
type Mount struct {
	*Proxy
	// Hosts are host names, such as hub.example, which stands for all its ports, or hub.example:5443, which comes before it.
	Hosts []string
	// Prefix is what repositories' names begin with: with "hub", clients say <proxy>/hub/library/alpine.
	Prefix string
}

// FrontConfig says what is fronted, and who may ask.
type FrontConfig struct {
	// Mounts are the registries. One that is alone and has neither hosts nor a prefix is addressed by nothing in particular.
	Mounts []*Mount
	// Clients identifies clients; nil lets everybody read everything.
	Clients *auth.Clients
	// OnlyNames has requests refused that are for a host other than Names, the mounts' hosts, localhost and IP addresses.
	OnlyNames bool
	// Names are what clients call this address, HOST or HOST:PORT; the port does not count.
	Names []string
	// Balancers are those whose X-Forwarded-For says what address a client has.
	Balancers Balancers
	// Page is served at / to those who may see it; nil is none.
	Page http.Handler
	// Metrics counts requests; nil does not.
	Metrics *Metrics
	// Tracer has a span for each request; nil has none.
	Tracer *tracing.Tracer
	// Logger gets a line per failure; nil discards them.
	Logger *slog.Logger
}

// Front is the registry API in front of one or many registries: it says who asks, for which registry, and whether they may.
// It is an http.Handler. Paths are taken as they were sent, so it must not be put behind an http.ServeMux.
type Front struct {
	mounts    []*Mount
	clients   *auth.Clients
	onlyNames bool
	names     map[string]bool // without ports
	balancers Balancers
	page      http.Handler
	metrics   *Metrics
	tracer    *tracing.Tracer // may be nil
	logger    *slog.Logger
}

// NewFront checks that every registry can be addressed, and none in the place of another.
func NewFront(c FrontConfig) (*Front, error) {
	f := &Front{mounts: c.Mounts, clients: c.Clients, onlyNames: c.OnlyNames, names: ownNames(c.Names, c.Mounts), balancers: c.Balancers, page: c.Page, metrics: c.Metrics, tracer: c.Tracer, logger: c.Logger}
	if f.metrics == nil {
		f.metrics = NewMetrics()
	}
	if f.logger == nil {
		f.logger = slog.New(slog.DiscardHandler)
	}
	if len(f.mounts) == 0 {
		return nil, errors.New("registries: is empty")
	}
	var addresses []Address
	for _, m := range f.mounts {
		addresses = append(addresses, Address{Registry: m.registry, Hosts: m.Hosts, Prefix: m.Prefix, PassThrough: m.upstream.passThrough})
	}
	if field, err := CheckAddresses(addresses); err != nil {
		return nil, fmt.Errorf("%s: %w", field, err)
	}
	return f, nil
}

// alone reports whether everything goes to one registry, without an address of its own.
func (f *Front) alone() bool {
	return len(f.mounts) == 1 && len(f.mounts[0].Hosts) == 0 && f.mounts[0].Prefix == ""
}

// maxHeaderBytes bounds a request's header: an identity token of 16 KiB fits in. net/http's own limit, above it, answers
// without the registry's error shape.
const maxHeaderBytes = 24 << 10

// ServeHTTP implements http.Handler.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	f.metrics.running.Inc()
	out := &statusWriter{ResponseWriter: w, status: http.StatusOK}
	var a answering
	r, span := f.tracer.Start(f.balancers.sent(r))
	defer func() {
		span.End(a.req.endpoint.String(), out.status)
		f.metrics.running.Dec()
		f.metrics.answered(a.req.endpoint, out.status, time.Since(start))
	}()
	out.Header().Set("Docker-Distribution-API-Version", "registry/2.0")
	out.Header().Set("X-Content-Type-Options", "nosniff")
	// A client that does not read its answer must not hold it in memory for ever; blobs extend this as they flow.
	_ = http.NewResponseController(w).SetWriteDeadline(start.Add(fetchTimeout + walkTimeout + stallTimeout))
	fail := f.serve(out, r, &a)
	if fail == nil {
		return
	}
	if fail.detail == nil { // a verdict has its own line
		f.logFailure(r, fail, a.caller.Who)
	}
	if a.mount != nil {
		f.metrics.failed(a.mount.registry, fail)
	}
	if !a.caller.Details {
		fail = fail.redacted()
	}
	fail.write(out)
}

// answering is what is known of a request as far as it got.
type answering struct {
	caller auth.Caller
	mount  *Mount
	req    request
}

func (f *Front) serve(w http.ResponseWriter, r *http.Request, a *answering) *failure {
	if headerSize(r) > maxHeaderBytes {
		return &failure{status: http.StatusRequestHeaderFieldsTooLarge, code: codeUnsupported, message: "the request's header is larger than this proxy reads"}
	}
	if fail := f.misdirected(r); fail != nil {
		return fail
	}
	if !readOnly(r.Method) {
		return &failure{status: http.StatusMethodNotAllowed, code: codeUnsupported, message: "this proxy is read-only: push and sign at the registry itself"}
	}
	if r.ContentLength != 0 || len(r.TransferEncoding) > 0 {
		w.Header().Set("Connection", "close") // what follows may be read as another request by somebody on the way
		return invalid(codeUnsupported, "the request has a body: nothing that is read here wants one")
	}
	var fail *failure
	if f.page == nil || strings.HasPrefix(r.URL.Path, "/v2") {
		if a.req, fail = parseRequest(r.URL); fail != nil {
			return fail
		}
		if a.mount, fail = f.route(r.Host, &a.req); fail != nil {
			return fail
		}
	}
	if a.caller, fail = f.identify(r, a.mount, a.req); fail != nil {
		return fail
	}
	switch {
	case a.mount == nil && !strings.HasPrefix(r.URL.Path, "/v2"):
		return f.servePage(w, r, a.caller)
	case a.req.endpoint == endpointBase:
		if a.mount != nil && a.mount.upstream.passThrough {
			if fail := a.mount.ping(a.mount.withCaller(r, a.caller).Context()); fail != nil {
				return fail
			}
		}
		return writeJSON(w, r, nil, "application/json", struct{}{})
	}
	if !a.caller.MayRead(a.mount.registry + "/" + a.req.repository) {
		return f.mayNot(a.caller)
	}
	if a.req.namespace != "" {
		w.Header().Set("OCI-Namespace", a.req.namespace)
	}
	r = a.mount.withCaller(r, a.caller)
	return a.mount.asTold(r.Context(), a.req, a.mount.serve(w, r, a.req))
}

// route finds the registry that a request is for: by its host name, by the beginning of the repository's name, by ?ns=. Where
// several say something they must agree, so that nobody is answered about another registry's image than the one named. Where clients
// are passed through only the host name counts: at any other, their credentials are this proxy's, and must not get to the upstream.
func (f *Front) route(host string, req *request) (*Mount, *failure) {
	m := f.addressed(host, req)
	if req.namespace != "" {
		named := f.named(req.namespace)
		switch {
		case named == nil:
			return nil, invalid(codeUnsupported, "ns names a registry that this proxy does not front")
		case m != nil && m != named:
			return nil, invalid(codeUnsupported, "ns names another registry than the address")
		}
		m = named
	}
	if m != nil && m.upstream.passThrough && !f.alone() && f.hosted(host) != m {
		return nil, invalid(codeUnsupported, "clients of this registry are passed through to it: it is addressed by its own host name, for which they have its credentials")
	}
	if m == nil && req.endpoint != endpointBase {
		return nil, notFound(codeNameUnknown, "this address stands for no registry: name one by ?ns=, by its host name or by its prefix, as touchmark client-config shows")
	}
	if m != nil && m.registry == "docker.io" && req.endpoint != endpointBase && !strings.Contains(req.repository, "/") {
		req.repository = "library/" + req.repository // as the gate and Docker Hub name official images
	}
	return m, nil
}

// addressed is the registry that host or prefix stand for. The prefix is taken off the repository's name.
func (f *Front) addressed(host string, req *request) *Mount {
	if f.alone() {
		return f.mounts[0]
	}
	if m := f.hosted(host); m != nil {
		return m
	}
	var found *Mount
	for _, m := range f.mounts {
		if m.Prefix != "" && strings.HasPrefix(req.repository, m.Prefix+"/") && (found == nil || len(m.Prefix) > len(found.Prefix)) {
			found = m
		}
	}
	if found != nil {
		req.repository = strings.TrimPrefix(req.repository, found.Prefix+"/")
	}
	return found
}

// hosted is the registry that a Host header stands for: one that has it with its port, else one that has it without.
func (f *Front) hosted(header string) *Mount {
	host, with := loopback.Hostname(header), strings.ToLower(header)
	if _, port, err := net.SplitHostPort(header); err == nil {
		with = net.JoinHostPort(host, port)
	}
	for _, host := range []string{with, host} {
		for _, m := range f.mounts {
			if slices.Contains(m.Hosts, host) {
				return m
			}
		}
	}
	return nil
}

func (f *Front) named(registry string) *Mount {
	for _, m := range f.mounts {
		if m.registry == registry {
			return m
		}
	}
	return nil
}

// identify says who asks. Where clients are passed through, their Authorization is the upstream's to judge.
func (f *Front) identify(r *http.Request, m *Mount, req request) (auth.Caller, *failure) {
	if f.clients == nil {
		return auth.Trusted(), nil
	}
	if m != nil && m.upstream.passThrough {
		if len(r.Header.Values("Authorization")) > 1 {
			return auth.Caller{}, invalid(codeUnsupported, "there are two Authorization headers")
		}
		return f.clients.PassedThrough(r), nil
	}
	caller, err := f.clients.Identify(r)
	switch {
	case errors.Is(err, auth.ErrTooMany):
		return auth.Caller{}, &failure{status: http.StatusTooManyRequests, code: codeTooMany, message: "too many logins from your address wait to be checked; try again soon", cause: err}
	case errors.Is(err, auth.ErrUnavailable):
		return auth.Caller{}, unavailable("who you are could not be found out; nothing was decided", err)
	case err != nil, req.endpoint == endpointBase && caller.Who == "" && f.clients.MustAsk(r):
		fail := unauthorized(f.clients.Challenge())
		fail.cause = err
		return auth.Caller{}, fail
	}
	return caller, nil
}

// mayNot is the answer to those who may not read a repository: a challenge, as long as they have no name. It says nothing of
// whether there is such a repository.
func (f *Front) mayNot(c auth.Caller) *failure {
	if challenge := f.clients.Challenge(); c.Who == "" && challenge != "" {
		return unauthorized(challenge)
	}
	return &failure{status: http.StatusForbidden, code: codeDenied, message: "this proxy does not let you read that repository; nothing was decided about any signature"}
}

// servePage shows the page for people.
func (f *Front) servePage(w http.ResponseWriter, r *http.Request, c auth.Caller) *failure {
	if !c.MaySeePage() {
		fail := f.mayNot(c)
		if fail.status == http.StatusForbidden {
			fail.message = "this page is for those whom a rule of auth.access with page: true names; where there are no rules, for all who have a name"
		}
		return fail
	}
	f.page.ServeHTTP(w, r)
	return nil
}

// headerSize is what a request's header took on the wire. The request line has limits of its own.
func headerSize(r *http.Request) int {
	n := 0
	for key, values := range r.Header {
		for _, v := range values {
			n += len(key) + len(v) + len(": \r\n")
		}
	}
	return n
}

// redacted leaves of a verdict what was decided, and not what the policy is and who signs for it: who has no name may know
// that, and not more.
func (f *failure) redacted() *failure {
	if f.detail == nil {
		return f
	}
	out := *f
	var v struct {
		Outcome    gate.Outcome `json:"outcome"`
		Code       gate.Code    `json:"code"`
		Reason     string       `json:"reason"`
		Repository string       `json:"repository"`
		Digest     string       `json:"digest"`
	}
	out.detail = nil
	if json.Unmarshal(f.detail, &v) == nil {
		out.detail, _ = json.Marshal(v) // five strings
	}
	return &out
}

// statusWriter notes the status.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (s *statusWriter) WriteHeader(status int) {
	s.status = status
	s.ResponseWriter.WriteHeader(status)
}

// ReadFrom implements io.ReaderFrom, with which files are sent without being copied.
func (s *statusWriter) ReadFrom(r io.Reader) (int64, error) { return io.Copy(s.ResponseWriter, r) }

// Unwrap gives http.ResponseController the writer below.
func (s *statusWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }
