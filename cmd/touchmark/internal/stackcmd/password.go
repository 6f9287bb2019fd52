package stackcmd

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/console"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/services/issuer/accounts"
)

// readPassword reads a new password: twice from the terminal without showing it,
// or once, a line, from standard input. It is never an argument, which other users
// of the machine could read.
func readPassword(cmd *cobra.Command, fromStdin bool) (string, error) {
	in := cmd.InOrStdin()
	if fromStdin {
		return passwordLine(in)
	}
	file, ok := in.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return "", exit.Usage(errors.New("standard input is not a terminal to ask for a password on: give --password-stdin, and the password as one line"))
	}
	first, err := console.Ask(cmd.Context(), cmd.ErrOrStderr(), file, fmt.Sprintf("Password (at least %d characters): ", accounts.MinPassword))
	if err != nil {
		return "", err
	}
	second, err := console.Ask(cmd.Context(), cmd.ErrOrStderr(), file, "The same again: ")
	if err != nil {
		return "", err
	}
	if first != second {
		return "", exit.Usage(errors.New("the two passwords are not the same"))
	}
	return first, nil
}

// passwordLine reads one line and refuses more: a file with several lines is not a
// password.
func passwordLine(in io.Reader) (string, error) {
	const limit = accounts.MaxPassword + 2 // a line break of two bytes
	content, err := io.ReadAll(bufio.NewReader(io.LimitReader(in, limit+1)))
	if err != nil {
		return "", exit.Undecided(fmt.Errorf("reading password from standard input: %w", err))
	}
	line := strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r")
	switch {
	case len(content) > limit || len(line) > accounts.MaxPassword:
		return "", exit.Usage(fmt.Errorf("reading password from standard input: it has more than %d bytes", accounts.MaxPassword))
	case strings.Contains(line, "\n"):
		return "", exit.Usage(errors.New("reading password from standard input: it has more than one line"))
	}
	return line, nil
}
