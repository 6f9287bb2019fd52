// Command touchmark-containerd is the image verifier for containerd's bin_dir:
// containerd runs it before it pulls an image, and it has the agent of this host
// decide. See docs/containerd.md, and containerd/bindir for the protocol.
//
// It is small, since it is started for each pull: policies, trust roots and
// signatures are the agent's business. Where there is no agent it runs "touchmark
// verify", unless config.yaml has "containerd: {standalone: false}".
//
// The configuration is /etc/touchmark/config.yaml, or what TOUCHMARK_CONFIG names
// in containerd's environment. On a host without that file the agent at the default
// socket decides.
//
// Exit status: 0 admitted, 1 not admitted, with the reason on standard output.
package main

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/touchmark/touchmark/containerd/bindir"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/gate/remote"
	"github.com/touchmark/touchmark/core/hostconfig"
)

func main() {
	os.Exit(bindir.Run(context.Background(), bindir.Timeout, admitter(), os.Args[1:], os.Stdin, os.Stdout))
}

// admitter is whoever decides on this host.
func admitter() gate.Admitter {
	c, err := configuration(os.Getenv("TOUCHMARK_CONFIG"))
	if err != nil {
		return nobody{err}
	}
	agent := remote.Dial(c.Agent.Socket)
	agent.Name = "containerd"
	if !c.Containerd.Standalone {
		return agent
	}
	return bindir.Alone{Agent: agent, Config: c.File}
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
