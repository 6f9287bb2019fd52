package worker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/touchmark/touchmark/core/policy"
)

// maxHeader bounds a request's first line, in bytes.
const maxHeader = 4 << 10

// Serve reads requests and answers them, one after the other, until in ends. Its error is about the messages; what is wrong with a predicate or a document
// is in the answer.
func Serve(in io.Reader, out io.Writer, evaluators map[string]policy.Evaluator) error {
	r := bufio.NewReaderSize(in, maxHeader)
	for {
		line, err := r.ReadSlice('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading request: %w", err)
		}
		var head header
		if err := json.Unmarshal(line, &head, json.RejectUnknownMembers(true)); err != nil {
			return fmt.Errorf("reading request: %w", err)
		}
		if head.Protocol != protocol {
			return fmt.Errorf("reading request: protocol %d, this program speaks %d: install programs of one version", head.Protocol, protocol)
		}
		if head.Program < 0 || head.Program > maxProgram || head.Document < noDocument || head.Document > maxDocument {
			return fmt.Errorf("reading request: program of %d and document of %d bytes", head.Program, head.Document)
		}
		body := make([]byte, head.Program+max(head.Document, 0))
		if _, err := io.ReadFull(r, body); err != nil {
			return fmt.Errorf("reading request: %w", err)
		}
		a := handle(head, string(body[:head.Program]), body[head.Program:], evaluators)
		line, err = json.Marshal(a)
		if err != nil {
			return fmt.Errorf("writing answer: %w", err)
		}
		if _, err := out.Write(append(line, '\n')); err != nil {
			return fmt.Errorf("writing answer: %w", err)
		}
	}
}

// handle compiles and evaluates. Who asks kills us when it has waited long enough, so there is no other context here.
func handle(head header, source string, untrusted []byte, evaluators map[string]policy.Evaluator) answer {
	ctx := context.Background()
	e, ok := evaluators[head.Language]
	if !ok {
		return answer{undecided, fmt.Sprintf("evaluating %s: the language is not known", head.Language)}
	}
	program, err := e.Compile(ctx, source)
	if err != nil {
		return answer{undecided, readable(err)}
	}
	if head.Document == noDocument {
		return answer{Verdict: compiled}
	}
	err = program.Evaluate(ctx, untrusted)
	switch {
	case err == nil:
		return answer{Verdict: satisfied}
	case errors.Is(err, policy.ErrUnsatisfied):
		return answer{unsatisfied, strings.TrimPrefix(readable(err), policy.ErrUnsatisfied.Error()+": ")}
	}
	return answer{undecided, readable(err)}
}

// readable is an error's text as JSON can carry it, in a length that an answer has room for.
func readable(err error) string {
	const most = 2 << 10 // a byte can become six, as \u0000
	text := err.Error()
	if len(text) > most {
		text = text[:most] + "..."
	}
	return strings.ToValidUTF8(text, "\ufffd")
}
