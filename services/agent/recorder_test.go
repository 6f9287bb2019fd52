package agent_test

import (
	"context"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/services/agent"
	"github.com/touchmark/touchmark/services/agent/store"
)

// always gives the same verdict about every image.
type always gate.Verdict

func (a always) Admit(_ context.Context, req gate.Request) gate.Verdict {
	v := gate.Verdict(a)
	v.Repository, v.Digest = req.Repository, req.Digest.String()
	return v
}

// What a doctor's probe was told fills no report, enforcing or observing, however it was
// asked; what else was refused does, and so does a probe that was admitted, which is
// worth a look.
func TestRecorder_Probes(t *testing.T) {
	const probe, image = "127.0.0.1:40123/touchmark-doctor/unsigned", "registry.example/app"
	refused := gate.Verdict{Outcome: gate.OutcomeRefused, Code: gate.CodeNoPolicy, Reason: "no"}
	for _, c := range []struct {
		verdict    gate.Verdict
		repository string
		recorded   bool
	}{
		{refused, probe, false},
		{gate.Observed(refused, "containerd"), probe, false},
		{gate.Verdict{Outcome: gate.OutcomeUndecided, Code: gate.CodeLookupFailed, Reason: "away"}, probe, false},
		{gate.Verdict{Outcome: gate.OutcomeAdmitted, Code: gate.CodeAdmitted, Reason: "yes"}, probe, true},
		{refused, image, true},
		{gate.Observed(refused, "containerd"), image, true},
	} {
		records := store.Open(t.Context(), store.Config{Dir: t.TempDir()})
		r := agent.NewRecorder(always(c.verdict), records, nil)
		req := gate.Request{Repository: c.repository, Digest: digest}
		r.Record(t.Context(), r.Admit(t.Context(), req), time.Millisecond)
		records.Flush(t.Context())
		found, err := records.Decisions(t.Context(), store.Query{Repository: c.repository})
		if err != nil || (len(found) > 0) != c.recorded {
			t.Errorf("%s, %s: %d decisions are recorded, %v", c.repository, c.verdict.Code, len(found), err)
		}
		if err := records.Close(); err != nil {
			t.Error(err)
		}
	}
}
