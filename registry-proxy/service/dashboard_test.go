package service

import (
	"encoding/json"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
)

// The dashboard that operators are given asks for metrics that there are.
func TestDashboard(t *testing.T) {
	text, err := os.ReadFile("../../docs/proxy-grafana.json")
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(text) {
		t.Fatal("it is not JSON")
	}
	p := newPlace(t)
	p.write("proxy.yaml", p.least()+"- name: down.example\n  upstream: http://127.0.0.1:1\n")
	s, _ := p.run()
	get(t, http.DefaultClient, s.URL()+"/v2/app/manifests/v1?ns=registry.acme.example")
	get(t, http.DefaultClient, s.URL()+"/v2/app/manifests/v1?ns=down.example")
	_, metrics := get(t, http.DefaultClient, s.MetricsURL()+"/metrics")
	names := regexp.MustCompile(`touchmark_[a-z_]+`).FindAllString(string(text), -1)
	if len(names) < 8 {
		t.Fatalf("it asks for %v only", names)
	}
	for _, name := range names {
		if !strings.Contains(metrics, "\n"+name) {
			t.Errorf("there is no metric %s", name)
		}
	}
}
