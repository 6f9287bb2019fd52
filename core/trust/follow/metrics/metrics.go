// Package metrics says by Prometheus how trust roots fare that are followed, in the
// same words in every process:
//
//	registry.MustRegister(metrics.Collector(func() []follow.Status { return all }))
package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/touchmark/touchmark/core/trust/follow"
)

var (
	refreshedDesc = prometheus.NewDesc("touchmark_trust_root_refreshed_timestamp", "When a trust root was last refreshed, in seconds since 1970; 0 if not since the start.", []string{"name"}, nil)
	failuresDesc  = prometheus.NewDesc("touchmark_trust_root_refresh_failures_total", "How often a trust root could not be refreshed, since the start.", []string{"name"}, nil)
	expiresDesc   = prometheus.NewDesc("touchmark_trust_root_expires_timestamp", "When the metadata of a trust root expires unless it is refreshed, in seconds since 1970.", []string{"name"}, nil)
	untilDesc     = prometheus.NewDesc("touchmark_trust_root_until_timestamp", "When a trust root is not used any more unless it is refreshed, in seconds since 1970.", []string{"name"}, nil)
	staleDesc     = prometheus.NewDesc("touchmark_trust_root_stale", "1 if a trust root's metadata has expired, 2 if it is not used any more.", []string{"name"}, nil)
)

// Collector is about the trust roots that roots returns, each time it is asked.
// Those that are not followed are left out: a file is as good as it was.
func Collector(roots func() []follow.Status) prometheus.Collector { return collector(roots) }

type collector func() []follow.Status

// Describe implements prometheus.Collector.
func (collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{refreshedDesc, failuresDesc, expiresDesc, untilDesc, staleDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	now := time.Now()
	for _, r := range c() {
		if r.Mirror == "" {
			continue
		}
		gauge := func(d *prometheus.Desc, v float64) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, r.Name)
		}
		gauge(refreshedDesc, seconds(r.Refreshed))
		gauge(expiresDesc, seconds(r.Expires))
		gauge(untilDesc, seconds(r.Until))
		gauge(staleDesc, stale(r, now))
		ch <- prometheus.MustNewConstMetric(failuresDesc, prometheus.CounterValue, float64(r.Failures), r.Name)
	}
}

func stale(r follow.Status, now time.Time) float64 {
	switch {
	case now.After(r.Until):
		return 2
	case now.After(r.Expires):
		return 1
	}
	return 0
}

// seconds is a time in Prometheus' unit; 0 if there is none.
func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixNano()) / 1e9
}
