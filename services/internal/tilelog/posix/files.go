package posix

import (
	"fmt"
	"io"
	"os"

	"github.com/touchmark/touchmark/services/internal/durable"
	"github.com/touchmark/touchmark/services/internal/tilelog"
)

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
