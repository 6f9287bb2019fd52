package agent

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/touchmark/touchmark/core/doctor"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/services/agent/store"
)

// clients are the programs whose names stand in metrics; others are "other", so
// that nobody makes up names without end.
var clients = []string{"podman", "skopeo", "buildah", "cri-o", "containers-image", "containerd", "containerd-nri", "touchmark"}

// Recorder is a [gate.Admitter] that keeps a record of what another one decides:
// in the store, the log and the metrics. Who asked, it learns by
// [gate.WithAsker]. What a doctor's probe was told does not go into the store.
type Recorder struct {
	admitter gate.Admitter
	store    *store.Store
	logger   *slog.Logger

	decisions *prometheus.CounterVec
	seconds   prometheus.Histogram
}

// NewRecorder makes a recorder. store and logger may be nil.
func NewRecorder(admitter gate.Admitter, s *store.Store, logger *slog.Logger) *Recorder {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return &Recorder{
		admitter: admitter, store: s, logger: logger,
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "touchmark_decisions_total", Help: "Answers to the question whether an image may run.",
		}, []string{"outcome", "code", "client"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "touchmark_decision_seconds", Help: "How long an answer took.",
			Buckets: []float64{.0001, .0005, .001, .003, .01, .03, .1, .3, 1, 3, 10},
		}),
	}
}

// Admit decides, and records the decision.
func (r *Recorder) Admit(ctx context.Context, req gate.Request) gate.Verdict {
	start := time.Now()
	v := r.admitter.Admit(ctx, req)
	r.Record(ctx, v, time.Since(start))
	return v
}

// Record keeps a record of a verdict that somebody else gave.
func (r *Recorder) Record(ctx context.Context, v gate.Verdict, took time.Duration) {
	who := gate.AskerFrom(ctx)
	r.seconds.Observe(took.Seconds())
	client := who.Client
	if !slices.Contains(clients, client) {
		client = "other"
	}
	r.decisions.WithLabelValues(string(v.Outcome), string(v.Code), client).Inc()
	if r.store != nil && (v.Code == gate.CodeAdmitted || !doctor.IsProbe(v.Repository)) {
		r.store.Record(who, v)
	}
	level := slog.LevelInfo
	if v.Cached && v.Admitted() {
		level = slog.LevelDebug
	}
	r.logger.Log(ctx, level, "decision", "outcome", v.Outcome, "code", v.Code, "repository", v.Repository, "digest", v.Digest, "reason", v.Reason,
		"client", who.Client, "uid", who.UID, "cached", v.Cached, "ms", took.Milliseconds())
}
