package gate_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/gate"
)

// docs/verdicts.md and the program say the same.
func TestRemediesAreThoseOfTheManual(t *testing.T) {
	manual, err := os.ReadFile("../../docs/verdicts.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(manual), "## `code`: why")
	section, _, _ = strings.Cut(section, "\n## ")
	rows := regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\| .*? \\| (.*?) ?\\|$").FindAllStringSubmatch(section, -1)
	if len(rows) < 20 {
		t.Fatalf("the manual has %d codes", len(rows))
	}
	for _, row := range rows {
		if want, got := strings.ReplaceAll(row[2], "`", ""), gate.Code(row[1]).Remedy(); got != want {
			t.Errorf("%s: %q, the manual has %q", row[1], got, want)
		}
	}
}
