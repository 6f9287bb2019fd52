package bindir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/touchmark/touchmark/core/gate/ask"
	"github.com/touchmark/touchmark/core/hostconfig"
)

// client is what the agent calls containerd.
const client = "containerd"

// ForHost is how this host answers: its agent decides and, where that does not
// answer, [Alone], unless config.yaml has "containerd: {standalone: false}". file is
// config.yaml; empty is /etc/touchmark's, which need not exist. With a file that
// can't be used nothing is decided, and the reason says why.
func ForHost(file string) Host {
	c, err := configuration(file)
	if err != nil {
		return Host{Asker: nobody{err}, Timeout: Timeout}
	}
	h := Host{Asker: agent(c.Agent.Socket), Timeout: Deadline(c.Containerd.VerifierTimeout), Observe: c.Containerd.Observe}
	if c.Containerd.Standalone {
		h.Asker = Alone{Agent: h.Asker, Config: c.File}
	}
	return h
}

// configuration is that of the host. A file that is not there says nothing: the
// agent, or the command, will say what is missing.
func configuration(path string) (*hostconfig.Config, error) {
	d := hostconfig.System("/")
	c, err := hostconfig.Load(path, d)
	if path == "" && errors.Is(err, fs.ErrNotExist) {
		return hostconfig.New(d.File, d), nil
	}
	return c, err
}

// agent is the agent at a socket.
type agent string

// Ask asks it.
func (socket agent) Ask(ctx context.Context, q ask.Question) ask.Answer {
	q.Client = client
	data, err := ask.Agent(ctx, string(socket), q)
	if err == nil {
		var a ask.Answer
		if a, err = ask.Read(data, q); err == nil {
			return a
		}
	}
	if ctx.Err() != nil {
		return q.Undecided(ask.CodeCancelled, context.Cause(ctx))
	}
	return q.Undecided(ask.CodeNoAgent, fmt.Errorf("asking the agent at %s: %w", string(socket), err))
}

// nobody cannot decide.
type nobody struct{ err error }

// Ask gives the error as the reason.
func (n nobody) Ask(_ context.Context, q ask.Question) ask.Answer {
	return q.Undecided(ask.CodeNoAgent, n.err)
}
