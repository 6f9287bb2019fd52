package policy

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

var (
	yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")
	// readFields is how fields are read in this package: v.fields("a", "b").
	readFields = regexp.MustCompile(`\.fields\(((?:"[^"]+"(?:, )?)+)\)`)
	quoted     = regexp.MustCompile(`"([^"]+)"`)
)

func manual(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "policy.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestManualExamples reads every example of the manual.
func TestManualExamples(t *testing.T) {
	blocks := yamlBlock.FindAllStringSubmatch(manual(t), -1)
	if len(blocks) < 3 {
		t.Fatalf("the manual has %d examples", len(blocks))
	}
	for i, block := range blocks {
		if _, err := Parse(t.Context(), []byte(block[1]), stubbed(t)); err != nil {
			t.Errorf("example %d: %v", i+1, err)
		}
	}
}

// TestManualFields: the manual names every field that is read.
func TestManualFields(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	text, found := manual(t), 0
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, call := range readFields.FindAllStringSubmatch(string(source), -1) {
			for _, field := range quoted.FindAllStringSubmatch(call[1], -1) {
				found++
				if !strings.Contains(text, field[1]) {
					t.Errorf("%s reads the field %s, which the manual does not name", file, field[1])
				}
			}
		}
	}
	if found < 60 {
		t.Errorf("only %d fields were found in the source", found)
	}
}

// TestA039_EveryFieldOfAnAuthorityMatters sets each field of an authority to another
// value: none may be accepted and dropped.
func TestA039_EveryFieldOfAnAuthorityMatters(t *testing.T) {
	base := clusterPolicy("p", "a.example/x", "{keyless: {identities: [{issuer: i, subject: s}]}%s}")
	plain := authorityOf(t, fmt.Sprintf(base, ""))
	for _, field := range []string{
		"name: x", "ctlog: {}", "ctlog: {url: 'https://x.example'}", "ctlog: {trustRootRef: x}", "rfc3161timestamp: {}",
		"rfc3161timestamp: {trustRootRef: x}", "signatureFormat: legacy", "signatureFormat: bundle", "source: [{oci: x.example/y}]",
		"source: [{tagPrefix: x}]", "attestations: [{name: x, predicateType: spdx}]",
	} {
		if reflect.DeepEqual(plain, authorityOf(t, fmt.Sprintf(base, ", "+field))) {
			t.Errorf("%s changes nothing", field)
		}
	}
	for _, field := range []string{"url: 'https://x.example'", "trustRootRef: x", "insecureIgnoreSCT: true"} {
		text := strings.Replace(fmt.Sprintf(base, ""), "keyless: {", "keyless: {"+field+", ", 1)
		if reflect.DeepEqual(plain, authorityOf(t, text)) {
			t.Errorf("keyless.%s changes nothing", field)
		}
	}
}

func authorityOf(t *testing.T, text string) Authority {
	t.Helper()
	set, err := Parse(t.Context(), []byte(text), stubbed(t))
	if err != nil {
		t.Fatal(err)
	}
	return *set.Policies[0].Authorities[0]
}
