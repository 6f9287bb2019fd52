// Package grafana_test holds the dashboard against what a running proxy exports.
package grafana_test

import (
	"context"
	"crypto"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/registry-proxy/config"
	"github.com/touchmark/touchmark/registry-proxy/service"
	"github.com/touchmark/touchmark/services/trustroot"
)

// dashboard is what this test reads of the file.
type dashboard struct {
	Title, UID    string
	SchemaVersion int
	Panels        []struct {
		ID                 int
		Title, Description string
		GridPos            struct{ X, Y, W, H int }
		Datasource         struct{ UID string }
		Targets            []struct{ Expr string }
	}
	Templating struct {
		List []struct{ Name, Definition string }
	}
}

var (
	metricName = regexp.MustCompile(`\b(?:touchmark|process|go)_[a-z_]+\b`)
	// labelName matches the names in matchers and in groupings.
	labelName = regexp.MustCompile(`([a-z_]+)(?:=~|!~|!=|=)"|\bby \(([a-z_, ]+)\)`)
)

// TestDashboard: every metric and label of the dashboard is exported by a running proxy, and every metric of the proxy's own is on it.
func TestDashboard(t *testing.T) {
	data, err := os.ReadFile("touchmark-proxy.json")
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(data, &d); err != nil {
		t.Fatal(err)
	}
	exported, labels := scrape(t)
	var expressions []string
	for _, v := range d.Templating.List {
		expressions = append(expressions, v.Definition)
	}
	seen := map[int]bool{}
	for i, p := range d.Panels {
		if seen[p.ID] || p.Title == "" || p.Description == "" || p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 {
			t.Errorf("panel %d %q is not complete", p.ID, p.Title)
		}
		seen[p.ID] = true
		for _, q := range d.Panels[:i] {
			if p.GridPos.X < q.GridPos.X+q.GridPos.W && q.GridPos.X < p.GridPos.X+p.GridPos.W && p.GridPos.Y < q.GridPos.Y+q.GridPos.H && q.GridPos.Y < p.GridPos.Y+p.GridPos.H {
				t.Errorf("%q lies on %q", p.Title, q.Title)
			}
		}
		for _, target := range p.Targets {
			if strings.Count(target.Expr, "(") != strings.Count(target.Expr, ")") {
				t.Errorf("%q: %s", p.Title, target.Expr)
			}
			expressions = append(expressions, target.Expr)
		}
	}
	used := map[string]bool{}
	for _, e := range expressions {
		for _, name := range metricName.FindAllString(e, -1) {
			if used[name] = true; !exported[name] {
				t.Errorf("%s: no running proxy exports %s", e, name)
			}
		}
		for _, m := range labelName.FindAllStringSubmatch(e, -1) {
			for _, name := range strings.Split(m[1]+m[2], ", ") {
				if !labels[name] && !slices.Contains([]string{"job", "instance"}, name) { // which are Prometheus's own
					t.Errorf("%s: no metric has a label %s", e, name)
				}
			}
		}
	}
	for name := range exported {
		base := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_sum"), "_count"), "_bucket")
		if strings.HasPrefix(name, "touchmark_") && !used[base] && !used[base+"_bucket"] {
			t.Errorf("%s is not on the dashboard", name)
		}
	}
}

// scrape is what a proxy exports, metrics and labels, that has admitted and refused images and lost its upstream.
func scrape(t *testing.T) (metrics, labels map[string]bool) {
	t.Helper()
	dir, host := t.TempDir(), coretest.NewRegistry(t, true)
	coretest.Push(t, host+"/app:v1", coretest.Image(t, 1))
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("policy.yaml", "apiVersion: policy.sigstore.dev/v1beta1\nkind: ClusterImagePolicy\nmetadata: {name: all}\nspec:\n  images: [{glob: \"up.example/**\"}]\n  authorities: [{static: {action: pass}}]\n")
	repository, err := trustroot.CreateRepository(trustroot.RepositoryConfig{
		Dir: t.TempDir(), Keys: trustroot.RepositoryKeys{Root: []crypto.Signer{coretest.NewKey(t)}, Targets: coretest.NewKey(t), Online: coretest.NewKey(t)},
		Targets: map[string][]byte{trustroot.TrustedRootFile: coretest.New(t).TrustedRootJSON(t)}, Clock: time.Now, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer repository.Close()
	mirror := httptest.NewServer(repository.Handler())
	defer mirror.Close()
	write("root.json", string(repository.Root()))
	write("proxy.yaml", fmt.Sprintf("listen: 127.0.0.1:0\npolicy: policy.yaml\nstate: state\ntrust: [{name: acme, mirror: %q, root: root.json}]\nmetrics: {listen: \"127.0.0.1:0\"}\nregistries:\n- {name: up.example, upstream: \"http://%s\"}\n- {name: down.example, upstream: \"http://127.0.0.1:1\"}\n", mirror.URL, host))
	s, err := service.New(t.Context(), service.Config{
		Read: func() (*config.Config, error) { return config.Load(filepath.Join(dir, "proxy.yaml")) },
		Load: func(ctx context.Context, file string, roots []*trust.Root) (*policy.Set, []*trust.Root, error) {
			set, err := policy.Load(ctx, file, policy.Options{})
			return set, roots, err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	for _, registry := range []string{"up.example", "down.example"} {
		get(t, s.URL()+"/v2/app/manifests/v1?ns="+registry)
	}
	metrics, labels = map[string]bool{}, map[string]bool{}
	label := regexp.MustCompile(`([a-z_]+)="`)
	for line := range strings.Lines(get(t, s.MetricsURL()+"/metrics")) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		name, _, _ := strings.Cut(strings.Fields(line)[0], "{")
		metrics[name] = true
		for _, m := range label.FindAllStringSubmatch(line, -1) {
			labels[m[1]] = true
		}
	}
	return metrics, labels
}

func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
