package agent

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/touchmark/touchmark/core/gate/reload"
)

// Further are files that a part of the agent works with, and that part's way to
// read them anew. On an error it goes on with what it has.
type Further struct {
	Name  string   // for people: "registries.conf and credentials"
	Files []string // and directories of files
	Load  func(context.Context) error
}

// further is the state of a Further.
type further struct {
	Further
	seen reload.State // before they were read, or soon after

	mu     sync.Mutex
	status FilesStatus
}

func newFurther(f Further, loaded time.Time) *further {
	return &further{Further: f, seen: reload.Look(f.Files), status: FilesStatus{Name: f.Name, Loaded: loaded.UTC()}}
}

func (f *further) read() FilesStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status
}

// run reads the files anew whenever they change.
func (f *further) run(ctx context.Context, logger *slog.Logger) {
	_ = reload.Watch(ctx, f.Files, f.seen, nil, func(ctx context.Context) { // ends with the context
		err := f.Load(ctx)
		f.mu.Lock()
		defer f.mu.Unlock()
		now := time.Now().UTC()
		switch {
		case err == nil:
			f.status = FilesStatus{Name: f.Name, Loaded: now}
			logger.Info("files were read again", "files", f.Name)
			return
		case f.status.Error == "":
			f.status.Since = now
		}
		f.status.Error = err.Error()
		logger.Error("the changed files cannot be used; what was read before stays in force", "files", f.Name, "error", err)
	})
}
