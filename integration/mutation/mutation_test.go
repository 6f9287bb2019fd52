package main

import (
	"regexp"
	"slices"
	"testing"
)

// TestMutants changes a package of a few lines, which has a test that misses one thing.
func TestMutants(t *testing.T) {
	t.Chdir("testdata/sample")
	p, err := load(".")
	if err != nil {
		t.Fatal(err)
	}
	suites, err := p.build(t.TempDir(), []string{"."}, false)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]bool{}
	var survived []string
	for _, m := range p.mutants {
		kinds[m.kind] = true
		if kill(suites, m.id) == "" {
			survived = append(survived, m.kind+" "+m.text)
		}
	}
	if want := []string{"boundary size > limit"}; !slices.Equal(survived, want) {
		t.Errorf("survivors are %q, want %q", survived, want)
	}
	for _, kind := range []string{
		"negate", "boundary", "swap &&", "swap ||", "swap +", "drop operand", "drop case", "delete", "no error", "skip the loop", "plus one", "minus one",
	} {
		if !kinds[kind] {
			t.Errorf("no mutant of the kind %q", kind)
		}
	}
	all := regexp.MustCompile("")
	if a, b := choose(p.mutants, 7, 3, all), choose(p.mutants, 7, 3, all); len(a) != 7 || !slices.Equal(a, b) {
		t.Error("a seed does not draw the same sample twice")
	}
}
