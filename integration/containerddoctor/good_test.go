package containerddoctor_test

import (
	"testing"

	"github.com/touchmark/touchmark/core/doctor"
	"github.com/touchmark/touchmark/integration/internal/lab"
)

// goods are nodes that enforce.
var goods = []struct {
	name  string
	shape func(*testing.T, *node)
}{
	{"as installed", func(*testing.T, *node) {}},
	{"version 2", func(t *testing.T, n *node) { n.Write(t, lab.ContainerdConfig, lab.ContainerdSettings(2, "")) }},
	{"version 4", func(t *testing.T, n *node) { n.Write(t, lab.ContainerdConfig, lab.ContainerdSettings(4, "")) }},
}

// TestGoodNodes: nothing that matters is reported of nodes that let the signed image in and the unsigned one not.
func TestGoodNodes(t *testing.T) {
	s := newSite(t)
	for _, c := range goods {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, s)
			c.shape(t, n)
			n.boot(t)
			n.enforces(t)
			r := n.examine(t)
			if r.Enforcing != doctor.Yes || len(r.Findings) > 0 {
				t.Errorf("enforcing: %s\n%s", r.Enforcing, codes(r))
			}
		})
	}
}
