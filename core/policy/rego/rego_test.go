package rego_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/policy/rego"
)

// v0 and v1 are the heads of programs in the two versions of Rego.
const (
	v0 = "package sigstore\ndefault isCompliant = false\n"
	v1 = "package sigstore\ndefault isCompliant := false\n"
)

// messages is the form in which policy-controller documents messages for people.
const messages = `package sigstore
isCompliant[response] {
	result := input.critical == 0
	response := {"result": result, "error": sprintf("%d critical", [input.critical]), "warning": warning}
}
warning = "no scan date" { not input.date }
warning = "" { input.date }
`

func TestEvaluate(t *testing.T) {
	tests := []struct {
		name, program, document string
		want                    string // part of why it is not satisfied; "" satisfies
	}{
		{"v0", v0 + `isCompliant { input.predicate.Data == "x" }`, `{"predicate": {"Data": "x"}}`, ""},
		{"v0, other", v0 + `isCompliant { input.predicate.Data == "x" }`, `{"predicate": {"Data": "y"}}`, "isCompliant is false"},
		{"v0, missing", v0 + `isCompliant { input.predicate.Data == "x" }`, `{}`, "isCompliant is false"},
		{"v1", v1 + `isCompliant if { some p in input.packages; p.name == "x" }`, `{"packages": [{"name": "x"}]}`, ""},
		{"v1, other", v1 + `isCompliant if { some p in input.packages; p.name == "x" }`, `{"packages": [{"name": "y"}]}`, "isCompliant is false"},
		{"v0 that imports v1", "package sigstore\nimport rego.v1\ndefault isCompliant := false\nisCompliant if input.ok", `{"ok": true}`, ""},
		{"v0 with keywords", "package sigstore\nimport future.keywords\ndefault isCompliant := false\nisCompliant if input.ok", `{"ok": true}`, ""},
		{"undefined", "package sigstore\nisCompliant { input.ok }", `{"ok": false}`, "isCompliant is undefined"},
		{"defined", "package sigstore\nisCompliant { input.ok }", `{"ok": true}`, ""},
		{"text", "package sigstore\nisCompliant = \"true\"", `{}`, "isCompliant is string"},
		{"number", "package sigstore\nisCompliant = 1", `{}`, "isCompliant is json.Number"},
		{"object", "package sigstore\nisCompliant = {\"result\": true}", `{}`, "isCompliant is map"},
		{"from the document, true", "package sigstore\nisCompliant = input.ok", `{"ok": true}`, ""},
		{"from the document, text", "package sigstore\nisCompliant = input.ok", `{"ok": "true"}`, "isCompliant is string"},
		{"from the document, null", "package sigstore\nisCompliant = input.ok", `{"ok": null}`, "isCompliant is <nil>"},
		{"messages: result", messages, `{"critical": 0, "date": "x"}`, ""},
		{"messages: error", messages, `{"critical": 3, "date": "x"}`, "3 critical"},
		{"messages: warning", messages, `{"critical": 0}`, "warning: no scan date"},
		{"messages: none", messages, `{}`, "empty list"},
		{"list of no objects", "package sigstore\nisCompliant = [true]", `{}`, "bool in it"},
		{"list with a text as result", "package sigstore\nisCompliant = [{\"result\": \"true\"}]", `{}`, "no boolean"},
		{"first of a list", "package sigstore\nisCompliant = [{\"result\": true}, {\"error\": \"x\"}]", `{}`, ""},
		{"second of a list", "package sigstore\nisCompliant = [{\"error\": \"x\"}, {\"result\": true}]", `{}`, ""},
		{"none of a list", "package sigstore\nisCompliant = [{\"error\": \"x\"}, {\"error\": \"y\"}]", `{}`, "y"},
		{"several functions", v0 + `isCompliant { startswith(lower(input.a), "x"); regex.match("^x+$", input.a); time.parse_rfc3339_ns(input.t) < time.now_ns() }`, `{"a": "xx", "t": "2020-01-01T00:00:00Z"}`, ""},
		{"print", v0 + `isCompliant { print("hello", input); input.ok }`, `{"ok": true}`, ""},
		{"failed call is unsatisfied", v0 + `isCompliant { startswith(input.a, "x") }`, `{"a": 5}`, "isCompliant is false"},
		{"large integers are exact", v0 + `isCompliant { input.n == 9007199254740993 }`, `{"n": 9007199254740993}`, ""},
		{"large integers are not rounded", v0 + `isCompliant { input.n == 9007199254740993 }`, `{"n": 9007199254740992}`, "isCompliant is false"},
		{"data is empty", v0 + `isCompliant { data.allowed }`, `{"allowed": true}`, "isCompliant is false"},
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
	program, err := rego.New().Compile(t.Context(), source)
	if err != nil {
		t.Fatal(err)
	}
	return program.Evaluate(t.Context(), []byte(document))
}

// What is true because a call failed proves nothing.
func TestTruthFromAFailedCall(t *testing.T) {
	const program = v0 + `isCompliant { not startswith(input.builder, "evil") }`
	if err := evaluate(t, program, `{"builder": "good"}`); err != nil {
		t.Errorf("refused: %v", err)
	}
	if err := evaluate(t, program, `{"builder": "evil"}`); !errors.Is(err, policy.ErrUnsatisfied) {
		t.Errorf("error %v, want one that wraps ErrUnsatisfied", err)
	}
	err := evaluate(t, program, `{"builder": ["evil"]}`)
	if err == nil || errors.Is(err, policy.ErrUnsatisfied) || !strings.Contains(err.Error(), "startswith") {
		t.Errorf("error %v, want one that names the call that failed", err)
	}
}

func TestConflictIsAnError(t *testing.T) {
	const program = "package sigstore\nisCompliant = true { input.a }\nisCompliant = false { input.b }"
	if err := evaluate(t, program, `{"a": true}`); err != nil {
		t.Errorf("refused: %v", err)
	}
	if err := evaluate(t, program, `{"a": true, "b": true}`); err == nil || errors.Is(err, policy.ErrUnsatisfied) {
		t.Errorf("error %v, want one about the conflict", err)
	}
}

func TestCompileRefuses(t *testing.T) {
	calls := func(call string) string { return v0 + "isCompliant {\n" + call + "\n}" }
	tests := []struct {
		name, program, want string // "" admits
	}{
		{"no error", v0 + "isCompliant { true }", ""},
		{"syntax", v0 + "isCompliant {", "sigstore.rego:3"},
		{"empty", "", "as Rego v1"},
		{"only a comment", "# nothing", "as Rego v1"},
		{"other package", "package signature\nallow { true }", "package is signature, want sigstore"},
		{"package below", "package sigstore.x\nisCompliant { true }", "package is sigstore.x"},
		{"no rule", "package sigstore\nallow { true }", "no rule isCompliant"},
		{"other case", "package sigstore\niscompliant { true }", "no rule isCompliant"},
		{"unknown name", calls("x"), "var x is unsafe"},
		{"http.send", calls(`http.send({"method": "get", "url": "https://acme.example"})`), "undefined function http.send"},
		{"opa.runtime", calls(`opa.runtime().env.HOME`), "undefined function opa.runtime"},
		{"DNS", calls(`net.lookup_ip_addr("acme.example")`), "undefined function net.lookup_ip_addr"},
		{"CIDR", calls(`net.cidr_expand("10.0.0.0/8")`), "undefined function net.cidr_expand"},
		{"schemas may be fetched", calls(`json.match_schema({}, {"$ref": "https://acme.example"})`), "undefined function json.match_schema"},
		{"signed requests", calls(`providers.aws.sign_req({}, {}, 1)`), "undefined function providers.aws.sign_req"},
		{"randomness", calls(`rand.intn("x", 2) == 1`), "undefined function rand.intn"},
		{"trace", calls(`trace("x")`), "undefined function trace"},
		{"shifts without bound", calls(`bits.lsh(1, 10000000000)`), "undefined function bits.lsh"},
		{"http.send by another name", v0 + "isCompliant { true with http.send as true }", "sigstore.rego:3"},
		{"recursion", v0 + "isCompliant { a }\na { b }\nb { a }", "recursive"},
		{"too large", v0 + "# " + strings.Repeat("x", 256<<10), "the limit is"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := rego.New().Compile(t.Context(), tt.program)
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
		"duplicate names": `{"ok": true, "ok": false}`,
		"deep":            strings.Repeat("[", 10000) + strings.Repeat("]", 10000),
		"large":           `"` + strings.Repeat("x", 8<<20) + `"`,
		"exponent":        `{"a": 1e999999999}`,
		"two values":      `{} {}`,
		"empty":           ``,
		"no JSON":         `{a: 1}`,
	} {
		t.Run(name, func(t *testing.T) {
			if err := evaluate(t, v0+"isCompliant { true }", document); err == nil || errors.Is(err, policy.ErrUnsatisfied) {
				t.Errorf("error %v, want one that says that it could not be decided", err)
			}
		})
	}
	long := strings.Repeat("x", 1<<20)
	if err := evaluate(t, "package sigstore\nisCompliant = [{\"error\": input.a}]", `{"a": "`+long+`"}`); err == nil || len(err.Error()) > 1000 {
		t.Errorf("error of %d bytes, want a short one", len(err.Error()))
	}
}

func TestEndlessComprehensionIsStopped(t *testing.T) {
	const endless = v0 + `isCompliant { n := numbers.range(0, 100000); count([1 | n[_] + n[_] + n[_] < 0]) == 0 }`
	program, err := rego.New().Compile(t.Context(), endless)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	if err := program.Evaluate(ctx, []byte(`{}`)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want DeadlineExceeded", err)
	}
	if took := time.Since(start); took > rego.TimeLimit {
		t.Errorf("stopped after %s only", took)
	}
}

func TestManyGoroutines(t *testing.T) {
	program, err := rego.New().Compile(t.Context(), v0+`isCompliant { input.n < 50 }`)
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

// TestA043_RegoV1IsNotReadAsV0 holds the ways to write a condition in Rego v1 against a document that does not meet it. v0 parses some of them, as an isCompliant
// that is always true and a rule of the name "if".
func TestA043_RegoV1IsNotReadAsV0(t *testing.T) {
	for _, rule := range []string{
		`isCompliant if { input.ok }`,
		`isCompliant if input.ok`,
		`isCompliant := true if { input.ok }`,
		`isCompliant := true if input.ok`,
		`isCompliant = true if { input.ok }`,
		"isCompliant := true if {\n\tinput.ok\n} else := false",
		`isCompliant contains {"result": true} if { input.ok }`,
		`isCompliant := [{"result": true}] if { input.ok }`,
		"isCompliant := true\n\tif { input.ok }",
		"isCompliant := true if { every x in [1] { input.ok; x == 1 } }",
	} {
		t.Run(rule, func(t *testing.T) {
			if err := evaluate(t, "package sigstore\n"+rule, `{"ok": true}`); err != nil {
				t.Errorf("the good twin is refused: %v", err)
			}
			if err := evaluate(t, "package sigstore\n"+rule, `{"ok": false}`); !errors.Is(err, policy.ErrUnsatisfied) {
				t.Errorf("error %v, want one that wraps ErrUnsatisfied", err)
			}
		})
	}
	// Half v1, half v0: v0 alone parses it, and means something else.
	mixed := "package sigstore\ndeny { input.bad }\nisCompliant := true if { not deny }"
	if _, err := rego.New().Compile(t.Context(), mixed); err == nil || !strings.Contains(err.Error(), `the name "if"`) {
		t.Errorf("error %v, want one about the rule of the name if", err)
	}
}
