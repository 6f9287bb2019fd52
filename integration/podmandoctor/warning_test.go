package podmandoctor_test

import (
	"testing"

	"github.com/touchmark/touchmark/core/doctor"
)

// TestWarnings: the host goes on as it did, and the doctor says what will be noticed later.
func TestWarnings(t *testing.T) {
	for _, c := range []struct {
		code  string
		spoil func(*testing.T, *world)
	}{
		{"staging-missing", func(t *testing.T, w *world) { edit(ours, "lookaside-staging", "lookaside-stage")(t, w) }},
		{"key-previous", func(t *testing.T, w *world) {
			w.Write(t, keyring, string(hostKey.public)+string(makeKey("host.example").public))
		}},
	} {
		t.Run(c.code, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			c.spoil(t, w)
			w.keeps(t)
			if r := w.examine(t, nil); !r.Has(c.code) || r.Enforcing != doctor.Yes {
				t.Errorf("enforcing: %s, want yes with %s\n%s", r.Enforcing, c.code, codes(r))
			}
		})
	}
}
