package cue_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/policy/cue"
)

const bound = `import "time"
before: time.Parse(time.RFC3339, "2049-10-09T17:10:27Z")
predicate: Timestamp: <before`

// counts is how policy-controller's own tests demand numbers of signatures.
const counts = `import "list"
import "struct"
authorityMatches: {
	keyatt: attestations: struct.MaxFields(1) & struct.MinFields(1)
	keysignature: signatures: list.MaxItems(1) & list.MinItems(1)
	if len(authorityMatches.keyatt.attestations) > 5 {
		tooMany: 5
		tooMany: "Error"
	}
}`

func TestEvaluate(t *testing.T) {
	tests := []struct {
		name, program, document string
		want                    string // part of why it is not satisfied; "" satisfies
	}{
		{"value", `predicate: Data: "x"`, `{"predicate": {"Data": "x"}}`, ""},
		{"other value", `predicate: Data: "x"`, `{"predicate": {"Data": "y"}}`, "line 1: predicate.Data: conflicting values"},
		{"other type", `predicate: n: <5`, `{"predicate": {"n": "1"}}`, "predicate.n"},
		{"bound", bound, `{"predicate": {"Timestamp": "2026-01-01T00:00:00Z"}}`, ""},
		{"beyond the bound", bound, `{"predicate": {"Timestamp": "2050-01-01T00:00:00Z"}}`, "predicate.Timestamp"},
		{"bound on nothing", bound, `{"predicate": {}}`, "incomplete value"},
		{"type", `version: string`, `{"version": "1"}`, ""},
		{"type of nothing", `version: string`, `{}`, "incomplete value string"},
		{"fixed value is added", `version: "1"`, `{}`, ""}, // CUE has it so, and policy-controller
		{"required", `version!: "1"`, `{"version": "1"}`, ""},
		{"required is missing", `version!: "1"`, `{}`, "required but not present"},
		{"optional is missing", `version?: "1"`, `{}`, ""},
		{"optional is other", `version?: "1"`, `{"version": "2"}`, "conflicting values"},
		{"closed", `#D: {a: string}` + "\n#D", `{"a": "x"}`, ""},
		{"closed, and another field", `#D: {a: string}` + "\n#D", `{"a": "x", "b": 1}`, "b: field not allowed"},
		{"elements", `packages: [...{license: "MIT" | "BSD"}]`, `{"packages": [{"license": "MIT"}, {"license": "BSD"}]}`, ""},
		{"one element", `packages: [...{license: "MIT" | "BSD"}]`, `{"packages": [{"license": "MIT"}, {"license": "GPL"}]}`, "packages.1.license"},
		{"counts", counts, `{"authorityMatches": {"keyatt": {"attestations": {"a": []}}, "keysignature": {"signatures": [1]}}}`, ""},
		{"counts of none", counts, `{"authorityMatches": {"keyatt": {"attestations": {}}, "keysignature": {"signatures": [1]}}}`, "attestations"},
		{"counts of nothing", counts, `{"authorityMatches": {"keyatt": {"attestations": {"a": []}}}}`, "keysignature"},
		{"condition on what the document has", `p: _` + "\nif p.x > 2 {bad: error(\"too many\")}", `{"p": {"x": 1}}`, ""},
		{"condition that bites", `p: _` + "\nif p.x > 2 {bad: error(\"too many\")}", `{"p": {"x": 3}}`, "too many"},
		{"condition on nothing", `p: _` + "\nif p.x > 2 {bad: error(\"too many\")}", `{"p": {}}`, "undefined field"},
		{"regular expression", `id: =~"^https://acme\\.example/"`, `{"id": "https://acme.example/x"}`, ""},
		{"regular expression, other", `id: =~"^https://acme\\.example/"`, `{"id": "https://evil.example/https://acme.example/"}`, "id"},
		{"scalar document", `"x"`, `"x"`, ""},
		{"large integers are exact", `n: 9007199254740993`, `{"n": 9007199254740993}`, ""},
		{"large integers are not rounded", `n: 9007199254740993`, `{"n": 9007199254740992}`, "conflicting values"},
		{"CUE in a text is text", `a: string`, `{"a": "\\(1+1)"}`, ""},
		{"names that CUE gives a meaning to", `"#D"?: int`, `{"_h": 1, "#x": 2, "$y": 3, "__proto__": 4}`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := evaluate(t, tt.program, tt.document)
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.want != "" && !errors.Is(err, policy.ErrUnsatisfied):
				t.Errorf("error %v, want one that wraps ErrUnsatisfied", err)
			case tt.want != "" && !strings.Contains(err.Error(), tt.want):
				t.Errorf("error %q, want one with %q", err, tt.want)
			}
		})
	}
}

