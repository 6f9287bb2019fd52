package install

import (
	"slices"
	"testing"

	"github.com/touchmark/touchmark/core/location"
)

// TestPOD03_CheckScope: a scope is what was named and nothing narrower, in the form that clients use.
func TestPOD03_CheckScope(t *testing.T) {
	for scope, want := range map[string]string{
		"docker.io":            "docker.io",
		"index.docker.io":      "docker.io",
		"registry-1.docker.io": "docker.io",
		"docker.io/library":    "docker.io/library",
		"docker.io/acme":       "docker.io/acme",
		"acme":                 "docker.io/acme",
		"quay.io":              "quay.io",
		"QUAY.io/acme":         "quay.io/acme",
		"quay.io:443/acme/app": "quay.io/acme/app",
		"localhost":            "localhost",
		"localhost:5000":       "localhost:5000",
	} {
		if got, err := CheckScope(scope); err != nil || got != want {
			t.Errorf("%s is %q, %v, want %s", scope, got, err, want)
		}
	}
	for _, scope := range []string{"", "*.example.com", "quay.io/*", "quay.io/Acme", "quay.io/../acme", "quay.io/acme:1", "quay.io/acme/", "https://quay.io"} {
		if got, err := CheckScope(scope); err == nil {
			t.Errorf("%q is taken for %q", scope, got)
		}
	}
}

// TestPOD03_Physical: where clients look for what lies in a scope, by the rules about all of it and about parts of it.
func TestPOD03_Physical(t *testing.T) {
	table, err := location.New([]location.Rewrite{
		{Prefix: "quay.io", Location: "proxy.example/quay"},
		{Prefix: "quay.io/acme", Location: "acme.example", Mirrors: []location.Mirror{{Location: "mirror.example/acme"}}},
		{Prefix: "docker.io/library", Location: "official.example/library"},
		{Prefix: "*.example.org"},
		{Prefix: "bad.example", Location: "bad.example", Blocked: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	for scope, want := range map[string][]string{
		"quay.io":               {"proxy.example/quay", "acme.example", "mirror.example/acme"},
		"quay.io/other":         {"proxy.example/quay/other"},
		"quay.io/acme":          {"mirror.example/acme", "acme.example"},
		"quay.io/acme/app":      {"mirror.example/acme/app", "acme.example/app"},
		"docker.io":             {"docker.io", "official.example/library"},
		"docker.io/library":     {"official.example/library"},
		"docker.io/acme":        {"docker.io/acme"},
		"registry.example.org":  {"registry.example.org"},
		"registry.example:5000": {"registry.example:5000"},
		"bad.example":           nil,
		"quay.io:443":           nil, // proxy.example/quay:443/... is no name
	} {
		if got := physical(table, scope); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", scope, got, want)
		}
	}
}
