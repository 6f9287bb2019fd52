// Package cue judges documents with CUE programs, as sigstore's policy-controller does.
//
//	program, err := cue.New().Compile(ctx, source)
//	err = program.Evaluate(ctx, document)
//
// A program is one CUE file. It and the document are unified, and the document satisfies it if they do not contradict each other and nothing is left
// open:
//
//	predicateType: "https://slsa.dev/provenance/v1"
//	predicate: buildDefinition: buildType!: =~"^https://acme.example/"
//
// Note that a field of one fixed value, such as predicateType here, does not demand that the document has it: unification adds it. Write "!" behind its
// name to demand it. policy-controller accepts also what is left open ("version: string" for a document without a version, and the "!" of a field
// that is missing); here that is unsatisfied. It refuses a program whose conditions ("if") are on what only the document has; here they are decided
// with the document. Documents that [document.Check] refuses are errors.
//
// Programs may import the packages of CUE's standard library that compute values, nothing else: no other modules, no files, no commands.
//
// CUE's evaluation can't be stopped: one that goes on after its context has ended, or after [TimeLimit], is left behind and uses its processor and memory until
// it is done. Where programs or documents aren't trusted use core/policy/worker, which kills.
package cue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/cuecontext"
	cueerrors "cuelang.org/go/cue/errors"
	"cuelang.org/go/cue/parser"

	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/policy/document"
)

// TimeLimit ends the waiting for an evaluation, whatever its context says. Real policies take milliseconds.
const TimeLimit = 4 * time.Second

const (
	// maxProgram bounds a program, in bytes: what people write has a few kilobytes.
	maxProgram = 256 << 10
	// maxDocument bounds a document, in bytes. CUE's time grows with the square of a list's length: one megabyte of small objects takes
	// more than a second, five take half a minute.
	maxDocument = 1 << 20
)

// imports are the packages that programs may use: they compute values.
var imports = []string{
	"crypto/ed25519", "crypto/hmac", "crypto/md5", "crypto/sha1", "crypto/sha256", "crypto/sha512",
	"encoding/base64", "encoding/hex", "encoding/json",
	"list", "math", "math/bits", "net", "path", "regexp", "strconv", "strings", "struct", "time", "uuid",
}

type evaluator struct{}

// New returns the evaluator of the language "cue". It may be used by many goroutines.
func New() policy.Evaluator { return evaluator{} }

// Compile reads a program. An error names the line.
func (evaluator) Compile(ctx context.Context, source string) (policy.Program, error) {
	if len(source) > maxProgram {
		return nil, fmt.Errorf("compiling cue: program has %d bytes, the limit is %d", len(source), maxProgram)
	}
	err := within(ctx, func() error {
		if err := checkImports(source); err != nil {
			return err
		}
		return firstError(compile(cuecontext.New(), source).Validate())
	})
	if err != nil {
		return nil, fmt.Errorf("compiling cue: %w", err)
	}
	return program(source), nil
}

func compile(c *cue.Context, source string) cue.Value {
	return c.CompileString(source, cue.Filename("policy.cue"))
}

// checkImports refuses what a program may not import. CUE would resolve packages of its standard library only, but some of them describe commands.
func checkImports(source string) error {
	file, err := parser.ParseFile("policy.cue", source)
	if err != nil {
		return firstError(err)
	}
	for spec := range file.ImportSpecs() {
		name, err := strconv.Unquote(spec.Path.Value)
		if err != nil || !slices.Contains(imports, name) {
			return fmt.Errorf("line %d: import of %s is not allowed", spec.Pos().Line(), spec.Path.Value)
		}
	}
	return nil
}

// program is a text that compiles. Each evaluation compiles it again: a [cue.Context] keeps all that was ever built in it, and its values may not be
// used by several goroutines.
type program string

// Evaluate judges a document.
func (p program) Evaluate(ctx context.Context, untrusted []byte) error {
	if err := document.Check(untrusted, maxDocument); err != nil {
		return fmt.Errorf("evaluating cue: %w", err)
	}
	err := within(ctx, func() error {
		c := cuecontext.New()
		value := c.CompileBytes(untrusted, cue.Filename("document.json")) // JSON is CUE
		if err := value.Err(); err != nil {
			return fmt.Errorf("reading document: %w", firstError(err))
		}
		if err := compile(c, string(p)).Unify(value).Validate(cue.Concrete(true)); err != nil {
			return fmt.Errorf("%w: %w", policy.ErrUnsatisfied, firstError(err))
		}
		return nil
	})
	if err != nil && !errors.Is(err, policy.ErrUnsatisfied) {
		return fmt.Errorf("evaluating cue: %w", err)
	}
	return err
}

// within waits for f as long as its context and [TimeLimit] allow. A panic in f is an error.
func within(ctx context.Context, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, TimeLimit)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				done <- fmt.Errorf("the interpreter panicked: %v", r)
			}
		}()
		done <- f()
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("it took too long: %w", ctx.Err())
	}
}

// firstError is the first of CUE's errors as one line, with its place in the program.
func firstError(err error) error {
	list := cueerrors.Errors(err)
	if len(list) == 0 {
		return nil
	}
	text := list[0].Error()
	for _, pos := range cueerrors.Positions(list[0]) {
		if pos.Filename() == "policy.cue" {
			text = fmt.Sprintf("line %d: %s", pos.Line(), text)
			break
		}
	}
	if more := len(list) - 1; more > 0 {
		text = fmt.Sprintf("%s (and %d more)", document.Short(text), more)
	}
	return errors.New(document.Short(text))
}
