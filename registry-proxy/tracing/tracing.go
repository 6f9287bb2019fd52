// Package tracing tells an OpenTelemetry collector what the registry proxy does: a span for each request of a client, and below
// it one for each request to the upstream registry.
//
//	t, err := tracing.New(ctx, tracing.Config{Endpoint: "https://collector.example:4318"})
//	request, span := t.Start(request)
//	defer span.End(status)
//
// Spans are sent by OTLP over HTTP, in the background. While the collector does not answer, some thousand are kept and the
// others dropped: no pull waits for it.
//
// # What crosses
//
// The trace that a client's traceparent (W3C Trace Context) names is continued, so that its pull and what the proxy did for it stand
// together. Of the header, the identifier of the trace, that of the span and the sampling flag are read, 25 bytes; the text is
// never copied, and tracestate and baggage are not read at all. The upstream is sent the traceparent of the proxy's own span.
// Token services and the places that redirects lead to are sent none.
//
// Spans hold names of repositories, digests and verdicts: what the decision log holds, without who asked. They hold no
// credentials, queries or headers.
//
// A nil [Tracer] does nothing, and nothing is sent to the upstream then.
package tracing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// service is the proxy's name in traces.
const service = "touchmark-proxy"

// defaultPath is where collectors take traces (OTLP 1.x, OTLP/HTTP).
const defaultPath = "/v1/traces"

// Config says where spans go.
type Config struct {
	// Endpoint is the collector's URL. Without a path, it is /v1/traces.
	Endpoint string
	// Logger hears of spans that could not be sent; nil discards that.
	Logger *slog.Logger
}

// Tracer makes spans. Its methods may be called at the same time, and on nil.
type Tracer struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
}

// Check says what is wrong with an endpoint.
func Check(endpoint string) error {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("is not a URL such as https://collector.example:4318") // not repeated: it may hold a password
	}
	return nil
}

// New makes a tracer. It contacts nobody yet.
func New(ctx context.Context, c Config) (*Tracer, error) {
	if err := Check(c.Endpoint); err != nil {
		return nil, err
	}
	u, err := url.Parse(c.Endpoint)
	if err != nil {
		return nil, err
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = defaultPath
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(u.String()))
	if err != nil {
		return nil, fmt.Errorf("preparing to send traces: %w", err)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(&telling{SpanExporter: exporter, logger: c.Logger}),
		sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", service))),
	)
	return &Tracer{provider: provider, tracer: provider.Tracer("github.com/touchmark/touchmark/registry-proxy")}, nil
}

// telling logs what cannot be sent, and not by OpenTelemetry's global handler.
type telling struct {
	sdktrace.SpanExporter
	logger *slog.Logger
}

// ExportSpans implements sdktrace.SpanExporter.
func (t *telling) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	if err := t.SpanExporter.ExportSpans(ctx, spans); err != nil {
		t.logger.Warn("traces could not be sent", "spans", len(spans), "error", err)
	}
	return nil
}

// Close sends what is left, until ctx ends.
func (t *Tracer) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	return t.provider.Shutdown(ctx)
}

// Span is a request of a client; nil where there is no tracer.
type Span struct{ span trace.Span }

// Start begins the span of a client's request, in the trace that it names if it names one. The request that is returned has
// the span in its context.
func (t *Tracer) Start(r *http.Request) (*http.Request, *Span) {
	if t == nil {
		return r, nil
	}
	ctx := r.Context()
	if parent := parentOf(r); parent.IsValid() {
		ctx = trace.ContextWithRemoteSpanContext(ctx, parent)
	}
	ctx, span := t.tracer.Start(ctx, "request", trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(attribute.String("http.request.method", method(r.Method))))
	return r.WithContext(ctx), &Span{span: span}
}

// parentOf is what a client's traceparent says, without its tracestate.
func parentOf(r *http.Request) trace.SpanContext {
	values := r.Header.Values("Traceparent")
	if len(values) != 1 {
		return trace.SpanContext{}
	}
	ctx := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{"traceparent": values[0]})
	return trace.SpanContextFromContext(ctx)
}

// method is one of those that a client can choose from, so that it does not write into traces what it likes.
func method(m string) string {
	if m == http.MethodGet || m == http.MethodHead {
		return m
	}
	return "_OTHER" // as OpenTelemetry's semantic conventions call them
}

// End ends the span. endpoint is the kind of what was asked for, status that of the answer.
func (s *Span) End(endpoint string, status int) {
	if s == nil {
		return
	}
	s.span.SetName(endpoint)
	s.span.SetAttributes(attribute.Int("http.response.status_code", status))
	if status >= http.StatusInternalServerError {
		s.span.SetStatus(codes.Error, "")
	}
	s.span.End()
}

// Decided adds a decision to the span of a request.
func Decided(ctx context.Context, outcome, code, repository, digest string) {
	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(
		attribute.String("touchmark.outcome", outcome), attribute.String("touchmark.code", code),
		attribute.String("touchmark.repository", repository), attribute.String("touchmark.digest", digest),
	)
}

// RoundTrip sends a request to the upstream registry by next, in a span of its own, which ends when the answer's header is
// there, and tells the upstream of that span.
func (t *Tracer) RoundTrip(next http.RoundTripper, req *http.Request) (*http.Response, error) {
	if t == nil {
		return next.RoundTrip(req)
	}
	ctx, span := t.tracer.Start(req.Context(), "upstream", trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(attribute.String("http.request.method", req.Method), attribute.String("server.address", req.URL.Host)))
	defer span.End()
	req = req.Clone(ctx)
	propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(req.Header))
	resp, err := next.RoundTrip(req)
	if err != nil {
		span.SetStatus(codes.Error, "no answer") // the error may quote a signed URL
		return nil, err
	}
	span.SetAttributes(attribute.Int("http.response.status_code", resp.StatusCode))
	return resp, nil
}
