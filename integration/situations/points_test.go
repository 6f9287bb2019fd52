package situations_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/integration/internal/lab"
	"github.com/touchmark/touchmark/integration/situations"
	registryproxy "github.com/touchmark/touchmark/registry-proxy"
)

// errNoVerdict is an enforcement point's answer that admits nothing, and has no verdict.
var errNoVerdict = errors.New("there is no verdict")

// Every enforcement point gives the verdict that was written by hand.
func TestSituations(t *testing.T) {
	w := situations.Build(t)
	t.Run("missing trust root", func(t *testing.T) { missingTrustRoot(t, w) })
	for _, point := range []struct {
		name string
		ask  func(*testing.T, *situations.World) func(*testing.T, *situations.Image) (gate.Verdict, error)
	}{
		{"gate", askGate}, {"command", askCommand}, {"proxy", askProxy},
	} {
		t.Run(point.name, func(t *testing.T) {
			ask := point.ask(t, w)
			for _, image := range w.Images {
				t.Run(image.Name, func(t *testing.T) {
					t.Parallel()
					want, because := image.At(point.name)
					if because != "" {
						t.Logf("cannot be shown as it is: %s", because)
					}
					v, err := ask(t, image)
					if point.name == "proxy" && v.Admitted() {
						want.Says, want.Attempt = "", "" // whoever gets an image is told no reason
					}
					switch {
					case want.Outcome == "" && errors.Is(err, errNoVerdict):
						err = nil
					case want.Outcome == "" && err == nil:
						err = fmt.Errorf("there is a verdict: %s, %s (%s)", v.Outcome, v.Code, v.Reason)
					case err == nil:
						err = want.Check(v)
					}
					hold(t, image.Name, point.name, err)
				})
			}
		})
	}
}

// askGate asks core/gate in this process.
func askGate(t *testing.T, w *situations.World) func(*testing.T, *situations.Image) (gate.Verdict, error) {
	gates := make(map[*situations.Site]*gate.Gate)
	for _, site := range w.Sites {
		gates[site] = site.Gate(t)
	}
	return func(t *testing.T, image *situations.Image) (gate.Verdict, error) {
		req, err := image.Request()
		if err != nil {
			t.Fatal(err)
		}
		return gates[image.Site].Admit(t.Context(), req), nil
	}
}

// askCommand runs "touchmark verify" as a process.
func askCommand(*testing.T, *situations.World) func(*testing.T, *situations.Image) (gate.Verdict, error) {
	return func(t *testing.T, image *situations.Image) (v gate.Verdict, err error) {
		args := append([]string{"verify", "-o", "json"}, image.Site.Flags()...)
		r := lab.Command{Program: lab.Program()}.Run(t, append(args, image.Reference())...)
		if r.Stdout == "" && r.Status == 3 {
			return v, fmt.Errorf("%w: %s", errNoVerdict, r.Stderr)
		}
		if err := json.Unmarshal([]byte(r.Stdout), &v); err != nil {
			return v, fmt.Errorf("%w\n%s", err, r.Output())
		}
		if want := map[gate.Outcome]int{gate.OutcomeAdmitted: 0, gate.OutcomeRefused: 1, gate.OutcomeUndecided: 3}[v.Outcome]; r.Status != want {
			return v, fmt.Errorf("exit status is %d, want %d for %s", r.Status, want, v.Outcome)
		}
		return v, nil
	}
}

// askProxy pulls a manifest through a proxy in this process, one for each site.
func askProxy(t *testing.T, w *situations.World) func(*testing.T, *situations.Image) (gate.Verdict, error) {
	type proxy struct {
		url       string
		decisions *decisions
	}
	proxies := make(map[*situations.Site]proxy)
	for _, site := range w.Sites {
		log := &decisions{}
		p, err := registryproxy.New(registryproxy.Config{Upstream: "http://" + w.Registry, Admitter: site.Gate(t), Logger: slog.New(slog.NewJSONHandler(log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewServer(p.Handler())
		t.Cleanup(server.Close)
		proxies[site] = proxy{server.URL, log}
	}
	return func(t *testing.T, image *situations.Image) (v gate.Verdict, err error) {
		p := proxies[image.Site]
		path, reference := strings.TrimPrefix(image.Repository, w.Registry+"/"), "1"
		if _, digest, found := strings.Cut(image.Reference(), "@"); found {
			reference = digest
		}
		resp, err := http.Get(p.url + "/v2/" + path + "/manifests/" + reference)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode == http.StatusOK {
			// What was served says nothing; the log of decisions does.
			return p.decisions.admission(image.Repository)
		}
		var answer struct {
			Errors []struct {
				Code    string
				Message string
				Detail  *gate.Verdict
			}
		}
		if err := json.Unmarshal(body, &answer); err != nil || len(answer.Errors) != 1 {
			return v, fmt.Errorf("%d: %s (%v)", resp.StatusCode, body, err)
		}
		e := answer.Errors[0]
		if e.Detail == nil {
			return v, fmt.Errorf("%w: %d %s: %s", errNoVerdict, resp.StatusCode, e.Code, e.Message)
		}
		got := fmt.Sprintf("%d %s", resp.StatusCode, e.Code)
		if want := map[gate.Outcome]string{gate.OutcomeRefused: "403 DENIED", gate.OutcomeUndecided: "503 UNAVAILABLE"}[e.Detail.Outcome]; got != want {
			return v, fmt.Errorf("the answer is %s, want %s for %s", got, want, e.Detail.Outcome)
		}
		if e.Message != e.Detail.Reason {
			return v, fmt.Errorf("the message is %q, the verdict's reason %q", e.Message, e.Detail.Reason)
		}
		return *e.Detail, nil
	}
}

// decisions is a proxy's log of decisions.
type decisions struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (d *decisions) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.text.Write(p)
}

// admission is the decision by which a repository's image was served.
func (d *decisions) admission(repository string) (gate.Verdict, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for line := range bytes.Lines(d.text.Bytes()) {
		var entry struct {
			Msg, Repository string
			Outcome         gate.Outcome
			Code            gate.Code
		}
		if err := json.Unmarshal(line, &entry); err == nil && entry.Msg == "decision" && entry.Repository == repository {
			return gate.Verdict{Outcome: entry.Outcome, Code: entry.Code}, nil
		}
	}
	return gate.Verdict{}, fmt.Errorf("%s was served, and no decision about it was logged", repository)
}
