package rego_test

import (
	"encoding/json"
	"testing"

	"github.com/touchmark/touchmark/core/policy/rego"
)

// Whatever a document looks like, it satisfies only if its "a" is "x".
func FuzzEvaluate(f *testing.F) {
	program, err := rego.New().Compile(f.Context(), "package sigstore\ndefault isCompliant = false\nisCompliant { input.a == \"x\" }")
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{`{"a":"x"}`, `{"a":"y","a":"x"}`, `{"A":"x"}`, `{"a":["x"]}`, `{"a":"\u0078"}`, `"a"`, `{"a":1e400}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		if program.Evaluate(t.Context(), document) != nil {
			return
		}
		var v map[string]any
		if err := json.Unmarshal(document, &v); err != nil || v["a"] != "x" {
			t.Errorf("%q satisfies", document)
		}
	})
}
