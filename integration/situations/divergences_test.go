package situations_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/integration/situations"
)

// divergences are situations about which an enforcement point is known to be
// wrong, and how: by "point/situation", or "*/situation" for all points. What
// was put right must be taken out.
var divergences = map[string]string{}

// hold reports what is wrong with an answer, unless it is known to be.
func hold(t *testing.T, situation, point string, wrong error) {
	t.Helper()
	known := divergences[point+"/"+situation]
	if known == "" {
		known = divergences["*/"+situation]
	}
	switch {
	case known != "" && wrong == nil:
		t.Errorf("the divergence %q is no longer one: take it out", known)
	case known != "":
		t.Logf("KNOWN DIVERGENCE: %s: %v", known, wrong)
	case wrong != nil:
		t.Error(wrong)
	}
}

// Each divergence is about a situation, and an enforcement point, that there is.
func TestDivergences(t *testing.T) {
	all, err := situations.All()
	if err != nil {
		t.Fatal(err)
	}
	for key, what := range divergences {
		point, name, _ := strings.Cut(key, "/")
		known := slices.ContainsFunc(all, func(s situations.Situation) bool { return s.Name == name })
		if !known || point != "*" && !slices.Contains(situations.Points, point) {
			t.Errorf("there is no %s", key)
		}
		t.Logf("%s: %s", key, what)
	}
}
