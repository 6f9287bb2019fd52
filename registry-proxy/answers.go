package registryproxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/touchmark/touchmark/core/steady"
	"github.com/touchmark/touchmark/registry-proxy/cache"
)

// What the upstream answered while an image was judged (its manifest, lists of referrers, signatures, and that there is nothing at a
// tag) is kept in the cache when the image was admitted, and so is a complete list of tags that a client, or a search, has read. If the operator wants that ([Config.Offline]), these answers are
// given again when the upstream cannot be asked, and never otherwise:
//
//   - The upstream is asked first. Only a connection that fails, a time limit, and a status of 500 and above count as an
//     outage; 401, 403, 404 and 429 are answers. If no connection can be made, it is not tried again for [outageFresh].
//     What clients can bring about is none: a request that takes too long while others are answered, or that was given no time
//     ([patience]), the limit of requests that is used up, and files of which no more may be open.
//   - An answer is given again up to Config.Offline after the upstream gave it. A tag that moves or a signature that is removed
//     during an outage is therefore seen when the outage ends, or when that time does, whichever comes first. Whoever can keep the
//     proxy from reaching its upstream can hold back news for that long; what the policy says holds at once, as always.
//   - Nothing is admitted because it was: the gate judges again, by the policy and trust roots of now, from the evidence of then.
//   - Answers got with the credentials of one client are not kept: there is no offline mode where clients are passed through.

// outageFresh is how long an upstream that could not be reached is not tried again, so that clients don't wait for it.
const outageFresh = 5 * time.Second

// patience is what an upstream must have had for an answer before its silence is an outage: what a client asks for may take all the time that there is
// for it, and the last request for it then has none.
const patience = 5 * time.Second

// headerOffline tells the client that a manifest or a list is the upstream's answer of that time.
const headerOffline = "Touchmark-Offline"

const (
	// maxRecorded bounds what is held in memory for one decision: all that is kept of one image but its layers.
	maxRecorded = 16 << 20
	// maxRecordedAnswers bounds it in number: what attach may ask for, parents included.
	maxRecordedAnswers = 1024
)

// answers is the transport before the guard: it notes what the upstream says, and says it again during an outage.
type answers struct {
	next    http.RoundTripper
	cache   *cache.Cache
	name    string        // the registry's logical name
	host    string        // the upstream's
	offline time.Duration // 0: never
	logger  *slog.Logger
	now     func() time.Time
	steady  *steady.Clock

	heard    atomic.Uint64 // answers of the upstream
	listings listings      // of tags

	mu   sync.Mutex
	down time.Time // until when the upstream is not tried
}

// errOutage says that the upstream could not be reached a moment ago, and that nothing was kept that could be given.
var errOutage = errors.New("the upstream registry could not be reached a moment ago")

// errSlow says that one request took too long, while the upstream answered others or had no time to.
var errSlow = errors.New("the upstream registry did not answer this in time")

// RoundTrip implements http.RoundTripper.
func (a *answers) RoundTrip(req *http.Request) (*http.Response, error) {
	repository, key, ok := a.question(req)
	if a.isDown() {
		return a.again(req, repository, key, ok, errOutage)
	}
	before, start := a.heard.Load(), time.Now() // of the clock that ends contexts
	resp, err := a.next.RoundTrip(req)
	switch {
	case err == nil && req.URL.Host == a.host:
		a.heard.Add(1)
	case err != nil && isTimeout(err) && (a.heard.Load() != before || req.Context().Err() != nil && time.Since(start) < patience):
		err = fmt.Errorf("%w: %w", errSlow, err)
	}
	switch {
	case err != nil && a.offline > 0 && isOutage(req.Context(), err):
		if isUnreachable(err) && req.URL.Host == a.host {
			a.fail(err)
		}
		return a.again(req, repository, key, ok, err)
	case err != nil:
		return nil, err
	}
	resp.Header.Del(headerOffline)
	if ok && a.offline > 0 && resp.StatusCode >= 500 {
		if kept, err := a.again(req, repository, key, ok, errOutage); err == nil {
			resp.Body.Close()
			return kept, nil
		}
	}
	if rec := transcriptOf(req.Context()); ok && rec != nil && req.Method == http.MethodGet {
		rec.listen(resp, cache.Answer{Repository: a.name + "/" + repository, Key: key, At: a.now()})
	}
	return resp, nil
}

