package console

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
)

// IsTerminal reports whether a stream is a terminal.
func IsTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Ask asks for a line that is not shown. A signal gives the terminal back as it was.
func Ask(ctx context.Context, prompt io.Writer, terminal *os.File, question string) (string, error) {
	fd := int(terminal.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", exit.Undecided(fmt.Errorf("asking for password: %w", err))
	}
	fmt.Fprint(prompt, question)
	type line struct {
		text []byte
		err  error
	}
	read := make(chan line, 1)
	go func() {
		text, err := term.ReadPassword(fd)
		read <- line{text, err}
	}()
	select {
	case <-ctx.Done():
		_ = term.Restore(fd, before)
		fmt.Fprintln(prompt)
		return "", exit.Undecided(errors.New("asking for password: interrupted"))
	case l := <-read:
		fmt.Fprintln(prompt)
		if l.err != nil {
			return "", exit.Undecided(fmt.Errorf("asking for password: %w", l.err))
		}
		return string(l.text), nil
	}
}
