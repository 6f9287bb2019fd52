package tracing_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	spans "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/touchmark/touchmark/registry-proxy/tracing"
)

// sink is a collector.
type sink struct {
	*httptest.Server
	status int
	mu     sync.Mutex
	spans  []*spans.Span
}

func newSink(t *testing.T, status int) *sink {
	t.Helper()
	s := &sink{status: status}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := io.Reader(r.Body)
		if r.Header.Get("Content-Encoding") == "gzip" {
			unzipped, err := gzip.NewReader(r.Body)
			if err != nil {
				t.Error(err)
				return
			}
			body = unzipped
		}
		data, err := io.ReadAll(body)
		var sent collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(data, &sent)
		}
		if err != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("%s: %v", r.URL.Path, err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, resource := range sent.ResourceSpans {
			for _, scope := range resource.ScopeSpans {
				s.spans = append(s.spans, scope.Spans...)
			}
		}
		w.WriteHeader(s.status)
	}))
	t.Cleanup(s.Close)
	return s
}

// attributes are those of a span, as text.
func attributes(s *spans.Span) map[string]string {
	out := map[string]string{}
	for _, a := range s.Attributes {
		if text := a.Value.GetStringValue(); text != "" {
			out[a.Key] = text
		} else {
			out[a.Key] = a.Value.String()
		}
	}
	return out
}

const (
	traceID = "0af7651916cd43dd8448eb211c80319c"
	client  = "00-" + traceID + "-b7ad6b7169203331-01"
)

// request makes a client's request, its answer, and what the upstream is sent for it.
func request(t *testing.T, tracer *tracing.Tracer, header http.Header) (upstream http.Header) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/v2/app/manifests/v1", nil)
	r.Header = header
	r, span := tracer.Start(r)
	asked, err := http.NewRequestWithContext(r.Context(), http.MethodGet, "https://registry.acme.example/v2/", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = tracer.RoundTrip(door(func(sent *http.Request) (*http.Response, error) {
		upstream = sent.Header
		return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
	}), asked)
	if err != nil {
		t.Fatal(err)
	}
	if len(asked.Header) != 0 {
		t.Errorf("the request itself was changed: %v", asked.Header)
	}
	tracing.Decided(r.Context(), "refused", "unsigned", "registry.acme.example/app", "sha256:00")
	span.End("manifests", http.StatusForbidden)
	return upstream
}

type door func(*http.Request) (*http.Response, error)

func (d door) RoundTrip(r *http.Request) (*http.Response, error) { return d(r) }

// PX-17: a trace is continued, and the upstream is told of the proxy's own span, and of nothing that the client wrote.
func TestPX17_Trace(t *testing.T) {
	s := newSink(t, http.StatusOK)
	tracer, err := tracing.New(t.Context(), tracing.Config{Endpoint: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	upstream := request(t, tracer, http.Header{"Traceparent": {client}, "Tracestate": {"vendor=secret"}, "Baggage": {"user=alice"}})
	if err := tracer.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	sent := upstream.Get("Traceparent")
	if len(upstream) != 1 || len(sent) != len(client) || !strings.HasPrefix(sent, "00-"+traceID+"-") || sent == client {
		t.Errorf("the upstream was sent %v", upstream)
	}
	if len(s.spans) != 2 || s.spans[0].Name != "upstream" || s.spans[1].Name != "manifests" {
		t.Fatalf("%v", s.spans)
	}
	inner, outer := s.spans[0], s.spans[1]
	if !bytes.Equal(inner.ParentSpanId, outer.SpanId) || !bytes.Equal(inner.TraceId, outer.TraceId) || outer.TraceState != "" || inner.TraceState != "" {
		t.Errorf("%v\n%v", outer, inner)
	}
	got := attributes(outer)
	for key, want := range map[string]string{
		"touchmark.outcome": "refused", "touchmark.code": "unsigned", "touchmark.repository": "registry.acme.example/app", "touchmark.digest": "sha256:00",
		"http.request.method": "GET", "http.response.status_code": "int_value:403",
	} {
		if got[key] != want {
			t.Errorf("%s is %q, want %q", key, got[key], want)
		}
	}
}

// What is no traceparent begins a trace of its own.
func TestPX17_NotATraceparent(t *testing.T) {
	s := newSink(t, http.StatusOK)
	tracer, err := tracing.New(t.Context(), tracing.Config{Endpoint: s.URL + "/"})
	if err != nil {
		t.Fatal(err)
	}
	for _, values := range [][]string{
		nil, {""}, {"nonsense"}, {client, client}, {client + "\r\nX: y"}, {strings.Repeat("0", 1<<16)},
		{"00-00000000000000000000000000000000-b7ad6b7169203331-01"}, {"ff-" + traceID + "-b7ad6b7169203331-01"}, {strings.ToUpper(client)},
	} {
		sent := request(t, tracer, http.Header{"Traceparent": values}).Get("Traceparent")
		if len(sent) != len(client) || strings.Contains(sent, traceID) {
			t.Errorf("%.80q: the upstream was sent %q", values, sent)
		}
	}
	if err := tracer.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Without a tracer nothing is sent, and nothing is changed.
func TestNoTracer(t *testing.T) {
	if upstream := request(t, nil, http.Header{"Traceparent": {client}}); len(upstream) != 0 {
		t.Errorf("the upstream was sent %v", upstream)
	}
	var none *tracing.Tracer
	if err := none.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// A collector that refuses is told of in the log, and nobody waits for it.
func TestCollectorRefuses(t *testing.T) {
	s := newSink(t, http.StatusBadRequest)
	var log bytes.Buffer
	tracer, err := tracing.New(t.Context(), tracing.Config{Endpoint: s.URL, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	request(t, tracer, http.Header{})
	if err := tracer.Close(context.Background()); err != nil || !strings.Contains(log.String(), "traces could not be sent") {
		t.Errorf("%v: %s", err, log.String())
	}
}

// An upstream's failure is its caller's to see; its text, which may hold a signed URL, is in no span.
func TestUpstreamFails(t *testing.T) {
	s := newSink(t, http.StatusOK)
	tracer, err := tracing.New(t.Context(), tracing.Config{Endpoint: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	failed := errors.New("https://storage.example/?signature=secret")
	asked := httptest.NewRequest(http.MethodGet, "https://registry.acme.example/v2/", nil)
	if _, err := tracer.RoundTrip(door(func(*http.Request) (*http.Response, error) { return nil, failed }), asked); !errors.Is(err, failed) {
		t.Error(err)
	}
	if err := tracer.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(s.spans) != 1 || strings.Contains(s.spans[0].String(), "secret") || s.spans[0].Status.Code != spans.Status_STATUS_CODE_ERROR {
		t.Errorf("%v", s.spans)
	}
}

func TestCheck(t *testing.T) {
	for endpoint, ok := range map[string]bool{
		"https://collector.example:4318": true, "http://127.0.0.1:4318/v1/traces": true,
		"": false, "collector.example:4318": false, "grpc://collector.example": false, "https://user:secret@collector.example": false, "https://c.example/?key=secret": false,
	} {
		if err := tracing.Check(endpoint); (err == nil) != ok || err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", endpoint, err)
		}
	}
}
