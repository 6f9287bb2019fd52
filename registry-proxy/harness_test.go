package registryproxy

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	ggcrregistry "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/gate"
)

// script is an Admitter whose answers the test writes: what is signed, and what fails.
type script struct {
	mu      sync.Mutex
	signed  map[string]bool
	verdict map[string]gate.Verdict // overrides, by digest
	asked   []gate.Request
	block   chan struct{} // if set, every question waits for it
}

func (s *script) sign(digests ...v1.Hash) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.signed == nil {
		s.signed = map[string]bool{}
	}
	for _, d := range digests {
		s.signed[d.String()] = true
	}
}

func (s *script) revoke(d v1.Hash) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.signed, d.String())
}

func (s *script) answer(d v1.Hash, v gate.Verdict) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.verdict == nil {
		s.verdict = map[string]gate.Verdict{}
	}
	s.verdict[d.String()] = v
}

func (s *script) questions() []gate.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]gate.Request(nil), s.asked...)
}

// forget drops the questions that were asked: there may be a million.
func (s *script) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = nil
}

const unsignedReason = "no signature was found; policy release wants one by release@acme.example"

// Admit implements gate.Admitter. A parent admits as in the gate: if it is signed itself.
func (s *script) Admit(ctx context.Context, req gate.Request) gate.Verdict {
	if s.block != nil {
		<-s.block
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, req)
	if v, ok := s.verdict[req.Digest.String()]; ok {
		return v
	}
	admitted := s.signed[req.Digest.String()]
	for _, parent := range req.Parents {
		admitted = admitted || s.signed[parent.String()]
	}
	v := gate.Verdict{Outcome: gate.OutcomeRefused, Code: gate.CodeUnsigned, Reason: unsignedReason, Repository: req.Repository, Digest: req.Digest.String()}
	if admitted {
		v.Outcome, v.Code, v.Reason = gate.OutcomeAdmitted, gate.CodeAdmitted, "signed by release@acme.example"
	}
	return v
}

// lab is an upstream registry, an admitter and a proxy in front.
type lab struct {
	t        testing.TB
	upstream *httptest.Server
	registry http.Handler // the good registry behind upstream
	admitter *script
	proxy    *Proxy
	url      string // of the proxy
	logs     *syncBuffer
	clock    *coretest.Clock // the proxy's; pushing an image moves it, so that tags are not believed to be where they were

	mu       sync.Mutex
	requests []string // of the upstream, METHOD path?query
	headers  []http.Header
	lie      func(w http.ResponseWriter, r *http.Request) bool // answers instead of the registry if it returns true
}

type labOption func(*lab, *Config)

func withReferrers(on bool) labOption {
	return func(l *lab, _ *Config) { l.registry = newRegistry(on) }
}

func withConfig(f func(*Config)) labOption { return func(_ *lab, c *Config) { f(c) } }

func newRegistry(referrers bool) http.Handler {
	return ggcrregistry.New(ggcrregistry.Logger(log.New(io.Discard, "", 0)), ggcrregistry.WithReferrersSupport(referrers))
}

