package oracles

import (
	"testing"

	"github.com/sigstore/cosign/v2/pkg/policy"

	corepolicy "github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/policy/cue"
	"github.com/touchmark/touchmark/core/policy/rego"
)

const (
	regoHead     = "package sigstore\ndefault isCompliant = false\n"
	regoMessages = `package sigstore
isCompliant[response] {
	result := input.critical == 0
	response := {"result": result, "error": sprintf("%d critical", [input.critical]), "warning": warning}
}
warning = "no scan date" { not input.date }
warning = "" { input.date }
`
	cueCounts = `import "list"
import "struct"
authorityMatches: {
	keyatt: attestations: struct.MaxFields(1) & struct.MinFields(1)
	keysignature: signatures: list.MaxItems(1) & list.MinItems(1)
}`
	cueCondition = "p: _\nif p.x > 2 {bad: error(\"too many\")}"
)

// TestPredicates holds our evaluators against the one that policy-controller calls. Where they differ the row says why.
func TestPredicates(t *testing.T) {
	evaluators := map[string]corepolicy.Evaluator{"rego": rego.New(), "cue": cue.New()}
	for _, tt := range []struct {
		language, program, document string
		ours                        bool
		differs                     string // why policy-controller says otherwise; "" if it agrees
	}{
		{"rego", regoHead + `isCompliant { input.a == "x" }`, `{"a":"x"}`, true, ""},
		{"rego", regoHead + `isCompliant { input.a == "x" }`, `{"a":"y"}`, false, ""},
		{"rego", "package sigstore\nimport rego.v1\nisCompliant if input.ok", `{"ok":true}`, true, ""},
		{"rego", "package sigstore\nisCompliant if input.ok", `{"ok":true}`, true, "it reads Rego v0 only"},
		{"rego", "package sigstore\nisCompliant = \"true\"", `{}`, false, ""},
		{"rego", "package sigstore\nisCompliant = {\"result\": true}", `{}`, false, ""},
		{"rego", "package signature\nallow { true }", `{}`, false, ""},
		{"rego", regoMessages, `{"critical":0,"date":"x"}`, true, ""},
		{"rego", regoMessages, `{"critical":3,"date":"x"}`, false, ""},
		{"rego", regoMessages, `{"critical":0}`, false, ""}, // a warning is refused
		{"rego", regoMessages, `{}`, false, ""},
		{"rego", "package sigstore\nisCompliant = [{\"result\": true}, {\"error\": \"x\"}]", `{}`, true, ""},
		{"rego", "package sigstore\nisCompliant = [{\"error\": \"x\"}, {\"result\": true}]", `{}`, true, ""},
		{"rego", regoHead + `isCompliant { not startswith(input.a, "evil") }`, `{"a":["evil"]}`, false, "it takes a failed call for false"},
		{"rego", regoHead + `isCompliant { input.a == "x" }`, `{"a":"y","a":"x"}`, false, "it takes the last of two members of one name"},
		{"rego", regoHead + `isCompliant { trace("x") }`, `{}`, false, "it allows every function"},
		{"cue", `a: "x"`, `{"a":"x"}`, true, ""},
		{"cue", `a: "x"`, `{"a":"y"}`, false, ""},
		{"cue", `a: "x"`, `{}`, true, ""},
		{"cue", `a!: "x"`, `{"a":"x"}`, true, ""},
		{"cue", `a!: "x"`, `{}`, false, "it accepts what is left open"},
		{"cue", `a: string`, `{}`, false, "it accepts what is left open"},
		{"cue", `a: "x" | "y"`, `{}`, false, "it accepts what is left open"},
		{"cue", `a: <5`, `{"a":7}`, false, ""},
		{"cue", cueCounts, `{"authorityMatches":{"keyatt":{"attestations":{"a":[]}},"keysignature":{"signatures":[1]}}}`, true, ""},
		{"cue", cueCounts, `{"authorityMatches":{"keyatt":{"attestations":{"a":[]}}}}`, false, "it accepts what is left open"},
		{"cue", cueCondition, `{"p":{"x":3}}`, false, ""},
		{"cue", cueCondition, `{"p":{"x":1}}`, true, "it refuses conditions on what only the document has"},
	} {
		program, err := evaluators[tt.language].Compile(t.Context(), tt.program)
		if err == nil {
			err = program.Evaluate(t.Context(), []byte(tt.document))
		}
		if (err == nil) != tt.ours {
			t.Errorf("%s %q on %s: %v, want satisfied: %v", tt.language, tt.program, tt.document, err, tt.ours)
		}
		warning, theirErr := policy.EvaluatePolicyAgainstJSON(t.Context(), "predicate", tt.language, tt.program, []byte(tt.document))
		theirs := warning == nil && theirErr == nil // policy-controller refuses both
		if (theirs == tt.ours) != (tt.differs == "") {
			t.Errorf("%s %q on %s: policy-controller says %v (%v, %v), we %v; differs: %q", tt.language, tt.program, tt.document, theirs, warning, theirErr, tt.ours, tt.differs)
		}
	}
}
