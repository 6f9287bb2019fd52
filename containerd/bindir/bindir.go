// Package bindir speaks the protocol of containerd's bindir image verifiers
// (containerd 2.0 and later, docs/image-verification.md): containerd starts every
// program of a directory before it pulls an image, as
//
//	PROGRAM -name REFERENCE -digest sha256:... -stdin-media-type application/vnd.oci.descriptor.v1+json
//
// with the descriptor of the image's manifest or index, as JSON, on standard
// input. Exit status 0 admits the image. Any other refuses it, and what the
// program wrote to standard output is the reason that the user sees. A program
// that takes longer than per_verifier_timeout, ten seconds by default, is killed,
// and the user sees "signal: killed" for a reason: [Run] ends before that.
//
// [Parse] reads the question. All of it is influenced by whoever names an image
// in a pod, so it is read strictly: what is not exactly as containerd writes it
// is refused. [Run] answers it: admitted is exit status 0; everything else, an
// error of any kind included, is exit status 1 and one line of reason.
//
// containerd says nothing of the platform, the pod, the registry's mirrors and
// the credentials of the pull. Evidence is looked for with the node's own, see
// containerd/access.
package bindir

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/touchmark/touchmark/core/gate"
)

const (
	// Timeout is how long an answer may take. containerd waits ten seconds, which
	// begin before this process does; the agent decides within eight.
	Timeout = 9 * time.Second
	// maxReason bounds the reason, in bytes. An event of Kubernetes has 1024, of
	// which containerd and kubelet use some 400 for what they put in front: two
	// names of the image and its digest.
	maxReason = 600
)

// Exit statuses.
const (
	exitAdmitted = 0
	exitRefused  = 1
)

// Run answers one question: from the arguments after the program's name and
// standard input to standard output and the exit status. It does not take longer
// than timeout, even if the admitter or the input does.
func Run(ctx context.Context, timeout time.Duration, admitter gate.Admitter, args []string, stdin io.Reader, stdout io.Writer) int {
	a := within(ctx, timeout, func(ctx context.Context, stage chan<- string) answer {
		stage <- "containerd, which has not sent the image's descriptor"
		req, err := Parse(args, stdin)
		return decide(ctx, admitter, req, err, stage)
	})
	if a.admitted {
		return exitAdmitted
	}
	// containerd refuses by the exit status; a reason that can't be written is no admission.
	_, _ = fmt.Fprintln(stdout, a.reason)
	return exitRefused
}

// Judge answers the same question within containerd's own process: about an image
// by its reference and the descriptor of its manifest or index. The reason is that
// which [Run] writes, empty if the image is admitted.
func Judge(ctx context.Context, timeout time.Duration, admitter gate.Admitter, reference, digest, mediaType string, size int64) (admitted bool, reason string) {
	a := within(ctx, timeout, func(ctx context.Context, stage chan<- string) answer {
		req, err := question(reference, digest, mediaType, size)
		return decide(ctx, admitter, req, err, stage)
	})
	return a.admitted, a.reason
}

// answer is what containerd is told.
type answer struct {
	admitted bool
	reason   string // one line
}

// within asks, and does not wait longer than timeout for the answer. What is
// waited for is sent to the stage.
func within(ctx context.Context, timeout time.Duration, ask func(context.Context, chan<- string) answer) answer {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	answers := make(chan answer, 1)
	stage := make(chan string, 2) // there are no more
	go func() { answers <- ask(ctx, stage) }()
	var a answer
	select {
	case a = <-answers:
	case <-ctx.Done():
		a = answer{reason: fmt.Sprintf("touchmark cannot decide: no answer within %s from %s", timeout, last(stage))}
	}
	if !a.admitted {
		a.reason = OneLine(a.reason)
	}
	return a
}

// decide asks the admitter, unless there is something wrong with the question.
func decide(ctx context.Context, admitter gate.Admitter, req gate.Request, err error, stage chan<- string) answer {
	if err != nil {
		return answer{reason: "refused by touchmark: " + err.Error()}
	}
	stage <- "the decision about " + req.Repository + "; the agent's log says what it waits for"
	v := admitter.Admit(ctx, req)
	switch {
	case v.Admitted():
		return answer{admitted: true}
	case v.Outcome == gate.OutcomeRefused:
		return answer{reason: "refused by touchmark: " + v.Reason}
	}
	return answer{reason: "touchmark cannot decide: " + strings.TrimPrefix(v.Reason, fmt.Sprintf("cannot decide about %s@%s: ", v.Repository, v.Digest))}
}

// last is what was sent last.
func last(stage <-chan string) string {
	at := "the start"
	for {
		select {
		case at = <-stage:
		default:
			return at
		}
	}
}

// OneLine makes a reason fit for an event: one line, no control or formatting
// characters, and not longer than 600 bytes. What is cut off ends in "...".
func OneLine(reason string) string {
	reason = strings.Join(strings.Fields(reason), " ")
	reason = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return unicode.ReplacementChar
		}
		return r
	}, strings.ToValidUTF8(reason, "\uFFFD"))
	if len(reason) <= maxReason {
		return reason
	}
	return strings.ToValidUTF8(reason[:maxReason-3], "") + "..."
}
