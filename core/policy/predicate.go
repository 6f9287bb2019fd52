package policy

import (
	"context"
	"errors"
)

// Predicate is a condition on a JSON document, written in a language of its own.
type Predicate struct {
	Language string // "rego" or "cue"
	Source   string // the program's text
	// WantsConfig asks for the image's configuration in the document, for each of
	// its platforms. Only a policy's own predicate may.
	WantsConfig bool

	program Program
}

// Evaluate decides whether a JSON document satisfies the predicate: nil says
// yes, an error that wraps [ErrUnsatisfied] says no and why, and any other
// error that it could not be decided (too long, too large, a fault in the
// program).
func (p *Predicate) Evaluate(ctx context.Context, document []byte) error {
	return p.program.Evaluate(ctx, document)
}

// ErrUnsatisfied is wrapped by the errors of a [Program] that read the whole
// document and found that it does not satisfy the predicate.
var ErrUnsatisfied = errors.New("the predicate is not satisfied")

// Evaluator compiles predicates of one language. See core/policy/rego,
// core/policy/cue and core/policy/worker.
type Evaluator interface {
	// Compile reads a program. An error names the line.
	Compile(ctx context.Context, source string) (Program, error)
}

// Program is a compiled predicate. It may be used by many goroutines.
type Program interface {
	// Evaluate is what [Predicate.Evaluate] says.
	Evaluate(ctx context.Context, document []byte) error
}
