package service

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/touchmark/touchmark/core/loopback"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/trust/follow/metrics"
)

// adminHandler serves /metrics, /healthz and /readyz at an address. They have a listener
// of their own, because they tell everybody who asks about everybody's pulls.
func (s *Service) adminHandler(address string) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(s.metrics, state{s}, metrics.Collector(s.trustRoots), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "alive") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if problem := s.unready(); problem != "" {
			say(w, http.StatusServiceUnavailable, problem)
			return
		}
		say(w, http.StatusOK, "ready")
	})
	return loopback.Guard(address, mux)
}

// unready says why clients should not be sent here; empty if they may be. A reload that
// failed is no reason: what was read before is in force.
func (s *Service) unready() string {
	if s.draining.Load() {
		return "stopping"
	}
	for _, r := range s.world.Load().rules {
		if needsRoots(r.set) && !r.good(time.Now()) {
			return "policy " + r.policy + " has no trust root, or none that is not out of date"
		}
	}
	return ""
}

// needsRoots reports whether anything is verified with a trust root: keys without a log
// are not.
func needsRoots(set *policy.Set) bool {
	for _, p := range set.Policies {
		for _, a := range p.Authorities {
			if a.CACert == nil && (len(a.Identities) > 0 || a.RequireLog) {
				return true
			}
		}
	}
	return false
}

func say(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n") // whoever asked may be gone
}

var (
	failedDesc    = prometheus.NewDesc("touchmark_reload_failed", "1 if changed files could not be used, and what was read before stays in force.", nil, nil)
	readyDesc     = prometheus.NewDesc("touchmark_proxy_ready", "1 if clients may be sent here.", nil, nil)
	enforcingDesc = prometheus.NewDesc("touchmark_proxy_enforcing", "1 if what the policies do not admit is refused, 0 if any of it is only observed.", []string{"registry"}, nil)
	filesDesc     = prometheus.NewDesc("touchmark_proxy_configuration_info", "1; digest is the SHA-256 of the configuration file that is in force.", []string{"digest"}, nil)
	rulesDesc     = prometheus.NewDesc("touchmark_proxy_rules_info", "1; policy and trust are digests of the policies and of the trust roots that are in force.", []string{"registry", "policy", "trust"}, nil)
	droppedDesc   = prometheus.NewDesc("touchmark_proxy_decisions_dropped_total", "Decisions that are not in the decision log's file.", nil, nil)
)

// state is the service's state as metrics.
type state struct{ *Service }

// Describe implements prometheus.Collector.
func (state) Describe(ch chan<- *prometheus.Desc) {
	ch <- failedDesc
	ch <- readyDesc
	ch <- enforcingDesc
	ch <- filesDesc
	ch <- rulesDesc
	ch <- droppedDesc
}

// Collect implements prometheus.Collector.
func (s state) Collect(ch chan<- prometheus.Metric) {
	s.mu.Lock()
	failed := s.failed != nil
	s.mu.Unlock()
	gauge := func(d *prometheus.Desc, v bool, labels ...string) {
		n := 0.0
		if v {
			n = 1
		}
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, n, labels...)
	}
	gauge(failedDesc, failed)
	gauge(readyDesc, s.unready() == "")
	w := s.world.Load()
	for _, m := range w.proxies {
		r := w.rules[m.rules]
		gauge(enforcingDesc, !m.section.Observe && enforces(r.set), m.proxy.Registry())
		gauge(rulesDesc, true, m.proxy.Registry(), hex.EncodeToString(r.set.Digest[:]), TrustDigest(r.roots))
	}
	gauge(filesDesc, true, hex.EncodeToString(w.conf.Digest[:]))
	ch <- prometheus.MustNewConstMetric(droppedDesc, prometheus.CounterValue, float64(s.decisions.Status().Dropped))
}

// TrustDigest tells one set of trust roots from another, whatever their order.
func TrustDigest(roots []*trust.Root) string {
	var all []string
	for _, r := range roots {
		all = append(all, fmt.Sprintf("%q %x\n", r.Name, r.Digest))
	}
	slices.Sort(all)
	sum := sha256.Sum256([]byte(strings.Join(all, "")))
	return hex.EncodeToString(sum[:])
}

// enforces reports whether nothing of a set is only observed.
func enforces(set *policy.Set) bool {
	if set.Enforcement.Mode == policy.Observe || set.Enforcement.Unmatched.Mode == policy.Observe {
		return false
	}
	for _, p := range set.Policies {
		if p.Mode == policy.Observe {
			return false
		}
	}
	return true
}
