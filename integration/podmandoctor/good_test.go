package podmandoctor_test

import (
	"testing"

	"github.com/touchmark/touchmark/podman/doctor"
)

// TestGoodHosts: nothing is reported of a host that enforces, whichever of the usual shapes its files have.
func TestGoodHosts(t *testing.T) {
	w := newWorld(t)
	w.keeps(t)
	r := w.examine(t, nil)
	if r.Enforcing != doctor.Yes || len(r.Findings) != 0 {
		t.Errorf("enforcing: %s\n%s", r.Enforcing, codes(r))
	}
}
