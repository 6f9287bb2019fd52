package posix

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/touchmark/touchmark/services/internal/durable"
	"github.com/touchmark/touchmark/services/internal/tilelog"
)

// lockDir takes the directory's lock, which is released when the file is closed
// or the process ends.
func lockDir(dir string) (*os.File, error) {
	name := filepath.Join(dir, "lock")
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking log directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = fmt.Errorf("locking %s: another writer has the log open", name)
		} else {
			err = fmt.Errorf("locking %s: %w", name, err)
		}
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// readFile reads a whole file of at most limit bytes.
func readFile(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, &tilelog.CorruptError{Name: name, Reason: fmt.Sprintf("it has more than %d bytes", limit)}
	}
	return b, nil
}

// Checkpoint implements [tilelog.Engine].
func (e *Engine) Checkpoint() ([]byte, error) {
	return readFile(e.Name(tilelog.Resource{Kind: tilelog.CheckpointResource}), maxState)
}

// SetCheckpoint implements [tilelog.Engine].
func (e *Engine) SetCheckpoint(b []byte) error {
	return durable.WriteFile(e.Name(tilelog.Resource{Kind: tilelog.CheckpointResource}), b, 0o600)
}
