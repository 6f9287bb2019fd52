package worker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/policy/worker"
)

// predicates is the real program, built once for all tests.
var predicates string

func TestMain(m *testing.M) { os.Exit(withProgram(m)) }

func withProgram(m *testing.M) int {
	dir, err := os.MkdirTemp("", "worker-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	predicates = filepath.Join(dir, worker.Name)
	if out, err := exec.Command("go", "build", "-o", predicates, "../../../cmd/touchmark-predicates").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

const isX = "package sigstore\ndefault isCompliant = false\nisCompliant { input.a == \"x\" }"

func evaluate(t *testing.T, language, source, document string) error {
	t.Helper()
	program, err := worker.Evaluator(language, predicates).Compile(t.Context(), source)
	if err != nil {
		t.Fatal(err)
	}
	return program.Evaluate(t.Context(), []byte(document))
}

func TestEvaluate(t *testing.T) {
	for _, tt := range []struct {
		language, source, document string
		want                       string // of what is unsatisfied; "" satisfies
	}{
		{"rego", isX, `{"a": "x"}`, ""},
		{"rego", isX, `{"a": "y"}`, "the predicate is not satisfied: isCompliant is false"},
		{"rego", isX, `{"a": "` + strings.Repeat("x", 4<<20) + `"}`, "the predicate is not satisfied: isCompliant is false"},
		{"cue", `a!: "x"`, `{"a": "x"}`, ""},
		{"cue", `a!: "x"`, `{}`, "the predicate is not satisfied: line 1: a: field is required but not present"},
		{"rego", "package sigstore\nisCompliant { time.date([0, \"America/New_York\"])[0] == 1969 }", `{}`, ""}, // time zones are there although files can't be opened
	} {
		err := evaluate(t, tt.language, tt.source, tt.document)
		if tt.want == "" && err != nil {
			t.Errorf("%s %s: refused: %v", tt.language, tt.source, err)
		}
		if tt.want != "" && (!errors.Is(err, policy.ErrUnsatisfied) || err.Error() != tt.want) {
			t.Errorf("%s %s: error %v, want %q", tt.language, tt.source, err, tt.want)
		}
	}
}

func TestUndecided(t *testing.T) {
	for name, tt := range map[string]struct{ language, source, document, want string }{
		"hostile document":   {"rego", isX, `{"a": "x", "a": "y"}`, "duplicate"},
		"too large for CUE":  {"cue", `a: _`, `{"a": "` + strings.Repeat("x", 1<<20) + `"}`, "the limit is"},
		"too large for both": {"rego", isX, strings.Repeat(" ", 65<<20), "the limits are"},
		"failed call":        {"rego", "package sigstore\nisCompliant { not startswith(input.a, \"x\") }", `{"a": 1}`, "startswith"},
	} {
		t.Run(name, func(t *testing.T) {
			err := evaluate(t, tt.language, tt.source, tt.document)
			if err == nil || errors.Is(err, policy.ErrUnsatisfied) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q that is not ErrUnsatisfied", err, tt.want)
			}
		})
	}
}

func TestCompileRefuses(t *testing.T) {
	for _, tt := range []struct{ language, source, want string }{
		{"rego", "package sigstore\nisCompliant { http.send({\"method\": \"get\", \"url\": \"x\"}) }", "sigstore.rego:2: rego_type_error: undefined function http.send"},
		{"cue", "import \"tool/exec\"", "line 1: import of \"tool/exec\" is not allowed"},
		{"cobol", "", "evaluating cobol: the language is not known"},
		{"rego", strings.Repeat("x", 2<<20), "the limits are"},
	} {
		_, err := worker.Evaluator(tt.language, predicates).Compile(t.Context(), tt.source)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want one with %q", tt.language, err, tt.want)
		}
	}
}

// What the interpreters can't stop themselves ends with the process.
func TestMemoryIsLimited(t *testing.T) {
	if testing.Short() {
		t.Skip("uses a gigabyte for some seconds")
	}
	err := evaluate(t, "rego", "package sigstore\nisCompliant { a := numbers.range(0, 30000000); b := [sprintf(\"%d\", [x]) | x := a[_]]; count(b) > 0 }", `{}`)
	if err == nil || errors.Is(err, policy.ErrUnsatisfied) {
		t.Errorf("error %v, want one", err)
	}
}

func TestKilledWithItsContext(t *testing.T) {
	program, err := worker.Evaluator("rego", predicates).Compile(t.Context(), "package sigstore\nisCompliant { n := numbers.range(0, 100000); count([1 | n[_] + n[_] < 0]) == 0 }")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	start := time.Now()
	if err := program.Evaluate(ctx, []byte(`{}`)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want DeadlineExceeded", err)
	}
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("killed after %s only", took)
	}
}

