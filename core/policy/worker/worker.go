// Package worker judges documents in a process of their own, the program touchmark-predicates.
//
//	path, err := child.Find(worker.Name)
//	options.Evaluators = map[string]policy.Evaluator{
//		"rego": worker.Evaluator("rego", path),
//		"cue":  worker.Evaluator("cue", path),
//	}
//
// The interpreters of Rego and CUE are large (they would double a program's size and its time to start), and they read documents of megabytes that
// strangers wrote. A deep enough recursion ends a Go program, CUE can't be told to stop, and neither has a limit of memory; a process has all three.
//
// Each compilation and each evaluation is one process, which ends with its answer: nothing of one document reaches the next. Starting it takes some
// 20 milliseconds, less than any request to a registry. At most one process per processor runs at a time for each evaluator.
//
// A program that is missing, dies, is killed (after [TimeLimit]), or answers what isn't understood is an error that names it, never a pass.
//
// The protocol: a line of JSON (a header, with the lengths of what follows), the predicate's text, the document; the answer is a line of JSON. [Serve] is the
// program's side of it.
package worker

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/touchmark/touchmark/core/child"
	"github.com/touchmark/touchmark/core/policy"
)

// Name is the program's name, for [child.Find].
const Name = "touchmark-predicates"

// TimeLimit ends a process. The evaluators' own limits are shorter and know better what to say.
const TimeLimit = 5 * time.Second

const (
	maxAnswer   = 16 << 10 // bytes; evaluators keep what they say short
	maxProgram  = 1 << 20  // bytes; each evaluator has a limit of its own, which is smaller
	maxDocument = 64 << 20 // bytes; likewise
)

// protocol is the version of the messages: programs of two versions of Touchmark don't talk past each other.
const protocol = 1

// header begins a request.
type header struct {
	Protocol int    `json:"protocol"`
	Language string `json:"language"`
	Program  int    `json:"program"`  // bytes of the predicate's text
	Document int    `json:"document"` // bytes of the document; noDocument compiles only
}

const noDocument = -1

// answer ends one.
type answer struct {
	Verdict string `json:"verdict"`
	Why     string `json:"why"` // for people; with unsatisfied and undecided
}

// The verdicts.
const (
	compiled    = "compiled"
	satisfied   = "satisfied"
	unsatisfied = "unsatisfied"
	undecided   = "undecided"
)

type evaluator struct {
	language string
	program  child.Program
	slots    chan struct{}
}

// Evaluator returns the evaluator of a language ("rego", "cue") that runs the program at a path. It may be used by many goroutines. An empty path is an
// error at the first use of it.
func Evaluator(language, program string) policy.Evaluator {
	return &evaluator{
		language: language,
		program: child.Program{
			Path:      program,
			Env:       []string{"TZ=UTC"},
			TimeLimit: TimeLimit,
			MaxAnswer: maxAnswer,
		},
		slots: make(chan struct{}, runtime.GOMAXPROCS(0)),
	}
}

// Compile reads a program. An error names the line.
func (e *evaluator) Compile(ctx context.Context, source string) (policy.Program, error) {
	a, err := e.ask(ctx, source, nil, noDocument)
	if err != nil {
		return nil, err
	}
	switch a.Verdict {
	case compiled:
		return &predicate{e, source}, nil
	case undecided:
		return nil, errors.New(a.Why)
	}
	return nil, e.garbage(a.Verdict)
}

type predicate struct {
	evaluator *evaluator
	source    string
}

// Evaluate judges a document.
func (p *predicate) Evaluate(ctx context.Context, untrusted []byte) error {
	a, err := p.evaluator.ask(ctx, p.source, untrusted, len(untrusted))
	if err != nil {
		return err
	}
	switch a.Verdict {
	case satisfied:
		return nil
	case unsatisfied:
		return fmt.Errorf("%w: %s", policy.ErrUnsatisfied, a.Why)
	case undecided:
		return errors.New(a.Why)
	}
	return p.evaluator.garbage(a.Verdict)
}

// ask runs the program once.
func (e *evaluator) ask(ctx context.Context, source string, untrusted []byte, length int) (answer, error) {
	if len(source) > maxProgram || len(untrusted) > maxDocument {
		return answer{}, fmt.Errorf("evaluating %s: program of %d and document of %d bytes, the limits are %d and %d",
			e.language, len(source), len(untrusted), maxProgram, maxDocument)
	}
	if e.program.Path == "" {
		return answer{}, fmt.Errorf("evaluating %s: program %s was not found; it belongs beside touchmark, or into PATH", e.language, Name)
	}
	head, err := json.Marshal(header{protocol, e.language, len(source), length})
	if err != nil {
		return answer{}, fmt.Errorf("evaluating %s: %w", e.language, err)
	}
	request := make([]byte, 0, len(head)+1+len(source)+len(untrusted))
	request = append(append(request, head...), '\n')
	request = append(append(request, source...), untrusted...)

	select {
	case e.slots <- struct{}{}:
		defer func() { <-e.slots }()
	case <-ctx.Done():
		return answer{}, fmt.Errorf("evaluating %s: waiting for a free processor: %w", e.language, ctx.Err())
	}
	line, err := e.program.Run(ctx, request)
	if err != nil {
		return answer{}, fmt.Errorf("evaluating %s: %w", e.language, err)
	}
	var a answer
	if err := json.Unmarshal(line, &a, json.RejectUnknownMembers(true)); err != nil {
		return answer{}, fmt.Errorf("evaluating %s: %s answered what is not understood: %v", e.language, e.program.Path, err)
	}
	return a, nil
}

func (e *evaluator) garbage(verdict string) error {
	return fmt.Errorf("evaluating %s: %s answered with the verdict %.40q", e.language, e.program.Path, verdict)
}
