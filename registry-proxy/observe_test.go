package registryproxy

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/registry-proxy/decisions"
)

// What is only observed is served, says so, and is recorded as what it is. Its bytes are still those of its digest.
func TestObserve(t *testing.T) {
	log, err := decisions.Open(decisions.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	metrics := NewMetrics()
	l := newLab(t, withConfig(func(c *Config) { c.Observe, c.Decisions, c.Metrics = true, log, metrics }))
	good, bad, open := l.pushImage("app:good"), l.pushImage("app:bad"), l.pushImage("app:open")
	index := l.pushIndex("app:index")
	l.admitter.sign(digestOf(t, good))
	l.admitter.answer(digestOf(t, open), gate.Verdict{Outcome: gate.OutcomeUndecided, Code: gate.CodeLookupFailed, Reason: "the registry could not be asked"})
	for path, observed := range map[string]string{
		"/v2/app/manifests/good":                              "",
		"/v2/app/manifests/bad":                               "refused; code=unsigned",
		"/v2/app/manifests/open":                              "undecided; code=lookup-failed",
		"/v2/app/manifests/index":                             "refused; code=unsigned",
		"/v2/app/manifests/" + children(t, index)[0].String(): "refused; code=unsigned",
		"/v2/app/blobs/" + layerDigests(t, bad)[0].String():   "",
		"/v2/app/blobs/" + layerDigests(t, open)[0].String():  "",
	} {
		r := l.want(l.get(path), http.StatusOK, "")
		if got := r.Header.Get("Touchmark-Observed"); got != observed || (observed != "") != strings.HasPrefix(r.Header.Get("Warning"), "299 ") {
			t.Errorf("%s: Touchmark-Observed is %q, Warning %q, want %q", path, got, r.Header.Get("Warning"), observed)
		}
	}
	outcomes := map[gate.Outcome]int{}
	for _, e := range log.Recent(decisions.Query{Limit: 100}) {
		outcomes[e.Outcome]++
		if e.Served == (e.Outcome == gate.OutcomeAdmitted) {
			t.Errorf("%s is %s and served %v", e.Tag, e.Outcome, e.Served)
		}
	}
	if outcomes[gate.OutcomeRefused] != 3 || outcomes[gate.OutcomeUndecided] != 1 || outcomes[gate.OutcomeAdmitted] != 1 {
		t.Errorf("the decision log has %v", outcomes)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	served := map[string]int{}
	for _, family := range families {
		if family.GetName() != "touchmark_proxy_decisions_total" {
			continue
		}
		for _, m := range family.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			served[labels["outcome"]+" "+labels["served"]] += int(m.GetCounter().GetValue())
		}
	}
	if diff := cmp.Diff(map[string]int{"admitted false": 1, "refused true": 3, "undecided true": 1}, served); diff != "" {
		t.Errorf("outcomes and served (-want +is):\n%s", diff)
	}

	// A proxy that was restarted knows no manifest yet, and breaks nobody's pull.
	l.start(Config{Upstream: l.upstream.URL, LogicalName: "registry.acme.example", Admitter: l.admitter, Observe: true})
	l.want(l.get("/v2/app/blobs/"+layerDigests(t, bad)[0].String()), http.StatusOK, "")
	// Wrong bytes are not what observing is about.
	layer := layerDigests(t, good)[0].String()
	l.setLie(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, layer) {
			return false
		}
		w.Write([]byte("something else"))
		return true
	})
	if r := l.get("/v2/app/blobs/" + layer); r.StatusCode == http.StatusOK && r.err == nil {
		t.Error("a wrong blob was served")
	}
}