func newLab(t testing.TB, opts ...labOption) *lab {
	t.Helper()
	l := &lab{t: t, admitter: &script{}, registry: newRegistry(true), logs: &syncBuffer{}, clock: coretest.NewClock(time.Now())}
	l.upstream = httptest.NewServer(http.HandlerFunc(l.serveUpstream))
	t.Cleanup(l.upstream.Close)
	config := Config{
		Upstream:    l.upstream.URL,
		LogicalName: "registry.acme.example",
		Admitter:    l.admitter,
		Now:         l.clock.Now,
		Logger:      slog.New(slog.NewJSONHandler(l.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, o := range opts {
		o(l, &config)
	}
	l.start(config)
	return l
}

func (l *lab) start(c Config) {
	l.t.Helper()
	p, err := New(c)
	if err != nil {
		l.t.Fatal(err)
	}
	l.proxy = p
	server := httptest.NewServer(p.Handler())
	l.t.Cleanup(server.Close)
	l.url = server.URL
}

// restart replaces the proxy with a new one that knows nothing.
func (l *lab) restart() {
	l.t.Helper()
	l.start(Config{Upstream: l.upstream.URL, LogicalName: "registry.acme.example", Admitter: l.admitter, Logger: l.proxy.logger, Now: l.clock.Now})
}

func (l *lab) serveUpstream(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	l.requests = append(l.requests, r.Method+" "+r.URL.RequestURI())
	l.headers = append(l.headers, r.Header.Clone())
	lie := l.lie
	l.mu.Unlock()
	if lie != nil && lie(w, r) {
		return
	}
	l.registry.ServeHTTP(w, r)
}

func (l *lab) setLie(f func(w http.ResponseWriter, r *http.Request) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lie = f
}

// seen counts the upstream's requests since the last call that contain part.
func (l *lab) seen(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, r := range l.requests {
		if strings.Contains(r, part) {
			n++
		}
	}
	l.requests, l.headers = nil, nil
	return n
}

// ref is a reference as those write it who talk to the upstream itself.
func (l *lab) ref(rest string) name.Reference {
	l.t.Helper()
	ref, err := name.ParseReference(strings.TrimPrefix(l.upstream.URL, "http://")+"/"+rest, name.Insecure)
	if err != nil {
		l.t.Fatal(err)
	}
	return ref
}

func (l *lab) pushImage(rest string) v1.Image {
	l.t.Helper()
	img, err := random.Image(200_000, 3)
	if err != nil {
		l.t.Fatal(err)
	}
	l.push(rest, img)
	return img
}

func (l *lab) push(rest string, img v1.Image) {
	l.t.Helper()
	l.clock.Advance(tagFresh)
	if err := remote.Write(l.ref(rest), img); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) pushIndex(rest string) v1.ImageIndex {
	l.t.Helper()
	l.clock.Advance(tagFresh)
	index, err := random.Index(1000, 2, 2)
	if err != nil {
		l.t.Fatal(err)
	}
	if err := remote.WriteIndex(l.ref(rest), index); err != nil {
		l.t.Fatal(err)
	}
	return index
}

// put writes any bytes as a manifest.
func (l *lab) put(repository, reference, contentType string, body []byte) v1.Hash {
	l.t.Helper()
	req := httptest.NewRequest(http.MethodPut, "/v2/"+repository+"/manifests/"+reference, bytes.NewReader(body))
	req.Header.Set("Content-Type", contentType)
	rec := httptest.NewRecorder()
	l.registry.ServeHTTP(rec, req)
	if rec.Code != http.StatusCreated {
		l.t.Fatalf("PUT %s/%s: %d %s", repository, reference, rec.Code, rec.Body)
	}
	h, _, _ := v1.SHA256(bytes.NewReader(body))
	return h
}

// putBlob writes a blob and returns its descriptor.
func (l *lab) putBlob(repository, mediaType string, body []byte) descriptor {
	l.t.Helper()
	h, _, _ := v1.SHA256(bytes.NewReader(body))
	req := httptest.NewRequest(http.MethodPost, "/v2/"+repository+"/blobs/uploads/?digest="+h.String(), bytes.NewReader(body))
	rec := httptest.NewRecorder()
	l.registry.ServeHTTP(rec, req)
	if rec.Code != http.StatusCreated {
		l.t.Fatalf("POST blob: %d %s", rec.Code, rec.Body)
	}
	return descriptor{MediaType: mediaType, Digest: h, Size: int64(len(body)), UntrustedDigest: h.String()}
}

// reply is an answer of the proxy, read to its end.
type reply struct {
	*http.Response
	body []byte
	err  error // of reading the body
}

// code is the first error code in the body.
func (r reply) code() string {
	var body errorBody
	if json.Unmarshal(r.body, &body) != nil || len(body.Errors) == 0 {
		return ""
	}
	return body.Errors[0].Code
}

func (r reply) message() string {
	var body errorBody
	if json.Unmarshal(r.body, &body) != nil || len(body.Errors) == 0 {
		return ""
	}
	return body.Errors[0].Message
}

func (l *lab) get(path string, headers ...string) reply {
	l.t.Helper()
	return l.do(http.MethodGet, path, headers...)
}

func (l *lab) do(method, path string, headers ...string) reply {
	l.t.Helper()
	req, err := http.NewRequest(method, l.url+path, nil)
	if err != nil {
		l.t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	req.Header.Set("Accept-Encoding", "identity")
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return reply{err: err, Response: &http.Response{Header: http.Header{}}}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return reply{resp, body, err}
}

// want checks status and error code; code is empty for a success.
func (l *lab) want(r reply, status int, code string) reply {
	l.t.Helper()
	if r.StatusCode != status || r.code() != code {
		log := l.logs.String()
		l.t.Fatalf("got %d %s %.300s, want %d %s\nlog: ...%s", r.StatusCode, r.code(), r.body, status, code, log[max(0, len(log)-1500):])
	}
	return r
}

func digestOf(t testing.TB, x interface{ Digest() (v1.Hash, error) }) v1.Hash {
	t.Helper()
	h, err := x.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func layerDigests(t testing.TB, img v1.Image) []v1.Hash {
	t.Helper()
	m, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	var all []v1.Hash
	for _, l := range m.Layers {
		all = append(all, l.Digest)
	}
	return all
}

func children(t testing.TB, index v1.ImageIndex) []v1.Hash {
	t.Helper()
	m, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var all []v1.Hash
	for _, d := range m.Manifests {
		all = append(all, d.Digest)
	}
	return all
}

// syncBuffer is a log that several goroutines write.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// ociManifest writes an OCI image manifest.
func ociManifest(config descriptor, layers []descriptor, more string) []byte {
	raw := func(v any) string {
		b, _ := json.Marshal(v)
		return string(b)
	}
	return []byte(fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":%s%s}`, typeOCIManifest, raw(config), raw(layers), more))
}

// sum is the digest of some bytes.
func sum(b []byte) v1.Hash {
	h, _, _ := v1.SHA256(bytes.NewReader(b))
	return h
}
