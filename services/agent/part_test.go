package agent_test

import (
	"context"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/touchmark/touchmark/services/agent"
)

// A part runs as long as the agent does, and the status, its problems and the metrics say how it is.
func TestPart(t *testing.T) {
	var runs, down atomic.Bool
	since := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	w := start(t, func(c *agent.Config) {
		c.Parts = []agent.Part{{Name: "containerd NRI", Run: func(ctx context.Context) {
			runs.Store(true)
			<-ctx.Done()
		}, Status: func() agent.PartStatus {
			s := agent.PartStatus{Connected: !down.Load(), Since: since, Peer: "containerd 2.4.2", Admitted: 7, Refused: 3}
			if down.Load() {
				s.Error = "there is no such socket"
			}
			return s
		}}}
	})
	eventually(t, "runs", runs.Load)
	status := func() agent.Status {
		s, err := agent.NewClient(w.socket()).Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	want := []agent.PartStatus{{Name: "containerd NRI", Connected: true, Since: since, Peer: "containerd 2.4.2", Admitted: 7, Refused: 3}}
	if s := status(); !cmp.Equal(s.Parts, want) || len(s.Problems()) > 0 {
		t.Errorf("%+v, %v", s.Parts, s.Problems())
	}
	down.Store(true)
	if p := status().Problems(); len(p) != 1 || !strings.Contains(p[0].Error(), "containerd NRI is not connected since 2026-01-02T03:04:05Z: there is no such socket") {
		t.Errorf("problems: %v", p)
	}
	resp, err := w.client().Get("http://agent/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	for _, want := range []string{`touchmark_part_connected{part="containerd NRI"} 0`, `touchmark_part_answers_total{outcome="admitted",part="containerd NRI"} 7`, `touchmark_part_answers_total{outcome="refused",part="containerd NRI"} 3`} {
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%v: the metrics lack %s", err, want)
		}
	}
}
