package gate_test

import (
	"testing"

	"github.com/touchmark/touchmark/core/gate"
)

func TestObserved(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		was, want gate.Verdict
	}{
		{gate.Verdict{Outcome: gate.OutcomeRefused, Code: gate.CodeUnsigned, Reason: "it is not signed"}, gate.Verdict{
			Outcome: gate.OutcomeAdmitted, Code: gate.CodeObserved, Reason: "admitted, because containerd only observes; enforcing would have refused: it is not signed",
		}},
		{gate.Verdict{Outcome: gate.OutcomeUndecided, Code: gate.CodeTimeout, Reason: "no answer"}, gate.Verdict{
			Outcome: gate.OutcomeAdmitted, Code: gate.CodeObserved, Reason: "admitted, because containerd only observes; enforcing could not have decided: no answer",
		}},
		{gate.Verdict{Outcome: gate.OutcomeAdmitted, Code: gate.CodePinned, Reason: "pinned"}, gate.Verdict{Outcome: gate.OutcomeAdmitted, Code: gate.CodePinned, Reason: "pinned"}},
	} {
		if got := gate.Observed(c.was, "containerd"); got.Outcome != c.want.Outcome || got.Code != c.want.Code || got.Reason != c.want.Reason {
			t.Errorf("%s %s %q", got.Outcome, got.Code, got.Reason)
		}
	}
}
