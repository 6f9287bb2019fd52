package bindir

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/touchmark/touchmark/core/child"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/gate/remote"
	"github.com/touchmark/touchmark/core/jsonguard"
)

// maxSaid bounds what of the command's output is kept, in bytes: a verdict that
// tells of much evidence has a few MiB.
const maxSaid = 16 << 20

// endGrace is how long a command that was killed may hold its output.
const endGrace = 100 * time.Millisecond

// Alone is a [gate.Admitter] in front of the agent: where none answers, it has
// "touchmark verify" decide, by the same configuration, policies and trust
// roots. That is slower, and remembers nothing.
type Alone struct {
	Agent  gate.Admitter
	Config string // path of config.yaml
}

// Admit asks the agent, and then the command.
func (a Alone) Admit(ctx context.Context, req gate.Request) gate.Verdict {
	v := a.Agent.Admit(ctx, req)
	if v.Code != gate.CodeNoAgent || ctx.Err() != nil {
		return v
	}
	alone, err := a.verify(ctx, req)
	if err != nil {
		return gate.Undecided(req, gate.CodeNoAgent, fmt.Errorf("%s; and without it: %w", unprefixed(v), err))
	}
	return alone
}

// unprefixed is why there is no verdict, without the image's name in front.
func unprefixed(v gate.Verdict) string {
	return strings.TrimPrefix(v.Reason, fmt.Sprintf("cannot decide about %s@%s: ", v.Repository, v.Digest))
}

// verify runs the command. Its exit status is not looked at: the verdict says
// what was decided, and about which image.
func (a Alone) verify(ctx context.Context, req gate.Request) (gate.Verdict, error) {
	program, err := child.Find("touchmark")
	if err != nil {
		return gate.Verdict{}, err
	}
	// A name never begins with a dash, see parseName; the flags end all the same.
	cmd := exec.CommandContext(ctx, program, "verify", "--client", "containerd", "--config", a.Config, "-o", "json", "--",
		req.Source.Repository.Name()+"@"+req.Digest.String())
	out, complaint := &limited{max: maxSaid}, &limited{max: 4 << 10}
	cmd.Env, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = os.Environ(), out, complaint, endGrace
	err = cmd.Run()
	switch {
	case ctx.Err() != nil:
		return gate.Verdict{}, fmt.Errorf("%s was not done in time", program)
	case out.b.Len() == 0 && err != nil:
		return gate.Verdict{}, fmt.Errorf("%s: %w: %s", program, err, jsonguard.Excerpt(complaint.b.String()))
	}
	return remote.Parse(out.b.Bytes(), req)
}

// limited keeps the first bytes of an output, and ends what writes more.
type limited struct {
	b   bytes.Buffer
	max int
}

// Write keeps p.
func (l *limited) Write(p []byte) (int, error) {
	if l.b.Len()+len(p) > l.max {
		return 0, errors.New("it writes too much")
	}
	return l.b.Write(p)
}
