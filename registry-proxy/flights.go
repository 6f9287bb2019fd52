package registryproxy

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
)

// flights lets callers that want the same thing at the same time share one piece of work. The zero value is ready.
//
// The work belongs to no caller: it keeps the first one's context values, but ends early only when the last one that
// waits for it has gone. So a client that hangs up fails nobody else, and nobody's work goes on for no one.
type flights[T any] struct {
	mu     sync.Mutex
	flying map[string]*flight[T]
}

type flight[T any] struct {
	waiting int // guarded by flights.mu
	cancel  context.CancelFunc
	done    chan struct{}
	value   T // written before done is closed
	err     error
}

// do returns work's result for key, by joining the one under way or by starting it. It returns early when ctx ends.
func (f *flights[T]) do(ctx context.Context, key string, work func(context.Context) (T, error)) (T, error) {
	fl := f.join(ctx, key, work)
	select {
	case <-fl.done:
		return fl.value, fl.err
	case <-ctx.Done():
		f.leave(key, fl)
		var zero T
		return zero, ctx.Err()
	}
}

func (f *flights[T]) join(ctx context.Context, key string, work func(context.Context) (T, error)) *flight[T] {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl, ok := f.flying[key]; ok {
		fl.waiting++
		return fl
	}
	workCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	fl := &flight[T]{waiting: 1, cancel: cancel, done: make(chan struct{})}
	if f.flying == nil {
		f.flying = map[string]*flight[T]{}
	}
	f.flying[key] = fl
	go func() {
		defer cancel()
		defer close(fl.done)
		defer f.land(key, fl)
		defer func() {
			if p := recover(); p != nil { // the waiting handlers must not hang, and one bad answer must not end the process
				fl.err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
			}
		}()
		fl.value, fl.err = work(workCtx)
	}()
	return fl
}

// land makes the next caller start anew: results are not kept here.
func (f *flights[T]) land(key string, fl *flight[T]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.flying[key] == fl {
		delete(f.flying, key)
	}
}

func (f *flights[T]) leave(key string, fl *flight[T]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fl.waiting--
	if fl.waiting == 0 {
		fl.cancel()
		if f.flying[key] == fl {
			delete(f.flying, key)
		}
	}
}
