package oracles

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/verify"
	"github.com/touchmark/touchmark/integration/situations"
)

const schemaFile = "../../docs/verdict.schema.json"

func verdictSchema(tb testing.TB) *jsonschema.Schema {
	tb.Helper()
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	schema, err := compiler.Compile(schemaFile)
	if err != nil {
		tb.Fatal(err)
	}
	return schema
}

// asJSON is a value as somebody else's program reads it.
func asJSON(tb testing.TB, v any) any {
	tb.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	if err != nil {
		tb.Fatal(err)
	}
	return value
}

// TestVerdictSchema holds the verdict on every situation against the published schema. With a field more, anywhere, none of them would do.
func TestVerdictSchema(t *testing.T) {
	schema := verdictSchema(t)
	w := situations.Build(t)
	gates := make(map[*situations.Site]*gate.Gate)
	for _, site := range w.Sites {
		gates[site] = site.Gate(t)
	}
	extended, codes := make(map[string]int), make(map[gate.Code]bool)
	for _, image := range w.Images {
		req, err := image.Request()
		if err != nil {
			t.Fatal(err)
		}
		verdict := gates[image.Site].Admit(t.Context(), req)
		codes[verdict.Code] = true
		value := asJSON(t, verdict)
		if err := schema.Validate(value); err != nil {
			t.Errorf("%s: %v", image.Name, err)
			continue
		}
		eachObject(value, "verdict", func(path string, object map[string]any) {
			object["surplus"] = true
			if schema.Validate(value) == nil {
				t.Errorf("%s: the schema accepts a field that nobody knows in %s", image.Name, path)
			}
			delete(object, "surplus")
			extended[path]++
		})
	}
	t.Logf("%d verdicts with %d codes", len(w.Images), len(codes))
	for _, path := range []string{"verdict", "verdict.policies", "verdict.signatures", "verdict.signatures.attempts", "verdict.signatures.attempts.checks", "verdict.signatures.attempts.signer",
		"verdict.signatures.attempts.signer.identity", "verdict.signatures.attempts.entries", "verdict.signatures.attempts.times", "verdict.lookups", "verdict.trustRoots", "verdict.others", "verdict.grant"} {
		if extended[path] == 0 {
			t.Errorf("no situation's verdict holds %s", path)
		}
	}
}

// eachObject visits a JSON value and all that it holds. Members of lists go by the list's name.
func eachObject(value any, path string, visit func(path string, object map[string]any)) {
	switch v := value.(type) {
	case []any:
		for _, element := range v {
			eachObject(element, path, visit)
		}
	case map[string]any:
		for name, member := range v {
			eachObject(member, path+"."+name, visit)
		}
		visit(path, v)
	}
}

