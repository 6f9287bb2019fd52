package containerd_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/integration/situations"
)

// Real pulls, by the transfer service and by CRI, end as was written by hand, and tell their users why.
func TestCTRD01_SituationsPulled(t *testing.T) {
	w := situations.Build(t)
	bySite := make(map[*situations.Site][]*situations.Image)
	for _, i := range w.Images {
		bySite[i.Site] = append(bySite[i.Site], i)
	}
	for site, images := range bySite {
		t.Run(site.Name, func(t *testing.T) {
			t.Parallel()
			roots := make(map[string]string)
			for _, root := range site.Roots {
				roots[root.Name] = root.File
			}
			h := newHost(t, site.Policy, roots, "").boot(t)
			slots := make(chan struct{}, 4)
			var wait sync.WaitGroup
			for _, i := range images {
				for _, client := range clients {
					slots <- struct{}{}
					wait.Go(func() {
						defer func() { <-slots }()
						if err := checkPull(i, h.pull(t, client, i.Reference())); err != nil {
							t.Errorf("%s: %s: %v", client, i.Name, err)
						}
					})
				}
			}
			wait.Wait()
		})
	}
}

// checkPull holds what the user saw of a pull, or nothing if it worked, against the matrix.
func checkPull(i *situations.Image, says string) error {
	want, _ := i.At("pull")
	if want.Outcome == gate.OutcomeAdmitted || says == "" {
		if says != "" || want.Outcome != gate.OutcomeAdmitted {
			return fmt.Errorf("want %q, %s; it says %q", want.Outcome, want.Code, says)
		}
		return nil
	}
	_, reason, verdict := strings.Cut(says, "verifier touchmark-containerd rejected image (exit code 1): ")
	if want.Outcome == "" { // containerd never asked
		if verdict {
			return fmt.Errorf("want an error of containerd's own; it says %q", says)
		}
		return nil
	}
	reason, ok := strings.CutPrefix(reason, prefixes[want.Outcome])
	if want.Outcome == gate.OutcomeUndecided {
		reason = "cannot decide about " + reason // the image's name, which the user sees already, is left away
	}
	if !verdict || !ok || !strings.Contains(reason, want.Says) {
		return fmt.Errorf("want %s, %s, and it to say %q; it says %q", want.Outcome, want.Code, want.Says, says)
	}
	return nil
}
