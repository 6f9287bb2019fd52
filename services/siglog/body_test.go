package siglog

import (
	"errors"
	"io"
	"strings"
	"testing"

	"golang.org/x/sync/semaphore"
)

// A flood of large requests waits outside: their bodies have room together, and
// give it back.
func TestBodiesAreBoundedTogether(t *testing.T) {
	all := semaphore.NewWeighted(10)
	body := func(n int) *accountedBody {
		return &accountedBody{ReadCloser: io.NopCloser(strings.NewReader(strings.Repeat("x", n))), all: all}
	}
	first, second := body(8), body(8)
	if _, err := io.ReadAll(first); err != nil {
		t.Errorf("a body with room: %v", err)
	}
	if _, err := io.ReadAll(second); !errors.Is(err, errBusy) {
		t.Errorf("a body without room: %v", err)
	}
	second.release()
	first.release()
	if _, err := io.ReadAll(body(10)); err != nil {
		t.Errorf("after the others were released: %v", err)
	}
}
