package location_test

import (
	"fmt"
	"testing"

	"github.com/touchmark/touchmark/core/location"
)

// BenchmarkLogical: the way back on a cluster's node with many rules, and in the worst case, where all of the most rules lead to one place.
func BenchmarkLogical(b *testing.B) {
	for _, bb := range []struct {
		name     string
		rules    int
		location string
		mirrors  int
	}{{"node", 200, "mirror%d.example/acme", 1}, {"worst", location.MaxRules, "mirror.example", location.MaxMirrors}} {
		var rules []location.Rewrite
		for i := range bb.rules {
			r := location.Rewrite{Prefix: fmt.Sprintf("registry%d.example/acme", i), Location: bb.location}
			if bb.mirrors == 1 {
				r.Location = fmt.Sprintf(bb.location, i)
			}
			for range bb.mirrors {
				r.Mirrors = append(r.Mirrors, location.Mirror{Location: r.Location})
			}
			rules = append(rules, r)
		}
		table, err := location.New(rules)
		if err != nil {
			b.Fatal(err)
		}
		physical := rules[1].Location + "/app"
		b.Run(bb.name, func(b *testing.B) {
			for b.Loop() {
				_, _ = table.Logical(physical) // too many names, in the worst case
			}
		})
	}
}
