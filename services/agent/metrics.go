package agent

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/touchmark/touchmark/core/trust/follow/metrics"
)

// What an agent's metrics say of its state at the moment they are read.
var (
	enforcingDesc = prometheus.NewDesc("touchmark_enforcing", "1 if what the policies do not admit is refused, 0 if any of it is only observed.", nil, nil)
	loadedDesc    = prometheus.NewDesc("touchmark_policy_loaded_timestamp", "When the policy in force was read, in seconds since 1970.", nil, nil)
	reloadDesc    = prometheus.NewDesc("touchmark_reload_failed", "1 if changed files could not be used, and what was read before stays in force.", []string{"files"}, nil)
	storeDesc     = prometheus.NewDesc("touchmark_store_failed", "1 if the agent cannot remember decisions.", nil, nil)
	droppedDesc   = prometheus.NewDesc("touchmark_store_dropped_total", "Records that could not be written.", nil, nil)
	partDesc      = prometheus.NewDesc("touchmark_part_connected", "1 if a part of the agent, such as containerd's NRI plugin, is asked.", []string{"part"}, nil)
	askedDesc     = prometheus.NewDesc("touchmark_part_answers_total", "What a part of the agent answered; what could not be decided is refused.", []string{"part", "outcome"}, nil)
)

// newRegistry makes the registry of all metrics.
func (a *Agent) newRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collector{a}, metrics.Collector(a.roots), a.config.Recorder.decisions, a.config.Recorder.seconds, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// collector is an agent's status as metrics.
type collector struct{ *Agent }

// Describe implements prometheus.Collector.
func (collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{enforcingDesc, loadedDesc, reloadDesc, storeDesc, droppedDesc, partDesc, askedDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	s := c.Status()
	gauge(enforcingDesc, truth(s.Enforcing))
	gauge(loadedDesc, seconds(s.Policy.Loaded))
	gauge(reloadDesc, truth(s.Policy.Error != ""), "policy and trust roots")
	for _, f := range s.Files {
		gauge(reloadDesc, truth(f.Error != ""), f.Name)
	}
	gauge(storeDesc, truth(!s.Store.Works))
	ch <- prometheus.MustNewConstMetric(droppedDesc, prometheus.CounterValue, float64(s.Store.Dropped))
	for _, p := range s.Parts {
		gauge(partDesc, truth(p.Connected), p.Name)
		ch <- prometheus.MustNewConstMetric(askedDesc, prometheus.CounterValue, float64(p.Admitted), p.Name, "admitted")
		ch <- prometheus.MustNewConstMetric(askedDesc, prometheus.CounterValue, float64(p.Refused), p.Name, "refused")
	}
}

func truth(b bool) float64 {
	if b {
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
