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
// and the user sees "signal: killed" for a reason: [Run] ends before that, see
// [Deadline]. containerd does not tell a verifier how long it waits, and reading
// its configuration for each pull (with imports, by the rules of its release) would
// take longer than the question. So config.yaml says it, which is read anyway, where
// it is not ten seconds.
//
// [Parse] reads the question. All of it is influenced by whoever names an image
// in a pod, so it is read strictly: what is not exactly as containerd writes it
// is refused. [Run] answers it: admitted is exit status 0; everything else, an
// error of any kind included, is exit status 1 and one line of reason. Where
// containerd only observes, everything is admitted, and what would have been
// refused is said on standard error, which containerd logs.
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

	"github.com/touchmark/touchmark/core/gate/ask"
)

const (
	// Timeout is how long an answer may take where containerd waits ten seconds,
	// which begin before this process does; the agent decides within eight.
	Timeout = 9 * time.Second
	// margin is the least of containerd's time that is left.
	margin = 500 * time.Millisecond
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

// Deadline is how long an answer may take where containerd waits for
// perVerifier: a tenth less, half a second at least, and never more than [Timeout].
func Deadline(perVerifier time.Duration) time.Duration {
	return min(perVerifier-max(perVerifier/10, margin), Timeout)
}

// Asker has questions decided.
type Asker interface {
	// Ask never fails: what could not be decided is an answer too, and it does not
	// admit.
	Ask(context.Context, ask.Question) ask.Answer
}

// Host is how the questions of one host are answered.
type Host struct {
	// Asker decides.
	Asker Asker
	// Timeout is how long that may take, see [Deadline].
	Timeout time.Duration
	// Observe admits everything, also what nobody decides about.
	Observe bool
}

// Run answers one question: from the arguments after the program's name and
// standard input to standard output and the exit status. It does not take longer
// than the timeout, even if the asker or the input does.
func Run(ctx context.Context, h Host, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := h.within(ctx, func(ctx context.Context, stage chan<- string) answer {
		stage <- "containerd, which has not sent the image's descriptor"
		q, err := Parse(args, stdin)
		return decide(ctx, h.Asker, q, err, stage)
	})
	if a.admitted {
		if a.reason != "" {
			_, _ = fmt.Fprintln(stderr, "touchmark: "+a.reason) // a log that can't be written prevents no pull
		}
		return exitAdmitted
	}
	// containerd refuses by the exit status; a reason that can't be written is no admission.
	_, _ = fmt.Fprintln(stdout, a.reason)
	return exitRefused
}

// Judge answers the same question within containerd's own process: about an image
// by its reference and the descriptor of its manifest or index. The reason is that
// which [Run] writes, to standard output or error; empty if there is nothing to say.
func Judge(ctx context.Context, h Host, reference, digest, mediaType string, size int64) (admitted bool, reason string) {
	a := h.within(ctx, func(ctx context.Context, stage chan<- string) answer {
		q, err := question(reference, digest, mediaType, size)
		return decide(ctx, h.Asker, q, err, stage)
	})
	return a.admitted, a.reason
}

// answer is what containerd is told.
type answer struct {
	admitted bool
	reason   string // one line
}

// within asks, and does not wait longer than the timeout for the answer. What is
// waited for is sent to the stage. A panic is no admission, and has a reason.
func (h Host) within(ctx context.Context, ask func(context.Context, chan<- string) answer) answer {
	ctx, cancel := context.WithTimeout(ctx, h.Timeout)
	defer cancel()
	answers := make(chan answer, 1)
	stage := make(chan string, 2) // there are no more
	go func() {
		defer func() {
			if p := recover(); p != nil {
				answers <- answer{reason: fmt.Sprintf("touchmark cannot decide: internal error: %v", p)}
			}
		}()
		answers <- ask(ctx, stage)
	}()
	var a answer
	select {
	case a = <-answers:
	case <-ctx.Done():
		a = answer{reason: fmt.Sprintf("touchmark cannot decide: no answer within %s from %s", h.Timeout, last(stage))}
	}
	if h.Observe && !a.admitted {
		a = answer{admitted: true, reason: "admitted, because containerd only observes; enforcing would say: " + a.reason}
	}
	a.reason = OneLine(a.reason)
	return a
}

// decide asks, unless there is something wrong with the question.
func decide(ctx context.Context, asker Asker, q ask.Question, err error, stage chan<- string) answer {
	if err != nil {
		return answer{reason: "refused by touchmark: " + err.Error()}
	}
	stage <- "the decision about " + q.Repository + "; the agent's log says what it waits for"
	switch a := asker.Ask(ctx, q); {
	case a.Outcome == ask.Admitted && a.Code == ask.CodeObserved:
		return answer{admitted: true, reason: a.Reason}
	case a.Outcome == ask.Admitted:
		return answer{admitted: true}
	case a.Outcome == ask.Refused:
		return answer{reason: "refused by touchmark: " + a.Reason}
	default:
		return answer{reason: "touchmark cannot decide: " + why(a)}
	}
}

// why is the reason of an answer that decides nothing, without the image's name in
// front.
func why(a ask.Answer) string {
	return strings.TrimPrefix(a.Reason, ask.CannotDecide(a.Repository, a.Digest))
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
