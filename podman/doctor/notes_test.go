package doctor

import (
	"strings"
	"testing"

	"github.com/touchmark/touchmark/podman/install"
)

// A person is told which commands need a flag from now on.
func TestNotes(t *testing.T) {
	for _, r := range []Report{{Notes: []string{install.Carried}}, {}} {
		var text strings.Builder
		if err := r.Text(&text); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(text.String(), "--remove-signatures"); got != (len(r.Notes) > 0) {
			t.Errorf("notes %q:\n%s", r.Notes, text.String())
		}
	}
}
