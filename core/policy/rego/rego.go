// Package rego judges documents with Rego programs, as sigstore's policy-controller does.
//
//	program, err := rego.New().Compile(ctx, source)
//	err = program.Evaluate(ctx, document)
//
// A program is one module of package sigstore with a rule isCompliant; the document is its input:
//
//	package sigstore
//	default isCompliant = false
//	isCompliant {
//		input.predicateType == "https://slsa.dev/provenance/v1"
//	}
//
// The document satisfies it if isCompliant is true, or a list in which the first object whose "result" is true has no "warning"; otherwise the
// last object's "error" says why not. Everything else (undefined, false, a text) does not satisfy. policy-controller reads Rego v0; here a
// module of v1 (rules with "if") is read, too, and never as if it were v0.
//
// We differ from policy-controller in what could admit by accident: a document that [document.Check] refuses, and a result that is true although a
// built-in function failed on the way, are errors ("not" makes truth out of a failed call), and programs that can't be satisfied are refused when they
// are compiled. Programs may use the functions in capabilities.txt only: no network, no environment, no files, no randomness. Calls of print
// do nothing.
//
// A program and a document together can still use much time and memory. An evaluation ends with its context, after [TimeLimit] at the latest; only a
// process of its own bounds memory, see core/policy/worker.
package rego

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/policy/document"
)

// TimeLimit ends an evaluation, whatever its context says. Real policies take milliseconds.
const TimeLimit = 4 * time.Second

const (
	// maxProgram bounds a program, in bytes: what people write has a few kilobytes.
	maxProgram = 256 << 10
	// maxDocument bounds a document, in bytes: OPA needs some 40 times as much memory, and a second for what is larger.
	maxDocument = 8 << 20
)

// query is what policy-controller asks.
const query = "data.sigstore.isCompliant"

// moduleName stands in errors, before the line.
const moduleName = "sigstore.rego"

// capabilities.txt names the functions that programs may call, one a line. It is a list of what is allowed, so that a new version of OPA brings no new
// function by itself.
//
//go:embed capabilities.txt
var allowed string

type evaluator struct {
	capabilities *ast.Capabilities
}

// New returns the evaluator of the language "rego". It may be used by many goroutines.
func New() policy.Evaluator {
	c := ast.CapabilitiesForThisVersion()
	names := map[string]bool{}
	for _, name := range strings.Fields(allowed) {
		names[name] = true
	}
	var builtins []*ast.Builtin
	for _, b := range c.Builtins {
		if names[b.Name] {
			builtins = append(builtins, b)
		}
	}
	c.Builtins = builtins
	c.AllowNet = []string{} // nil would mean: every host
	return &evaluator{c}
}

// Compile reads a program. An error names the line, and the function that isn't allowed.
func (e *evaluator) Compile(ctx context.Context, source string) (_ policy.Program, err error) {
	defer recoverAs(&err, "compiling rego")
	if len(source) > maxProgram {
		return nil, fmt.Errorf("compiling rego: program has %d bytes, the limit is %d", len(source), maxProgram)
	}
	module, version, err := e.parse(source)
	if err != nil {
		return nil, fmt.Errorf("compiling rego: %w", err)
	}
	if path := module.Package.Path.String(); path != "data.sigstore" {
		return nil, fmt.Errorf("compiling rego: line %d: package is %s, want sigstore", module.Package.Location.Row, strings.TrimPrefix(path, "data."))
	}
	if !defines(module, "isCompliant") {
		return nil, errors.New("compiling rego: package sigstore has no rule isCompliant, so no document satisfies it")
	}
	compiler := ast.NewCompiler().WithCapabilities(e.capabilities).WithDefaultRegoVersion(version)
	if compiler.Compile(map[string]*ast.Module{moduleName: module}); compiler.Failed() {
		return nil, fmt.Errorf("compiling rego: %w", compiler.Errors[0]) // the others often follow from the first
	}
	prepared, err := rego.New(
		rego.Query(query),
		rego.Compiler(compiler),
		rego.SetRegoVersion(version),
		rego.Capabilities(e.capabilities),
	).PrepareForEval(ctx)
	if err != nil {
		return nil, fmt.Errorf("compiling rego: %w", err)
	}
	return program{prepared}, nil
}

// parse reads v0, which is what policy-controller reads, and else v1. What parses as v0 only because v0 takes the words of v1 for names is v1: v0 reads
// "isCompliant := true if { input.ok }" as two rules, isCompliant, which is always true, and if.
func (e *evaluator) parse(source string) (*ast.Module, ast.RegoVersion, error) {
	module, errV0 := ast.ParseModuleWithOpts(moduleName, source, ast.ParserOptions{RegoVersion: ast.RegoV0, Capabilities: e.capabilities})
	if errV0 == nil && module != nil {
		if errV0 = checkNames(module); errV0 == nil {
			return module, ast.RegoV0, nil
		}
	}
	module, errV1 := ast.ParseModuleWithOpts(moduleName, source, ast.ParserOptions{RegoVersion: ast.RegoV1, Capabilities: e.capabilities})
	if errV1 == nil && module != nil {
		return module, ast.RegoV1, nil
	}
	if errV1 == nil {
		return nil, 0, errors.New("program is empty")
	}
	return nil, 0, fmt.Errorf("as Rego v1: %w; as Rego v0: %w", errV1, errV0)
}

// checkNames refuses a module of v0 with a rule whose name is a word of v1.
func checkNames(module *ast.Module) error {
	for _, r := range module.Rules {
		for _, word := range []ast.Var{"if", "contains", "in", "every"} {
			if ref := r.Head.Ref(); len(ref) > 0 && ref[0].Value.Compare(word) == 0 {
				return fmt.Errorf("line %d: a rule has the name %q, which is a word of Rego v1", r.Loc().Row, word)
			}
		}
	}
	return nil
}

func defines(module *ast.Module, rule string) bool {
	for _, r := range module.Rules {
		if ref := r.Head.Ref(); len(ref) > 0 && ref[0].Value.Compare(ast.Var(rule)) == 0 {
			return true
		}
	}
	return false
}

type program struct {
	prepared rego.PreparedEvalQuery
}

// Evaluate judges a document.
func (p program) Evaluate(ctx context.Context, untrusted []byte) (err error) {
	defer recoverAs(&err, "evaluating rego")
	if err := document.Check(untrusted, maxDocument); err != nil {
		return fmt.Errorf("evaluating rego: %w", err)
	}
	input, err := ast.ValueFromReader(bytes.NewReader(untrusted))
	if err != nil {
		return fmt.Errorf("evaluating rego: reading document: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, TimeLimit)
	defer cancel()
	var failed []topdown.Error
	results, err := p.prepared.Eval(ctx, rego.EvalParsedInput(input), rego.EvalBuiltinErrorList(&failed))
	if ctx.Err() != nil {
		return fmt.Errorf("evaluating rego: it took too long: %w", ctx.Err())
	}
	if err != nil {
		return fmt.Errorf("evaluating rego: %w", err)
	}
	err = judge(results)
	if err == nil && len(failed) > 0 {
		return fmt.Errorf("evaluating rego: isCompliant is true, but only after a call failed: %w", &failed[0])
	}
	return err
}

// recoverAs makes an error of a panic in the interpreter: one document must not end a program that judges many.
func recoverAs(err *error, doing string) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("%s: the interpreter panicked: %v", doing, r)
	}
}
