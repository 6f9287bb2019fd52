package kubelet

import (
	"context"
	"sync"
)

// maxRunning bounds the runs of one program at a time, for different registries.
const maxRunning = 8

// turns are when a program may run: once at a time for each registry, so that 200
// pulls at once run it once and the others find what it said, and for a few registries
// at a time, so that one whose answer takes long does not keep the others waiting.
type turns struct {
	slots chan struct{}

	mu     sync.Mutex
	queues map[string]*queue // by registry
}

// queue is who wants to ask about one registry.
type queue struct {
	turn chan struct{}
	in   int // guarded by turns.mu
}

func newTurns() *turns {
	return &turns{slots: make(chan struct{}, maxRunning), queues: make(map[string]*queue)}
}

// take waits for a turn, which has to be given back, or for the context's end.
func (t *turns) take(ctx context.Context, registry string) (giveBack func(), err error) {
	t.mu.Lock()
	q := t.queues[registry]
	if q == nil {
		q = &queue{turn: make(chan struct{}, 1)}
		t.queues[registry] = q
	}
	q.in++
	t.mu.Unlock()
	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if q.in--; q.in == 0 {
			delete(t.queues, registry)
		}
	}
	for i, place := range []chan struct{}{q.turn, t.slots} {
		select {
		case place <- struct{}{}:
		case <-ctx.Done():
			if i > 0 {
				<-q.turn
			}
			leave()
			return nil, ctx.Err()
		}
	}
	return func() {
		<-t.slots
		<-q.turn
		leave()
	}, nil
}
