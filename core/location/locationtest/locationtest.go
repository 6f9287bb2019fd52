// Package locationtest holds the shapes that configurations of locations have,
// with what each means, for the tests of core/location and of every adapter that
// makes a [location.Table] out of a client's configuration: it writes the rules
// into that client's files, reads them back, and gets the same answers.
//
// locations.yaml is a list of shapes:
//
//	name:      what it is about, with the attack that it stands for
//	rules:     prefix, location, insecure, blocked, mirrors (location, insecure, pull), as in location.Rewrite
//	places:    logical name -> places in order, as location.Place prints them
//	nowhere:   logical name -> a part of the error
//	logical:   physical name -> logical names
//	ambiguous: physical name -> the prefix that can't be inverted
package locationtest

import (
	"bytes"
	_ "embed"
	"errors"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/touchmark/touchmark/core/location"
)

//go:embed locations.yaml
var document []byte

// Shape is one shape of a configuration.
type Shape struct {
	Name      string              `yaml:"name"`
	Rules     []Rule              `yaml:"rules"`
	Places    map[string][]string `yaml:"places"`
	Nowhere   map[string]string   `yaml:"nowhere"`
	Logical   map[string][]string `yaml:"logical"`
	Ambiguous map[string]string   `yaml:"ambiguous"`
}

// Rule is a [location.Rewrite].
type Rule struct {
	Prefix   string   `yaml:"prefix"`
	Location string   `yaml:"location"`
	Insecure bool     `yaml:"insecure"`
	Blocked  bool     `yaml:"blocked"`
	Mirrors  []Mirror `yaml:"mirrors"`
}

// Mirror is a [location.Mirror].
type Mirror struct {
	Location string        `yaml:"location"`
	Insecure bool          `yaml:"insecure"`
	Pull     location.Pull `yaml:"pull"`
}

// Rewrites are the shape's rules.
func (s Shape) Rewrites() []location.Rewrite {
	var out []location.Rewrite
	for _, r := range s.Rules {
		rule := location.Rewrite{Prefix: r.Prefix, Location: r.Location, Insecure: r.Insecure, Blocked: r.Blocked}
		for _, m := range r.Mirrors {
			rule.Mirrors = append(rule.Mirrors, location.Mirror(m))
		}
		out = append(out, rule)
	}
	return out
}

// Shapes reads locations.yaml.
func Shapes(t testing.TB) []Shape {
	t.Helper()
	var shapes []Shape
	dec := yaml.NewDecoder(bytes.NewReader(document))
	dec.KnownFields(true)
	if err := dec.Decode(&shapes); err != nil {
		t.Fatalf("reading locations.yaml: %v", err)
	}
	return shapes
}

// Check holds a table, made of what an adapter read back from its client's configuration, against the shape.
func (s Shape) Check(t *testing.T, table *location.Table) {
	t.Helper()
	for logical, want := range s.Places {
		places, err := table.Places(logical)
		if err != nil {
			t.Errorf("places of %s: %v", logical, err)
			continue
		}
		var got []string
		for _, p := range places {
			got = append(got, p.String())
		}
		if !slices.Equal(got, want) {
			t.Errorf("places of %s: %q, want %q", logical, got, want)
		}
	}
	for logical, want := range s.Nowhere {
		places, err := table.Places(logical)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("places of %s: %v, %v, want an error with %q", logical, places, err, want)
		}
	}
	for physical, want := range s.Logical {
		got, err := table.Logical(physical)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("logical names of %s: %q, %v, want %q", physical, got, err, want)
		}
	}
	for physical, want := range s.Ambiguous {
		got, err := table.Logical(physical)
		var ambiguous *location.AmbiguousError
		if !errors.As(err, &ambiguous) || ambiguous.Rule.Prefix != want {
			t.Errorf("logical names of %s: %q, %v, want the rule %q to be named as ambiguous", physical, got, err, want)
		}
	}
}

// Names are all names that the shape speaks of, logical and physical, sorted.
func (s Shape) Names() []string {
	var names []string
	for logical := range s.Places {
		names = append(names, logical)
	}
	for logical := range s.Nowhere {
		names = append(names, logical)
	}
	for physical := range s.Logical {
		names = append(names, physical)
	}
	for physical := range s.Ambiguous {
		names = append(names, physical)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
