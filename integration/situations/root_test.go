package situations_test

import (
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/integration/internal/lab"
	"github.com/touchmark/touchmark/integration/situations"
)

// missingTrustRoot leaves a trust root out that a policy names: there is no
// verdict at all, and nothing comes up.
func missingTrustRoot(t *testing.T, w *situations.World) {
	site := w.Sites["default"]
	const want = `trustRootRef "second" names a trust root that is not loaded`

	set, err := policy.Load(t.Context(), site.Policy, policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	root, err := trust.Load(site.Roots[0].Name, site.Roots[0].File)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := gate.New(gate.Config{Policy: set, Roots: []*trust.Root{root}}); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("gate: error %v, want one with %q", err, want)
	}
	one := situations.Site{Policy: site.Policy, Roots: site.Roots[:1]}
	for _, args := range [][]string{
		append([]string{"verify", w.Images[0].Reference()}, one.Flags()...),
		append([]string{"proxy", "--listen", "127.0.0.1:0", "--upstream", "http://" + w.Registry}, one.Flags()...),
	} {
		if r := lab.Touchmark(t, 2, args...); !strings.Contains(r.Stderr, want) {
			t.Errorf("touchmark %s: %q, want it to say %q", args[0], r.Stderr, want)
		}
	}
}
