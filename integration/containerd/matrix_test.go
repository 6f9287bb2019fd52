package containerd_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/integration/internal/lab"
	"github.com/touchmark/touchmark/integration/situations"
)

// prefixes are how the reasons of the outcomes begin.
var prefixes = map[gate.Outcome]string{
	gate.OutcomeRefused: "refused by touchmark: ", gate.OutcomeUndecided: "touchmark cannot decide: ",
}

// ask runs the verifier as containerd does.
func (n *node) ask(t testing.TB, reference, digest, mediaType string) lab.Result {
	t.Helper()
	c := lab.Command{
		Program: verifier, Env: []string{"TOUCHMARK_CONFIG=" + n.config},
		Stdin: fmt.Appendf(nil, `{"mediaType":%q,"digest":%q,"size":1234}`+"\n", mediaType, digest),
	}
	return c.Run(t, "-name", reference, "-digest", digest, "-stdin-media-type", "application/vnd.oci.descriptor.v1+json")
}

// The verifier gives the verdict that was written by hand, a process for each image.
func TestSituations(t *testing.T) {
	w := situations.Build(t)
	nodes := make(map[*situations.Site]*node)
	for _, site := range w.Sites {
		n := configure(t, site.Policy, "", "containerd: {standalone: false}")
		for _, root := range site.Roots {
			n.write(t, "trust/"+root.Name+".json", read(t, root.File))
		}
		n.agent(t)
		nodes[site] = n
	}
	asked := 0
	for _, i := range w.Images {
		want, because := i.At("containerd")
		if because != "" {
			t.Logf("%s: cannot be shown as it is: %s", i.Name, because)
		}
		r := nodes[i.Site].ask(t, i.Reference(), i.Digest, mediaType(t, i))
		asked++
		if err := check(want, r); err != nil {
			t.Errorf("%s: %v", i.Name, err)
		}
	}
	t.Logf("%d situations", asked)
}

// check holds an answer against the matrix.
func check(want situations.Want, r lab.Result) error {
	if want.Outcome == gate.OutcomeAdmitted {
		if r.Status != 0 || r.Stdout != "" {
			return fmt.Errorf("status %d: %s; want it admitted, %s", r.Status, r.Output(), want.Code)
		}
		return nil
	}
	reason, ok := strings.CutPrefix(r.Stdout, prefixes[want.Outcome])
	if want.Outcome == gate.OutcomeUndecided {
		reason = "cannot decide about " + reason // the image's name, which the user sees already, is left away
	}
	if r.Status != 1 || !ok || !strings.Contains(reason, want.Says) || strings.Count(r.Stdout, "\n") != 1 {
		return fmt.Errorf("status %d: %s; want %s, %s, and it to say %q", r.Status, r.Output(), want.Outcome, want.Code, want.Says)
	}
	return nil
}

// mediaType is the image's, or the usual one where the registry shows nothing.
func mediaType(t *testing.T, i *situations.Image) string {
	t.Helper()
	ref, err := name.NewDigest(i.Repository + "@" + i.Digest)
	if err != nil {
		t.Fatal(err)
	}
	if found, err := remote.Get(ref); err == nil {
		return string(found.MediaType)
	}
	return "application/vnd.oci.image.manifest.v1+json"
}
