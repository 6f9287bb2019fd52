package registryproxy

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/touchmark/touchmark/core/gate"
)

// Metrics counts what proxies do. It implements prometheus.Collector. Labels hold nothing that a client chooses: neither
// repositories nor names.
type Metrics struct {
	decisions *prometheus.CounterVec
	requests  *prometheus.CounterVec
	seconds   *prometheus.HistogramVec
	running   prometheus.Gauge
	upstream  *prometheus.CounterVec
}

// NewMetrics makes them, all zero.
func NewMetrics() *Metrics {
	return &Metrics{
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "touchmark_proxy_decisions_total", Help: "Decisions about manifests, by registry, outcome and code; served is true only for what was not admitted and let through by mode: observe."}, []string{"registry", "outcome", "code", "served"}),
		requests:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "touchmark_proxy_requests_total", Help: "Answered requests, by endpoint and HTTP status."}, []string{"endpoint", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "touchmark_proxy_request_seconds", Help: "Time until a request was answered whole; blobs take as long as they flow.",
			Buckets: []float64{.001, .005, .01, .05, .1, .5, 1, 5, 10, 30}}, []string{"endpoint"}),
		running:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "touchmark_proxy_requests_running", Help: "Requests under way."}),
		upstream: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "touchmark_proxy_upstream_failures_total", Help: "Answers that an upstream registry is to blame for, by registry and the HTTP status given to the client."}, []string{"registry", "status"}),
	}
}

func (m *Metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.decisions, m.requests, m.seconds, m.running, m.upstream}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.all() {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.all() {
		c.Collect(ch)
	}
}

func (m *Metrics) decided(registry string, v gate.Verdict, served bool) {
	m.decisions.WithLabelValues(registry, string(v.Outcome), string(v.Code), strconv.FormatBool(served)).Inc()
}

func (m *Metrics) answered(e endpoint, status int, took time.Duration) {
	m.requests.WithLabelValues(e.String(), strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(e.String()).Observe(took.Seconds())
}

func (m *Metrics) failed(registry string, fail *failure) {
	if fail.status == 502 || fail.status == 503 || fail.status == 413 {
		m.upstream.WithLabelValues(registry, strconv.Itoa(fail.status)).Inc()
	}
}

// String names the endpoint in metrics.
func (e endpoint) String() string {
	return [...]string{"base", "manifests", "blobs", "tags", "referrers"}[e]
}