// question says what a request of the upstream's API, or one that it redirected, asks for: everything that is kept is GET, and whether a manifest is there
// (HEAD, which the gate asks before it calls one unsigned) follows from that.
func (a *answers) question(req *http.Request) (repository, key string, ok bool) {
	origin, _ := chain(req)
	path, ok := strings.CutPrefix(origin.URL.Path, "/v2/")
	head := origin.Method == http.MethodHead
	if !ok || origin.Method != http.MethodGet && !head || origin.URL.Host != a.host || origin.Header.Get("Range") != "" {
		return "", "", false
	}
	end := strings.LastIndexByte(path, '/') // from the end: a repository's name may hold components such as "manifests" itself
	start := strings.LastIndexByte(path[:max(end, 0)], '/')
	if start <= 0 {
		return "", "", false
	}
	switch kind := path[start+1 : end]; {
	case kind == "manifests", !head && (kind == "referrers" || kind == "blobs"):
		key = path[start+1:]
		if origin.URL.RawQuery != "" {
			key += "?" + origin.URL.RawQuery
		}
		return path[:start], key, true
	}
	return "", "", false
}

// again gives an answer that was kept, or the reason why it is needed.
func (a *answers) again(req *http.Request, repository, key string, ok bool, why error) (*http.Response, error) {
	if !ok || a.offline == 0 {
		return nil, why
	}
	kept, ok := a.cache.Recall(a.name+"/"+repository, key)
	if !ok || a.isOver(kept.At) {
		return nil, why
	}
	resp := &http.Response{
		Status: fmt.Sprintf("%d %s", kept.Status, http.StatusText(kept.Status)), StatusCode: kept.Status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{headerOffline: {kept.At.UTC().Format(time.RFC3339)}},
		Body:   io.NopCloser(bytes.NewReader(kept.Body)), ContentLength: int64(len(kept.Body)), Request: req,
	}
	if req.Method == http.MethodHead {
		resp.Body = http.NoBody
	}
	if kept.ContentType != "" {
		resp.Header.Set("Content-Type", kept.ContentType)
	}
	if kept.Link != "" {
		resp.Header.Set("Link", kept.Link)
	}
	return resp, nil
}

// isOver reports whether an answer of that time is not given any more. Whatever the wall clock is set to, an answer is not given for
// longer; one of a time to come is taken to be as old as it lies ahead.
func (a *answers) isOver(at time.Time) bool {
	return max(a.steady.Now().Sub(at), steady.Age(at, a.now())) > a.offline
}

func (a *answers) isDown() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.now().Before(a.down)
}

// fail notes an outage.
func (a *answers) fail(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.down = a.now().Add(outageFresh)
	a.logger.Warn("the upstream registry cannot be reached; what was admitted before is served from the cache", "registry", a.name, "error", err)
}

// isOutage tells an upstream that is not there from a request that was given up, and from what the guard refuses.
func isOutage(ctx context.Context, err error) bool {
	if errors.Is(context.Cause(ctx), context.Canceled) {
		return false
	}
	for _, ours := range []error{errRefusedAddress, errRate, errSlow, syscall.EMFILE, syscall.ENFILE} {
		if errors.Is(err, ours) {
			return false
		}
	}
	var refused *transport.Error
	var network net.Error
	switch {
	case errors.As(err, &refused):
		return refused.StatusCode >= 500
	case errors.As(err, &network), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, context.DeadlineExceeded), errors.Is(err, errOutage):
		return true
	}
	return false
}

// isUnreachable tells an upstream that does not listen, or not answer, from one that dropped a connection, which the next request need
// not meet.
func isUnreachable(err error) bool {
	var dial *net.OpError
	return errors.As(err, &dial) && dial.Op == "dial" || isTimeout(err)
}

