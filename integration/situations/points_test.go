package situations_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/integration/internal/lab"
	"github.com/touchmark/touchmark/integration/situations"
)

// errNoVerdict is an enforcement point's answer that admits nothing, and has no verdict.
var errNoVerdict = errors.New("there is no verdict")

// The gate, and the command that is a process, give the verdict that was written by hand. Tests of other enforcement points lie beside these.
func TestSituations(t *testing.T) {
	w := situations.Build(t)
	t.Run("missing trust root", func(t *testing.T) { missingTrustRoot(t, w) })
	for _, point := range []struct {
		name string
		ask  func(*testing.T, *situations.World) func(*testing.T, *situations.Image) (gate.Verdict, error)
	}{
		{"gate", askGate}, {"command", askCommand},
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
