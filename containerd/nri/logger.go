package nri

import (
	"context"
	"fmt"
	"log/slog"
)

// logger has the stub's own words among the agent's, where they are of use: what it
// says of each connection is said in ours.
type logger struct{ to *slog.Logger }

// Debugf discards.
func (l logger) Debugf(context.Context, string, ...any) {}

// Infof logs at debug.
func (l logger) Infof(ctx context.Context, format string, args ...any) {
	l.to.DebugContext(ctx, "nri: "+fmt.Sprintf(format, args...))
}

// Warnf logs a warning.
func (l logger) Warnf(ctx context.Context, format string, args ...any) {
	l.to.WarnContext(ctx, "nri: "+fmt.Sprintf(format, args...))
}

// Errorf logs an error.
func (l logger) Errorf(ctx context.Context, format string, args ...any) {
	l.to.ErrorContext(ctx, "nri: "+fmt.Sprintf(format, args...))
}
