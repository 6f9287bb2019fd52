package signcmd

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/console"
	"github.com/touchmark/touchmark/core/sign"
)

// openBrowser opens an address in the user's browser, where there is one. The address was printed too, so that a failure does no harm.
func openBrowser(ctx context.Context, address string) {
	program := "xdg-open"
	switch {
	case runtime.GOOS == "darwin":
		program = "open"
	case os.Getenv("DISPLAY") == "" && os.Getenv("WAYLAND_DISPLAY") == "":
		return // xdg-open would start a browser for terminals on top of us
	}
	cmd := exec.CommandContext(ctx, program, address)
	if cmd.Start() == nil {
		go cmd.Wait() //nolint:errcheck // nothing depends on it
	}
}

// progress shows on a terminal how far signing has come; elsewhere nothing.
type progress struct {
	out   io.Writer
	what  string
	shown bool
}

func newProgress(out io.Writer, what string) *progress {
	if !console.IsTerminal(out) {
		out = io.Discard
	}
	return &progress{out: out, what: console.Printable(what)}
}

func (p *progress) report(phase sign.Phase, done, total int) {
	p.shown = true
	fmt.Fprintf(p.out, "\r\x1b[K%s: %d of %d %s", p.what, done, total, phase)
}

// clear takes the line away, so that what is printed next stands alone.
func (p *progress) clear() {
	if p.shown {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}
