package gate

import "context"

// Asker is who asked an enforcement point, for the record of decisions. It
// never changes a verdict: what an asker may see is a matter of the request's
// Source.
type Asker struct {
	Client string // "podman", "containerd"; as the enforcement point knows it
	UID    int    // of the user on this host; -1 if it is not known
}

// askerKey is the context key of an Asker.
type askerKey struct{}

// WithAsker notes who asks.
func WithAsker(ctx context.Context, a Asker) context.Context {
	return context.WithValue(ctx, askerKey{}, a)
}

// AskerFrom returns who asks, nobody known if nobody was noted.
func AskerFrom(ctx context.Context) Asker {
	if a, ok := ctx.Value(askerKey{}).(Asker); ok {
		return a
	}
	return Asker{UID: -1}
}