// What is not a verdict is refused, each for one reason.
func TestVerdictSchemaRefuses(t *testing.T) {
	schema := verdictSchema(t)
	signer := coretest.Email("alice@acme.example")
	fields := reflect.ValueOf(&signer.Extensions).Elem()
	for i := range fields.NumField() {
		fields.Field(i).SetString("x")
	}
	good := func() map[string]any {
		return asJSON(t, gate.Verdict{
			Outcome: gate.OutcomeRefused, Code: gate.CodeUnsigned, Reason: "no", Repository: "registry.example/acme/app", Digest: "sha256:" + strings.Repeat("a", 64),
			Signatures: []gate.SignatureResult{{Subject: "sha256:" + strings.Repeat("a", 64), Where: "sig-tag", Manifest: "x", Attempts: []gate.Attempt{{Policy: "p", Authority: "a", Signer: &verify.Signer{Identity: &signer}}}}},
		}).(map[string]any)
	}
	if err := schema.Validate(good()); err != nil {
		t.Fatalf("the admitted twin: %v", err)
	}
	for name, change := range map[string]func(v map[string]any){
		"an unknown code":        func(v map[string]any) { v["code"] = "looks-fine" },
		"a code of another case": func(v map[string]any) { v["code"] = "Unsigned" },
		"an attempt's code":      func(v map[string]any) { v["code"] = "identity-mismatch" },
		"an unknown outcome":     func(v map[string]any) { v["outcome"] = "allowed" },
		"no outcome":             func(v map[string]any) { delete(v, "outcome") },
		"no code":                func(v map[string]any) { delete(v, "code") },
		"no reason":              func(v map[string]any) { v["reason"] = "" },
		"a field more":           func(v map[string]any) { v["score"] = 7 },
		"no time":                func(v map[string]any) { v["decidedAt"] = "today" },
		"a number for a boolean": func(v map[string]any) { v["cached"] = 0 },
		"fewer than no requests": func(v map[string]any) { v["manifestRequests"] = json.Number("-1") },
		"a digest of no kind":    func(v map[string]any) { v["signatures"].([]any)[0].(map[string]any)["subject"] = "md5:abc" },
		"an unknown place":       func(v map[string]any) { v["signatures"].([]any)[0].(map[string]any)["where"] = "attic" },
		"an attempt of no policy": func(v map[string]any) {
			delete(v["signatures"].([]any)[0].(map[string]any)["attempts"].([]any)[0].(map[string]any), "policy")
		},
		"a policy digest's case": func(v map[string]any) { v["policyDigest"] = strings.Repeat("A", 64) },
	} {
		v := good()
		change(v)
		if schema.Validate(v) == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

// Every code that the gate declares is in the schema and in docs/verdicts.md, and every code of an attempt is in the latter, and there are no others.
func TestEveryCodeIsDocumented(t *testing.T) {
	verdicts, attempts := constants(t, "../../core/gate", "Code"), append(constants(t, "../../core/verify", "Code"), constants(t, "../../core/gate", "verify.Code")...)
	if len(verdicts) < 20 || len(attempts) < 20 {
		t.Fatalf("%d codes of verdicts and %d of attempts are declared", len(verdicts), len(attempts))
	}
	text, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Properties struct {
			Code, Outcome struct{ Enum []string }
		}
	}
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	same(t, "codes in the schema", schema.Properties.Code.Enum, verdicts)
	same(t, "outcomes in the schema", schema.Properties.Outcome.Enum, constants(t, "../../core/gate/ask", "Outcome"))
	page, err := os.ReadFile("../../docs/verdicts.md")
	if err != nil {
		t.Fatal(err)
	}
	ofVerdicts, ofAttempts, found := strings.Cut(string(page), "## `signatures[].attempts[].code`")
	if !found {
		t.Fatal("docs/verdicts.md has no section on the codes of attempts")
	}
	_, ofVerdicts, _ = strings.Cut(ofVerdicts, "## `code`")
	same(t, "codes in docs/verdicts.md", firstColumn(ofVerdicts), verdicts)
	same(t, "codes of attempts in docs/verdicts.md", firstColumn(ofAttempts), attempts)
}

// firstColumn are the codes that begin the rows of tables.
func firstColumn(page string) (codes []string) {
	for line := range strings.Lines(page) {
		if rest, ok := strings.CutPrefix(line, "| `"); ok {
			code, _, _ := strings.Cut(rest, "`")
			codes = append(codes, code)
		}
	}
	return codes
}

func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	for _, code := range want {
		if !slices.Contains(got, code) {
			t.Errorf("%s: %q is missing", what, code)
		}
	}
	for _, code := range got {
		if !slices.Contains(want, code) {
			t.Errorf("%s: %q is not declared", what, code)
		}
	}
}

// constants are the values of a package's string constants of a type.
func constants(tb testing.TB, dir, typeName string) (found []string) {
	tb.Helper()
	asked := askedConstants(tb)
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		tb.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			tb.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || spec.Type == nil || len(spec.Values) == 0 || typeText(spec.Type) != typeName {
				return true
			}
			value, ok := text(spec.Values[0])
			if !ok {
				if value, ok = asked[typeText(spec.Values[0])]; !ok {
					tb.Errorf("%s: a constant of %s has no plain value", file, typeName)
					return true
				}
			}
			found = append(found, value)
			return true
		})
	}
	return found
}

// text is the value of a literal.
func text(e ast.Expr) (string, bool) {
	literal, ok := e.(*ast.BasicLit)
	if !ok {
		return "", false
	}
	value, err := strconv.Unquote(literal.Value)
	return value, err == nil
}

// askedConstants are the texts of core/gate/ask, which core/gate has its own from, as core/gate writes them.
func askedConstants(tb testing.TB) map[string]string {
	tb.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), "../../core/gate/ask/ask.go", nil, 0)
	if err != nil {
		tb.Fatal(err)
	}
	found := map[string]string{}
	ast.Inspect(parsed, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && len(spec.Values) == 1 {
			if value, ok := text(spec.Values[0]); ok {
				found["ask."+spec.Names[0].Name] = value
			}
		}
		return true
	})
	return found
}

// typeText is a type's name as it is written, qualified or not.
func typeText(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return fmt.Sprintf("%s.%s", typeText(e.X), e.Sel.Name)
	}
	return ""
}