func evaluate(t *testing.T, source, document string) error {
	t.Helper()
	program, err := cue.New().Compile(t.Context(), source)
	if err != nil {
		t.Fatal(err)
	}
	return program.Evaluate(t.Context(), []byte(document))
}

func TestCompileRefuses(t *testing.T) {
	tests := []struct {
		name, program, want string // "" admits
	}{
		{"no error", "a: 1\nb: int", ""},
		{"syntax", "a: 1\nb: {", "line 2"},
		{"contradiction", "a: 1\na: 2", "conflicting values"},
		{"undefined name", "a: b", `reference "b" not found`},
		{"import that computes", `import "strings"` + "\n" + `a: strings.ToUpper("x")`, ""},
		{"import of commands", `import "tool/exec"` + "\n" + `a: exec.Run & {cmd: "id"}`, `line 1: import of "tool/exec" is not allowed`},
		{"import of files", `import "tool/file"`, `"tool/file" is not allowed`},
		{"import of HTTP", `import "tool/http"`, `"tool/http" is not allowed`},
		{"import of templates", `import "text/template"`, `"text/template" is not allowed`},
		{"import of another module", `import "acme.example/x"`, `"acme.example/x" is not allowed`},
		{"import under a version", `import "tool/file:file"`, `is not allowed`},
		{"too large", "// " + strings.Repeat("x", 256<<10), "the limit is"},
		{"file embedded", "@extern(embed)\npackage p\na: _ @embed(file=\"cue_test.go\",type=text)", "cannot embed files"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := cue.New().Compile(t.Context(), tt.program)
			if tt.want == "" && err != nil {
				t.Errorf("refused: %v", err)
			}
			if tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestHostileDocuments(t *testing.T) {
	for name, document := range map[string]string{
		"duplicate names":   `{"a": 1, "a": 1}`,
		"deep":              strings.Repeat("[", 10000) + strings.Repeat("]", 10000),
		"large":             `"` + strings.Repeat("x", 1<<20) + `"`,
		"exponent":          `{"a": 1e999999999}`,
		"CUE":               `{a: 1}`,
		"CUE with a value":  `{"a": 1 | 2}`,
		"two values":        `{} {}`,
		"empty":             ``,
		"a comment of CUE":  "{} // x",
		"an embedded field": `{"a": 1, {"b": 2}}`,
	} {
		t.Run(name, func(t *testing.T) {
			if err := evaluate(t, `_`, document); err == nil || errors.Is(err, policy.ErrUnsatisfied) {
				t.Errorf("error %v, want one that says that it could not be decided", err)
			}
		})
	}
	long := strings.Repeat("x", 1<<19)
	if err := evaluate(t, `a: "y"`, `{"a": "`+long+`"}`); err == nil || len(err.Error()) > 1000 {
		t.Errorf("error of %d bytes, want a short one", len(err.Error()))
	}
}

// 2^26 combinations; the context ends the waiting.
const endless = `import "list"
let n = list.Range(0, 3000, 1)
a: len([for i in n for j in n for k in n if i+j+k < 0 {i}])`

func TestTimeLimit(t *testing.T) {
	if testing.Short() {
		t.Skip("leaves a busy goroutine behind")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := cue.New().Compile(ctx, endless); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want DeadlineExceeded", err)
	}
}

func TestManyGoroutines(t *testing.T) {
	program, err := cue.New().Compile(t.Context(), `n!: <50`)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for n := range 100 {
		wg.Go(func() {
			err := program.Evaluate(t.Context(), fmt.Appendf(nil, `{"n": %d}`, n))
			if (err == nil) != (n < 50) {
				t.Errorf("%d: %v", n, err)
			}
		})
	}
	wg.Wait()
}
