package sweepcmd

import (
	"strings"
	"testing"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/containerd/sweep"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/gate/ask"
)

// A row does not say again what stands in it: the image's name and digest.
func TestPrintContainerdSweep(t *testing.T) {
	const repository = "registry.example/acme/app"
	digest := "sha256:" + strings.Repeat("a", 64)
	var out strings.Builder
	if err := printContainerdSweep(&out, &sweep.Report{Images: []sweep.Image{
		{Names: []string{repository + ":1"}, Repository: repository, Digest: digest, Outcome: gate.OutcomeUndecided, Reason: ask.CannotDecide(repository, digest) + "the registry is away"},
		{Names: []string{repository + ":1"}, Repository: repository, Digest: digest, Outcome: gate.OutcomeRefused, Reason: "no signature of " + repository},
	}}); err != nil {
		t.Fatal(err)
	}
	if text := out.String(); strings.Contains(text, digest) || strings.Contains(text, "cannot decide") || !strings.Contains(text, "  the registry is away\n") || !strings.Contains(text, "no signature of "+repository) {
		t.Error(text)
	}
}

// Where nothing could be decided, the agent may be why, and need not be asked.
func TestSweepError(t *testing.T) {
	for _, c := range []struct {
		refusals, open, kept, all int
		asked                     bool
		status                    int
		says                      string
	}{
		{0, 0, 0, 0, true, 0, ""},
		{0, 0, 0, 3, true, 0, ""},
		{1, 1, 0, 3, true, exit.StatusRefused, "refused: 1 of 3"},
		{1, 0, 1, 3, true, exit.StatusUndecided, "not everything was removed"},
		{0, 1, 0, 3, true, exit.StatusUndecided, "undecided: 1 of 3"},
		{0, 3, 0, 3, true, exit.StatusUndecided, "undecided: 3 of 3; --policy FILE decides without the agent"},
		{0, 3, 0, 3, false, exit.StatusUndecided, "undecided: 3 of 3"},
	} {
		err := sweepError(c.refusals, c.open, c.kept, c.all, c.asked)
		switch {
		case (err == nil) != (c.says == "") || exit.Status(err) != c.status:
			t.Errorf("%+v: %v", c, err)
		case err != nil && (!strings.HasPrefix(err.Error(), c.says) || strings.Contains(err.Error(), "--policy") != strings.Contains(c.says, "--policy")):
			t.Errorf("%+v: %v", c, err)
		}
	}
}
