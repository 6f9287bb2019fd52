// Package sweep is what all sweeps have in common, whatever client's storage is judged
// again: podman/sweep and containerd/sweep.
//
// A sweep lists what a client has, asks a gate about each image as if it were pulled now,
// some at a time ([Each]), and reports each with the gate's outcome, or with [OutcomeLocal]:
//
//	verdicts := sweep.Each(ctx, images, func(ctx context.Context, i Image) gate.Verdict { ... })
package sweep

import (
	"context"
	"sync"

	"github.com/touchmark/touchmark/core/gate"
)

// OutcomeLocal is the outcome of what comes from no registry, beside the gate's:
// nothing could say anything about it.
const OutcomeLocal gate.Outcome = "local"

// workers is how many questions are open at a time: registries have limits, and
// the agent has other clients.
const workers = 4

// Each asks all questions, some at a time, and returns the answers in their order.
func Each[Q, A any](ctx context.Context, questions []Q, ask func(context.Context, Q) A) []A {
	answers := make([]A, len(questions))
	var group sync.WaitGroup
	slots := make(chan struct{}, workers)
	for i, q := range questions {
		group.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			answers[i] = ask(ctx, q)
		})
	}
	group.Wait()
	return answers
}
