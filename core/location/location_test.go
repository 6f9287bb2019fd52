package location_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/location"
	"github.com/touchmark/touchmark/core/location/locationtest"
)

// TestPOD03_POD11_Shapes: what each known shape of configuration means, there and back.
func TestPOD03_POD11_Shapes(t *testing.T) {
	for _, shape := range locationtest.Shapes(t) {
		t.Run(shape.Name, func(t *testing.T) {
			table, err := location.New(shape.Rewrites())
			if err != nil {
				t.Fatal(err)
			}
			shape.Check(t, table)
			reversed := shape.Rewrites()
			slices.Reverse(reversed)
			if table, err = location.New(reversed); err != nil {
				t.Fatal(err)
			}
			shape.Check(t, table)
		})
	}
}

// TestInverse: a name is among the logical names of each of its places, and each logical name of a place leads there.
func TestInverse(t *testing.T) {
	for _, shape := range locationtest.Shapes(t) {
		table, err := location.New(shape.Rewrites())
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range shape.Names() {
			places, _ := table.Places(name)
			for _, p := range places {
				if back, err := table.Logical(p.Repository); err == nil && !slices.Contains(back, name) {
					t.Errorf("%s: %s leads to %s, back from there leads only %q", shape.Name, name, p, back)
				}
			}
			back, err := table.Logical(name)
			if err != nil {
				continue
			}
			for _, logical := range back {
				places, err := table.Places(logical)
				if err != nil || !slices.ContainsFunc(places, func(p location.Place) bool { return p.Repository == name }) {
					t.Errorf("%s: %s is a logical name of %s, but leads to %v, %v", shape.Name, logical, name, places, err)
				}
			}
		}
	}
}

// TestInsecure: a repository is asked without TLS where every rule that leads there says so, and in no other case.
func TestInsecure(t *testing.T) {
	for _, tt := range []struct {
		name  string
		rules []location.Rewrite
		want  bool
	}{
		{"no rule", nil, false},
		{"its own rule", []location.Rewrite{{Prefix: "store.example", Location: "store.example", Insecure: true}}, true},
		{"its own rule, without a location", []location.Rewrite{{Prefix: "store.example", Insecure: true}}, true},
		{"the rule that leads there", []location.Rewrite{{Prefix: "quay.io", Location: "store.example", Insecure: true}}, true},
		{"a mirror", []location.Rewrite{{Prefix: "quay.io", Location: "quay.io", Mirrors: []location.Mirror{{Location: "store.example", Insecure: true}}}}, true},
		{"a wildcard", []location.Rewrite{{Prefix: "*.example.com", Location: "store.example", Insecure: true}}, true},
		{"a secure rule that leads there", []location.Rewrite{{Prefix: "quay.io", Location: "store.example"}}, false},
		{"two rules that disagree", []location.Rewrite{{Prefix: "quay.io", Location: "store.example", Insecure: true}, {Prefix: "ghcr.io", Location: "store.example"}}, false},
		{"its own rule says otherwise", []location.Rewrite{{Prefix: "quay.io", Location: "store.example", Insecure: true}, {Prefix: "store.example", Location: "store.example"}}, false},
		{"a rule that seems to lead there, but another decides", []location.Rewrite{{Prefix: "quay.io", Location: "store.example", Insecure: true}, {Prefix: "quay.io/acme", Location: "elsewhere.example"}}, false},
		{"the mirror of a secure registry", []location.Rewrite{{Prefix: "store.example", Location: "store.example", Mirrors: []location.Mirror{{Location: "mirror.example", Insecure: true}}}}, false},
		{"another registry", []location.Rewrite{{Prefix: "store.example.evil.example", Location: "store.example.evil.example", Insecure: true}}, false},
	} {
		table, err := location.New(tt.rules)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if got := table.Insecure("store.example/acme/app"); got != tt.want {
			t.Errorf("%s: insecure is %v", tt.name, got)
		}
	}
}

// TestNew: what no rule is, is refused by its prefix and its file.
func TestNew(t *testing.T) {
	long := strings.Repeat("a", 300) + ".example"
	for _, tt := range []struct {
		rule location.Rewrite
		want string // "" is admitted
	}{
		{location.Rewrite{Prefix: "quay.io", Location: "proxy.example/quay"}, ""},
		{location.Rewrite{Prefix: "*.example.com"}, ""},
		{location.Rewrite{Location: "proxy.example"}, "not a registry"},
		{location.Rewrite{Prefix: "quay.io/", Location: "proxy.example"}, "not a registry"},
		{location.Rewrite{Prefix: "*.example.com/acme"}, "not a registry"},
		{location.Rewrite{Prefix: "*.example.com:5000"}, "not a registry"},
		{location.Rewrite{Prefix: long}, "not a registry"},
		{location.Rewrite{Prefix: "quay.io", Location: "proxy.example/"}, `location "proxy.example/"`},
		{location.Rewrite{Prefix: "quay.io", Location: long}, "location"},
		{location.Rewrite{Prefix: "quay.io", Mirrors: []location.Mirror{{}}}, "mirrors[0]"},
		{location.Rewrite{Prefix: "quay.io", Mirrors: []location.Mirror{{Location: "mirror.example"}, {Location: "m.example", Pull: "never"}}}, "mirrors[1]"},
		{location.Rewrite{Prefix: "quay.io", Mirrors: make([]location.Mirror, location.MaxMirrors+1)}, "17 mirrors"},
	} {
		tt.rule.From = "registries.conf"
		_, err := location.New([]location.Rewrite{tt.rule})
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "registries.conf")) {
			t.Errorf("%.60v: %v, want %q", tt.rule, err, tt.want)
		}
	}
	twice := []location.Rewrite{{Prefix: "quay.io", From: "a.conf"}, {Prefix: "quay.io", From: "b.conf"}}
	if _, err := location.New(twice); err == nil || !strings.Contains(err.Error(), "a.conf") || !strings.Contains(err.Error(), "b.conf") {
		t.Errorf("two rules for one prefix: %v", err)
	}
	if _, err := location.New(make([]location.Rewrite, location.MaxRules+1)); err == nil {
		t.Error("too many rules are taken")
	}
}

// TestTooManyNames: each logical name costs a judgement.
func TestTooManyNames(t *testing.T) {
	rules := func(n int) []location.Rewrite {
		var out []location.Rewrite
		for i := range n {
			out = append(out, location.Rewrite{Prefix: fmt.Sprintf("r%d.example", i), Location: "store.example"})
		}
		return out
	}
	for _, tt := range []struct {
		rules int
		ok    bool
	}{{location.MaxNames - 1, true}, {location.MaxNames, false}, {location.MaxRules, false}} {
		table, err := location.New(rules(tt.rules))
		if err != nil {
			t.Fatal(err)
		}
		if names, err := table.Logical("store.example/app"); (err == nil) != tt.ok {
			t.Errorf("%d rules lead there: %d names, %v", tt.rules, len(names), err)
		}
	}
}
