package predicate_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/predicate"
)

var (
	now   = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	about = predicate.Subject{Name: "registry.example/app", Algorithm: "sha256", Digest: bytes.Repeat([]byte{0xab}, 32)}
)

func TestStatement(t *testing.T) {
	subject := `"subject":[{"name":"registry.example/app","digest":{"sha256":"` + strings.Repeat("ab", 32) + `"}}]`
	for _, tt := range []struct{ name, uri, in, version, out string }{
		{"SLSA v0.2", predicate.SLSA02, `{"builder": {"id": "b"}, "buildType": "t"}`, "v0.1", `{"builder":{"id":"b"},"buildType":"t"}`},
		{"SLSA v1", predicate.SLSA1, `{"buildDefinition":{"buildType":"t"},"runDetails":{"builder":{"id":"b"}}}`, "v1", ""},
		{"SPDX 2", predicate.SPDX, `{"spdxVersion":"SPDX-2.3"}`, "v1", ""},
		{"SPDX 3", predicate.SPDX, `{"@context":"https://spdx.org/rdf/3.0.1/spdx-context.jsonld","@graph":[]}`, "v1", ""},
		{"CycloneDX", predicate.CycloneDX, `{"bomFormat":"CycloneDX","specVersion":"1.6"}`, "v1", ""},
		{"OpenVEX", predicate.OpenVEX, `{"@context":"https://openvex.dev/ns/v0.2.0","statements":[]}`, "v1", ""},
		{"vuln", predicate.Vuln, `{"scanner":{"uri":"pkg:github/aquasecurity/trivy"},"metadata":{}}`, "v0.1", ""},
		{"link", predicate.Link, `{"name":"build"}`, "v1", ""},
		{"custom", predicate.Custom, `{"reviewed": true}`, "v0.1", `{"Data":"{\"reviewed\": true}","Timestamp":"2026-11-22T12:00:00Z"}`},
		{"custom text", predicate.Custom, "foobar\n", "v0.1", `{"Data":"foobar\n","Timestamp":"2026-11-22T12:00:00Z"}`},
		{"of one's own", "https://acme.example/review/v1", `{"by":"alice","n":1.0}`, "v1", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.out == "" {
				tt.out = tt.in
			}
			want := `{"_type":"https://in-toto.io/Statement/` + tt.version + `",` + subject + `,"predicateType":"` + tt.uri + `","predicate":` + tt.out + `}`
			got, err := predicate.Statement(tt.uri, about, []byte(tt.in), now)
			if err != nil || string(got) != want {
				t.Errorf("statement %s, %v\nwant %s", got, err, want)
			}
		})
	}
}

func TestLIB09_StatementRefuses(t *testing.T) {
	for _, tt := range []struct{ name, uri, in, want string }{
		{"empty", predicate.SLSA1, "", "malformed JSON"},
		{"not an object", "https://acme.example/v1", `["a"]`, "not a JSON object"},
		{"two objects", "https://acme.example/v1", `{}{}`, "malformed JSON"},
		{"duplicate name", "https://acme.example/v1", `{"a":{"b":1,"b":2}}`, "duplicate"},
		{"not UTF-8", "https://acme.example/v1", "{\"a\":\"\xff\"}", "UTF-8"},
		{"custom, not UTF-8", predicate.Custom, "\xff", "UTF-8"},
		{"custom, empty", predicate.Custom, " \n", "empty"},
		{"SPDX tag:value", predicate.SPDX, "SPDXVersion: SPDX-2.3\n", "converted to JSON"},
		{"SLSA v1 as v0.2", predicate.SLSA02, `{"buildDefinition":{"buildType":"t"},"runDetails":{"builder":{"id":"b"}}}`, "builder/id is missing"},
		{"SLSA v0.2 as v1", predicate.SLSA1, `{"builder":{"id":"b"},"buildType":"t"}`, "buildDefinition/buildType is missing"},
		{"builder without id", predicate.SLSA02, `{"builder":"b","buildType":"t"}`, "builder/id is missing"},
		{"builder with an empty id", predicate.SLSA02, `{"builder":{"id":""},"buildType":"t"}`, "builder/id is"},
		{"CycloneDX as SPDX", predicate.SPDX, `{"bomFormat":"CycloneDX","specVersion":"1.6"}`, "spdxVersion is missing"},
		{"SPDX as CycloneDX", predicate.CycloneDX, `{"spdxVersion":"SPDX-2.3"}`, "bomFormat is missing"},
		{"other JSON-LD as OpenVEX", predicate.OpenVEX, `{"@context":"https://schema.org","statements":[]}`, "@context is"},
		{"OpenVEX statements", predicate.OpenVEX, `{"@context":"https://openvex.dev/ns","statements":{}}`, "statements is of the wrong type"},
		{"vuln", predicate.Vuln, `{"scanner":{"uri":"x"}}`, "metadata is missing"},
		{"link", predicate.Link, `{}`, "name is missing"},
		{"too large", "https://acme.example/v1", `{"a":"` + strings.Repeat("a", predicate.MaxSize) + `"}`, "limit"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := predicate.Statement(tt.uri, about, []byte(tt.in), now); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("statement %.100s, error %v, want %q", got, err, tt.want)
			}
		})
	}
}
