package doctor

import (
	"testing"

	"github.com/touchmark/touchmark/core/location"
)

// TestPOD03_Sample: a sample of each scope is a name that clients could pull, so that the rules about it can be asked for.
func TestPOD03_Sample(t *testing.T) {
	table, err := location.New([]location.Rewrite{{Prefix: "docker.io", Location: "hub.example"}, {Prefix: "*.example.com", Location: "all.example"}})
	if err != nil {
		t.Fatal(err)
	}
	for scope, want := range map[string]string{
		"docker.io":            "hub.example",
		"docker.io/library":    "hub.example/library",
		"quay.io":              "quay.io",
		"quay.io/acme/app":     "quay.io/acme/app",
		"localhost:5000":       "localhost:5000",
		"*.example.com":        "all.example",
		"":                     sampleName + ".invalid",
		"quay.io:443/acme":     "quay.io:443/acme",
		"registry-1.docker.io": "registry-1.docker.io",
	} {
		places, err := table.Places(sample(scope))
		if err != nil || len(places) != 1 || places[0].Repository != want+"/"+samplePath {
			t.Errorf("scope %q: %s is looked for at %v, %v, want below %s", scope, sample(scope), places, err, want)
		}
	}
}
