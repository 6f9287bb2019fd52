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

// ForHost is whoever decides on this host: its agent and, where that does not
// answer, [Alone], unless config.yaml has "containerd: {standalone: false}". file is
// config.yaml; empty is /etc/touchmark's, which need not exist. An Admitter that can't
// decide anything, and says why, stands for a file that can't be used.
func ForHost(file string) gate.Admitter {
	c, err := configuration(file)
	if err != nil {
		return nobody{err}
	}
	agent := remote.Dial(c.Agent.Socket)
	agent.Name = client
	if !c.Containerd.Standalone {
		return agent
	}
	return Alone{Agent: agent, Config: c.File}
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
