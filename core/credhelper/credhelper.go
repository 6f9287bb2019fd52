// Package credhelper asks Docker's credential helpers for the credentials of a
// registry: programs called docker-credential-NAME, of which Docker's config.json,
// auth.json and registries.conf hold the names (credHelpers, credsStore,
// credential-helpers).
//
// A helper is looked for in PATH, has this process's environment, is killed when
// it takes too long, and may say 1 MiB. No error has anything of what may be a
// credential.
package credhelper

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"time"

	"github.com/docker/docker-credential-helpers/client"
	"github.com/docker/docker-credential-helpers/credentials"
	"github.com/google/go-containerregistry/pkg/authn"
)

// Timeout is how long a helper may take where nothing else is said: a few of them
// ask a server, none of them a person.
const Timeout = 10 * time.Second

// maxAnswer bounds what a helper says, in bytes.
const maxAnswer = 1 << 20

// maxComplaint bounds what of it is quoted when it failed.
const maxComplaint = 300

// grace is how long the children of a helper that was killed may hold its output.
const grace = time.Second

// identityToken is the user's name by which a helper says that the secret is an identity token.
const identityToken = "<token>"

// Get asks docker-credential-<helper> about a registry: helpers know no
// namespaces. No credentials are no error, and the zero value. An error names the
// program and the registry; it wraps the context's if the helper took too long.
func Get(ctx context.Context, helper, registry string, timeout time.Duration) (authn.AuthConfig, error) {
	program := "docker-credential-" + helper
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	found, err := client.Get(func(args ...string) client.Program { return &run{ctx: ctx, program: program, args: args} }, registry)
	switch {
	case err == nil && found.Username == identityToken:
		return authn.AuthConfig{IdentityToken: found.Secret}, nil
	case err == nil:
		return authn.AuthConfig{Username: found.Username, Password: found.Secret}, nil
	case credentials.IsErrCredentialsNotFoundMessage(err.Error()):
		return authn.AuthConfig{}, nil
	case ctx.Err() != nil:
		return authn.AuthConfig{}, fmt.Errorf("asking %s for credentials for %s: no answer within %s: %w", program, registry, timeout, ctx.Err())
	}
	return authn.AuthConfig{}, fmt.Errorf("asking %s for credentials for %s: %w", program, registry, err)
}

// run is one run of a helper; a [client.Program].
type run struct {
	ctx     context.Context
	program string
	args    []string
	input   io.Reader
}

// Input is what it reads.
func (r *run) Input(in io.Reader) { r.input = in }

// Output runs it to its end, or until the context's.
func (r *run) Output() ([]byte, error) {
	cmd := exec.CommandContext(r.ctx, r.program, r.args...)
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.WaitDelay = r.input, &limited{&out}, grace
	if err := cmd.Run(); err != nil {
		// What went wrong is written there, too, and becomes part of the error: but nothing that may be a credential.
		said := out.Bytes()
		if bytes.ContainsAny(said, "{\"") {
			said = nil
		}
		return said[:min(len(said), maxComplaint)], err
	}
	return out.Bytes(), nil
}

// limited refuses more than maxAnswer bytes, which kills the helper at its next line.
type limited struct{ kept *bytes.Buffer }

// Write keeps p.
func (l *limited) Write(p []byte) (int, error) {
	if l.kept.Len()+len(p) > maxAnswer {
		return 0, errors.New("it says too much")
	}
	return l.kept.Write(p)
}
