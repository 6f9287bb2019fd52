// Package keyopen opens the keys that users name: files, and keys in a KMS or on a PKCS#11
// token, by touchmark-keys. Passwords and PINs come from the environment, from files that
// it names, or from the terminal, and are never arguments, which others can read.
package keyopen

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/console"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/core/child"
	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/core/keys/worker"
)

// Public are how public keys are opened: those in a KMS or on a token by touchmark-keys, and nobody is asked for anything.
func Public() keys.Options {
	return keys.Options{Remote: Remote(func(context.Context, string) ([]byte, error) {
		secret, ok, err := environmentSecret("COSIGN_PKCS11_PIN", "TOUCHMARK_PKCS11_PIN_FILE")
		if err == nil && !ok {
			err = errors.New("the token shows its public key to nobody without a PIN; it is taken from TOUCHMARK_PKCS11_PIN_FILE")
		}
		return secret, err
	})}
}

// Private are how private keys are opened: passwords and PINs come from the environment, else they are asked for on the terminal.
func Private(cmd *cobra.Command) keys.Options {
	return keys.Options{
		Password: func(ctx context.Context, what string) ([]byte, error) {
			return password(ctx, cmd, "Password of "+what+": ")
		},
		Remote: Remote(func(ctx context.Context, token string) ([]byte, error) {
			return secretOrAsk(ctx, cmd, "COSIGN_PKCS11_PIN", "TOUCHMARK_PKCS11_PIN_FILE", "PIN of "+token+": ")
		}),
	}
}

// Remote opens keys in a KMS or on a token.
func Remote(pin func(ctx context.Context, token string) ([]byte, error)) *worker.Client {
	program, _ := child.Find(worker.Name) // without it, such keys are refused, by name
	return &worker.Client{Program: program, Env: os.Environ(), PIN: pin}
}

// password is the password of a key file.
func password(ctx context.Context, cmd *cobra.Command, question string) ([]byte, error) {
	return secretOrAsk(ctx, cmd, "COSIGN_PASSWORD", "TOUCHMARK_PASSWORD_FILE", question)
}

// NewPassword is the password of a key file that is to be written; on a terminal it is asked for twice.
func NewPassword(cmd *cobra.Command) ([]byte, error) {
	secret, ok, err := environmentSecret("COSIGN_PASSWORD", "TOUCHMARK_PASSWORD_FILE")
	if ok || err != nil {
		return secret, err
	}
	first, err := password(cmd.Context(), cmd, "Password of the new key (empty for none): ")
	if err != nil {
		return nil, err
	}
	second, err := password(cmd.Context(), cmd, "The same again: ")
	if err != nil {
		return nil, err
	}
	if string(first) != string(second) {
		return nil, errors.New("the two passwords are not the same")
	}
	return first, nil
}

// secretOrAsk takes a secret from the environment, else asks on the terminal.
func secretOrAsk(ctx context.Context, cmd *cobra.Command, variable, fileVariable, question string) ([]byte, error) {
	secret, ok, err := environmentSecret(variable, fileVariable)
	if ok || err != nil {
		return secret, err
	}
	terminal, ok := cmd.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(terminal.Fd())) {
		return nil, fmt.Errorf("%w; it is taken from %s or the file that %s names, and there is no terminal to ask on", keys.ErrPassphrase, variable, fileVariable)
	}
	answer, err := console.Ask(ctx, cmd.ErrOrStderr(), terminal, question)
	return []byte(answer), err
}

// environmentSecret is what a variable holds, or the file that another one names. Both are a contradiction.
func environmentSecret(variable, fileVariable string) (secret []byte, ok bool, err error) {
	value, hasValue := os.LookupEnv(variable)
	path := os.Getenv(fileVariable)
	switch {
	case hasValue && path != "":
		return nil, false, fmt.Errorf("both %s and %s are set", variable, fileVariable)
	case hasValue:
		return []byte(value), true, nil
	case path != "":
		secret, err := keys.ReadSecret(path)
		if err != nil {
			return nil, false, fmt.Errorf("%s: %w", fileVariable, err)
		}
		return secret, true, nil
	}
	return nil, false, nil
}

// Error is about a key that cannot be opened: a file is the user's business, a KMS may be down.
func Error(ref string, err error) error {
	err = fmt.Errorf("--key: %w", err)
	if keys.IsRemote(ref) {
		return exit.Undecided(err)
	}
	return exit.Usage(err)
}
