package gate_test

import (
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/trust"
)

// A trust root and an admission end when either clock says so: a wall clock that is set back gives them no more time, one that is set ahead ends
// them at once, and when it comes back all is as before.
func TestWallClockIsSet(t *testing.T) {
	const day, year = 24 * time.Hour, 365 * 24 * time.Hour
	w := newWorld(t, release)
	w.signAs(t, w.image, alice)
	clock := coretest.NewClock(time.Now())
	root := *w.root
	root.Until = clock.Now().Round(0).Add(time.Hour)
	g, err := gate.New(gate.Config{Policy: parse(t, release), Roots: []*trust.Root{&root}, Now: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	w.gate = g
	asked := func(what string, anew bool, outcome gate.Outcome, code gate.Code) {
		t.Helper()
		v := w.admit(t, w.image)
		require(t, what, v, outcome, code)
		if v.Cached == anew {
			t.Errorf("%s: cached is %v", what, v.Cached)
		}
	}
	asked("at first", true, gate.OutcomeAdmitted, gate.CodeAdmitted)
	asked("again", false, gate.OutcomeAdmitted, gate.CodeAdmitted)
	clock.SetWall(year)
	asked("a year ahead", true, gate.OutcomeUndecided, gate.CodeStaleRoot)
	clock.SetWall(-year)
	asked("back again", true, gate.OutcomeAdmitted, gate.CodeAdmitted)
	asked("and again", false, gate.OutcomeAdmitted, gate.CodeAdmitted)
	clock.SetWall(-day)
	asked("a day behind", true, gate.OutcomeAdmitted, gate.CodeAdmitted)
	clock.Advance(55 * time.Minute)
	asked("55 minutes later", true, gate.OutcomeAdmitted, gate.CodeAdmitted)
	clock.Advance(4 * time.Minute)
	asked("before the root's end", false, gate.OutcomeAdmitted, gate.CodeAdmitted)
	clock.Advance(2 * time.Minute) // less than an admission is given again
	asked("after the root's end", true, gate.OutcomeUndecided, gate.CodeStaleRoot)
	clock.SetWall(day)
	asked("with the clock right", true, gate.OutcomeUndecided, gate.CodeStaleRoot)
}
