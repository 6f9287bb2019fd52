package proxy_test

import (
	"testing"

	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/integration/situations"
)

// Every situation has the verdict that was written by hand, through the proxy as a process: by HTTP, with each of its modes, with the registry and without
// it, and for real clients.
func TestSituations(t *testing.T) {
	t.Parallel()
	w := situations.Build(t)
	enforcing := front(t, w, "", "")
	observing := front(t, w, ", mode: observe", "")
	keeping := front(t, w, "", "cache: {dir: cache, size: 64MiB}\noffline: 1h\n")
	t.Run("while the registry is up", func(t *testing.T) {
		t.Run("HTTP", func(t *testing.T) {
			t.Parallel()
			each(t, w.Images, func(i *situations.Image) error {
				return together(
					func() error { return enforcing.enforced(t, i) },
					func() error { return observing.observed(t, i) },
					func() error { return keeping.pulled(t, i) },
				)
			})
		})
		t.Run("cosign", func(t *testing.T) {
			t.Parallel()
			enforcing.cosigns(t)
		})
		for _, p := range enforcing.clients(t) {
			t.Run(p.name, func(t *testing.T) {
				t.Parallel()
				asked := p.asked(w.Images)
				each(t, asked, p.check)
				t.Logf("%d situations", len(asked))
			})
		}
	})
	t.Run("decision logs", func(t *testing.T) {
		enforcing.logged(t, false)
		observing.logged(t, true)
	})
	w.Stop()
	t.Run("while the registry is down", func(t *testing.T) {
		each(t, w.Images, func(i *situations.Image) error {
			want, _ := i.At("proxy")
			if _, because := i.At("offline proxy"); because != "" || want.Outcome != gate.OutcomeAdmitted {
				return nil // whether it is remembered for a moment is no promise
			}
			return keeping.pulled(t, i)
		})
		keeping.logged(t, false)
	})
	t.Run("restarted while the registry is down", func(t *testing.T) {
		keeping.start(t)
		each(t, w.Images, func(i *situations.Image) error { return keeping.offline(t, i) })
		keeping.stop()
	})
}
