package tilelog

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// publishInterval is how long a checkpoint may lag behind the tree in storage.
// Only readers that go to the files see the lag.
const publishInterval = time.Second

// publishLoop stores a checkpoint once per interval if the tree has grown, and
// once more at the end.
func (l *Log) publishLoop(ctx context.Context) {
	defer close(l.done)
	ticker := time.NewTicker(publishInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
		ended := ctx.Err() != nil
		if err := l.publish(context.WithoutCancel(ctx)); err != nil && !errors.Is(err, ErrStopped) {
			l.opts.Logger.Warn("checkpoint not published", "origin", l.opts.Origin, "error", err)
		}
		if ended {
			return
		}
	}
}

// publish signs the present head and stores the note, unless it is the one that
// is stored. Only publishLoop calls it, and Open before that.
func (l *Log) publish(ctx context.Context) error {
	signed, err := l.Checkpoint(ctx)
	if err != nil {
		return err
	}
	if signed.Note == l.published {
		return nil
	}
	if err := l.engine.SetCheckpoint([]byte(signed.Note)); err != nil {
		return l.fail(fmt.Errorf("publishing checkpoint: %w", err))
	}
	l.published = signed.Note
	return nil
}