func isTimeout(err error) bool {
	var network net.Error
	return errors.As(err, &network) && network.Timeout()
}

// session is one for an upstream with which no handshake can be made: it has what was kept, and nothing else.
func (a *answers) session(u *upstream) (*session, error) {
	t, err := transport.FromToken(u.registry, authn.Anonymous, keptOnly{a}, &transport.Challenge{}, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errHandshake, err)
	}
	return &session{transport: t, client: &http.Client{Transport: t}}, nil
}

// keptOnly asks nobody.
type keptOnly struct{ *answers }

// RoundTrip implements http.RoundTripper.
func (k keptOnly) RoundTrip(req *http.Request) (*http.Response, error) {
	repository, key, ok := k.question(req)
	return k.again(req, repository, key, ok, errOutage)
}

// transcript gathers the answers that lead to one decision. It travels in the context, because the gate asks for the evidence.
type transcript struct {
	mu   sync.Mutex
	size int
	all  []cache.Answer
}

type transcriptKey struct{}

// recording gives a context in which the upstream's answers are gathered, if they can be kept.
func (p *Proxy) recording(ctx context.Context) (context.Context, *transcript) {
	if p.cache == nil || p.upstream.passThrough {
		return ctx, nil
	}
	rec := &transcript{}
	return context.WithValue(ctx, transcriptKey{}, rec), rec
}

// unrecorded gives a context in which nothing is gathered: all that a search reads would leave no room for what the decision leans on.
func unrecorded(ctx context.Context) context.Context {
	return context.WithValue(ctx, transcriptKey{}, (*transcript)(nil))
}

func transcriptOf(ctx context.Context) *transcript {
	rec, _ := ctx.Value(transcriptKey{}).(*transcript)
	return rec
}

// keep is called when what the answers led to is known and good.
func (t *transcript) keep(c *cache.Cache) {
	if t == nil {
		return
	}
	t.mu.Lock()
	all := t.all
	t.mu.Unlock()
	for _, a := range all {
		c.Keep(a)
	}
}

// keepAlso keeps the answers, and a manifest that was asked for by tag under its digest as well, by which many clients go on.
func (t *transcript) keepAlso(p *Proxy, req request, m manifest) {
	if t == nil {
		return
	}
	if req.tag != "" && m.offline == "" {
		t.add(cache.Answer{
			Repository: p.registry + "/" + req.repository, Key: "manifests/" + m.digest.String(),
			Status: http.StatusOK, ContentType: m.doc.mediaType, At: p.now(), Body: m.bytes,
		})
	}
	t.keep(p.cache)
}

// listen notes an answer once its body was read to the end.
func (t *transcript) listen(resp *http.Response, a cache.Answer) {
	a.Status = resp.StatusCode
	switch resp.StatusCode {
	case http.StatusNotFound:
		t.add(a)
	case http.StatusOK:
		a.ContentType, a.Link = resp.Header.Get("Content-Type"), resp.Header.Get("Link")
		if resp.ContentLength <= cache.MaxAnswer {
			resp.Body = &recordedBody{ReadCloser: resp.Body, rec: t, answer: a}
		}
	}
}

func (t *transcript) add(a cache.Answer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.size+len(a.Body) > maxRecorded || len(t.all) >= maxRecordedAnswers {
		return
	}
	t.size += len(a.Body)
	t.all = append(t.all, a)
}

// recordedBody gathers what is read of a body. One that is too large is not noted.
type recordedBody struct {
	io.ReadCloser
	rec    *transcript
	answer cache.Answer
	done   bool
}

// Read implements io.Reader.
func (b *recordedBody) Read(buf []byte) (int, error) {
	n, err := b.ReadCloser.Read(buf)
	switch {
	case b.done:
	case len(b.answer.Body)+n > cache.MaxAnswer, err != nil && err != io.EOF:
		b.done, b.answer.Body = true, nil
	default:
		b.answer.Body = append(b.answer.Body, buf[:n]...)
		if err == io.EOF {
			b.done = true
			b.rec.add(b.answer)
		}
	}
	return n, err
}