// A program that isn't the right one, or breaks, never says yes.
func TestBrokenPrograms(t *testing.T) {
	script := func(text string) string {
		path := filepath.Join(t.TempDir(), "program")
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, text := range map[string]string{
		"says nothing":                `exit 0`,
		"echoes":                      `cat`,
		"says yes and fails":          `echo '{"verdict":"satisfied","why":""}'; exit 1`,
		"says yes and dies":           `echo '{"verdict":"satisfied","why":""}'; kill -9 $$`,
		"says yes and more":           `echo '{"verdict":"satisfied","why":"","x":1}'`,
		"says yes twice":              `echo '{"verdict":"satisfied","why":""}'; echo '{"verdict":"satisfied","why":""}'`,
		"says yes and no":             `echo '{"verdict":"satisfied","verdict":"unsatisfied","why":""}'`,
		"says yes in other letters":   `echo '{"verdict":"Satisfied","why":""}'`,
		"says that it has compiled":   `echo '{"verdict":"compiled","why":""}'`,
		"says nothing in an object":   `echo '{}'`,
		"says more than anybody asks": `while true; do echo 0123456789012345678901234567890123456789; done`,
	} {
		t.Run(name, func(t *testing.T) {
			path := script("read -r header\ncase $header in *-1*) echo '{\"verdict\":\"compiled\",\"why\":\"\"}'; exit;; esac\n" + text)
			program, err := worker.Evaluator("rego", path).Compile(t.Context(), isX)
			if err != nil {
				t.Fatal(err)
			}
			err = program.Evaluate(t.Context(), []byte(`{"a": "x"}`))
			if err == nil || errors.Is(err, policy.ErrUnsatisfied) || !strings.Contains(err.Error(), path) {
				t.Errorf("error %v, want one that names the program", err)
			}
		})
	}
	t.Run("admitted twin", func(t *testing.T) {
		program, err := worker.Evaluator("rego", script(`read -r header
case $header in *-1*) echo '{"verdict":"compiled","why":""}';; *) echo '{"verdict":"satisfied","why":""}';; esac`)).Compile(t.Context(), isX)
		if err != nil {
			t.Fatal(err)
		}
		if err := program.Evaluate(t.Context(), []byte(`{}`)); err != nil {
			t.Error(err)
		}
	})
	t.Run("missing", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "missing")
		if _, err := worker.Evaluator("rego", path).Compile(t.Context(), isX); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) {
			t.Errorf("error %v, want fs.ErrNotExist with the path", err)
		}
		if _, err := worker.Evaluator("rego", "").Compile(t.Context(), isX); err == nil || !strings.Contains(err.Error(), worker.Name) {
			t.Errorf("error %v, want one with the program's name", err)
		}
	})
}

func TestServeRefuses(t *testing.T) {
	for name, request := range map[string]string{
		"no JSON":          "hello\n",
		"other protocol":   `{"protocol":2,"language":"rego","program":0,"document":-1}` + "\n",
		"unknown field":    `{"protocol":1,"language":"rego","program":0,"document":-1,"x":1}` + "\n",
		"negative length":  `{"protocol":1,"language":"rego","program":-1,"document":-1}` + "\n",
		"length too large": `{"protocol":1,"language":"rego","program":0,"document":1000000000}` + "\n",
		"cut":              `{"protocol":1,"language":"rego","program":10,"document":-1}` + "\nabc",
		"endless line":     strings.Repeat("x", 1<<20),
		"cut header":       `{"protocol":1`,
	} {
		var out bytes.Buffer
		if err := worker.Serve(strings.NewReader(request), &out, nil); err == nil || out.Len() > 0 {
			t.Errorf("%s: error %v, answer %q", name, err, out.String())
		}
	}
	var out bytes.Buffer
	good := `{"protocol":1,"language":"rego","program":3,"document":-1}` + "\nabc"
	if err := worker.Serve(strings.NewReader(good+good), &out, nil); err != nil || strings.Count(out.String(), "not known") != 2 {
		t.Errorf("error %v, answers %q, want two", err, out.String())
	}
}

func TestManyGoroutines(t *testing.T) {
	program, err := worker.Evaluator("rego", predicates).Compile(t.Context(), "package sigstore\nisCompliant { input.n < 5 }")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for n := range 10 {
		wg.Go(func() {
			err := program.Evaluate(t.Context(), fmt.Appendf(nil, `{"n": %d}`, n))
			if (err == nil) != (n < 5) {
				t.Errorf("%d: %v", n, err)
			}
		})
	}
	wg.Wait()
}

func BenchmarkEvaluate(b *testing.B) {
	program, err := worker.Evaluator("rego", predicates).Compile(b.Context(), isX)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := program.Evaluate(b.Context(), []byte(`{"a": "x"}`)); err != nil {
			b.Fatal(err)
		}
	}
}
