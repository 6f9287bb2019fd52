package predicate_test

import (
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/predicate"
)

func TestTypeURI(t *testing.T) {
	for name, want := range map[string]string{
		"slsaprovenance": predicate.SLSA02, "slsaprovenance02": predicate.SLSA02, "slsaprovenance1": predicate.SLSA1,
		"spdx": predicate.SPDX, "spdxjson": predicate.SPDX, "cyclonedx": predicate.CycloneDX, "openvex": predicate.OpenVEX,
		"vuln": predicate.Vuln, "link": predicate.Link, "custom": predicate.Custom,
		"https://acme.example/review/v1": "https://acme.example/review/v1", "urn:acme:review": "urn:acme:review",
	} {
		if got, err := predicate.TypeURI(name); err != nil || got != want {
			t.Errorf("TypeURI(%q) = %q, %v, want %q", name, got, err, want)
		}
	}
	for _, name := range []string{"", "SLSAProvenance", "slsa", "slsaprovenance3", "/review", "acme.example/review", "https://", "https://a b"} {
		if got, err := predicate.TypeURI(name); err == nil || !strings.Contains(err.Error(), "slsaprovenance1") {
			t.Errorf("TypeURI(%q) = %q, %v, want an error that lists the names", name, got, err)
		}
	}
}
