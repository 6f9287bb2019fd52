package bindir

import (
	"context"
	"errors"
	"io/fs"

	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/gate/remote"
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
		return Host{Admitter: nobody{err}, Timeout: Timeout}
	}
	agent := remote.Dial(c.Agent.Socket)
	agent.Name = client
	h := Host{Admitter: agent, Timeout: Deadline(c.Containerd.VerifierTimeout), Observe: c.Containerd.Observe}
	if c.Containerd.Standalone {
		h.Admitter = Alone{Agent: agent, Config: c.File}
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

// nobody cannot decide.
type nobody struct{ err error }

// Admit gives the error as the reason.
func (n nobody) Admit(_ context.Context, req gate.Request) gate.Verdict {
	return gate.Undecided(req, gate.CodeNoAgent, n.err)
}
