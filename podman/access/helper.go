package access

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
	"go.podman.io/image/v5/types"
)

// maxHelperAnswer bounds what a credential helper says, in bytes.
const maxHelperAnswer = 1 << 20

// maxComplaint bounds what of it is quoted when it failed.
const maxComplaint = 300

// helperGrace is how long the children of a helper that was killed may hold its output.
const helperGrace = time.Second

// identityToken is the user's name by which a helper says that the secret is an identity token.
const identityToken = "<token>"

// fromHelper asks the program docker-credential-<helper>, from PATH, for the credentials of a registry: helpers know no namespaces. Its environment is ours.
func (a *Access) fromHelper(ctx context.Context, helper, registry string) (types.DockerAuthConfig, error) {
	program := "docker-credential-" + helper
	ctx, cancel := context.WithTimeout(ctx, a.helperTimeout)
	defer cancel()
	found, err := client.Get(func(args ...string) client.Program { return &helperRun{ctx: ctx, program: program, args: args} }, registry)
	switch {
	case err == nil && found.Username == identityToken:
		return types.DockerAuthConfig{IdentityToken: found.Secret}, nil
	case err == nil:
		return types.DockerAuthConfig{Username: found.Username, Password: found.Secret}, nil
	case credentials.IsErrCredentialsNotFoundMessage(err.Error()):
		return types.DockerAuthConfig{}, nil
	case ctx.Err() != nil:
		return types.DockerAuthConfig{}, fmt.Errorf("asking %s for credentials for %s: no answer within %s: %w", program, registry, a.helperTimeout, ctx.Err())
	}
	return types.DockerAuthConfig{}, fmt.Errorf("asking %s for credentials for %s: %w", program, registry, err)
}

// helperRun is one run of a helper; a [client.Program].
type helperRun struct {
	ctx     context.Context
	program string
	args    []string
	input   io.Reader
}

// Input is what it reads.
func (r *helperRun) Input(in io.Reader) { r.input = in }

// Output runs it to its end, or until the context's.
func (r *helperRun) Output() ([]byte, error) {
	cmd := exec.CommandContext(r.ctx, r.program, r.args...)
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.WaitDelay = r.input, &limited{&out}, helperGrace
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

// limited refuses more than maxHelperAnswer bytes, which kills the helper at its next line.
type limited struct{ kept *bytes.Buffer }

// Write keeps p.
func (l *limited) Write(p []byte) (int, error) {
	if l.kept.Len()+len(p) > maxHelperAnswer {
		return 0, errors.New("it says too much")
	}
	return l.kept.Write(p)
}
