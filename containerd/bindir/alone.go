package bindir

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/touchmark/touchmark/core/child"
	"github.com/touchmark/touchmark/core/gate/ask"
	"github.com/touchmark/touchmark/core/jsonguard"
)

// maxSaid bounds what of the command's output is kept, in bytes: a verdict that
// tells of much evidence has a few MiB.
const maxSaid = 16 << 20

// endGrace is how long a command that was killed may hold its output.
const endGrace = 100 * time.Millisecond

// Alone is an [Asker] in front of the agent: where none answers, it has
// "touchmark verify" decide, by the same configuration, policies and trust
// roots. That is slower, and remembers nothing.
type Alone struct {
	Agent  Asker
	Config string // path of config.yaml
}

// Ask asks the agent, and then the command.
func (a Alone) Ask(ctx context.Context, q ask.Question) ask.Answer {
	answer := a.Agent.Ask(ctx, q)
	if answer.Code != ask.CodeNoAgent || ctx.Err() != nil {
		return answer
	}
	alone, err := a.verify(ctx, q)
	if err != nil {
		return q.Undecided(ask.CodeNoAgent, fmt.Errorf("%s; and without it: %w", why(answer), err))
	}
	return alone
}

// verify runs the command. Its exit status is not looked at: the verdict says
// what was decided, and about which image.
func (a Alone) verify(ctx context.Context, q ask.Question) (ask.Answer, error) {
	program, err := child.Find("touchmark")
	if err != nil {
		return ask.Answer{}, err
	}
	// A name never begins with a dash, see parseName; the flags end all the same.
	cmd := exec.CommandContext(ctx, program, "verify", "--client", "containerd", "--config", a.Config, "-o", "json", "--",
		q.Physical+"@"+q.Digest)
	out, complaint := &limited{max: maxSaid}, &limited{max: 4 << 10}
	cmd.Env, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = os.Environ(), out, complaint, endGrace
	err = cmd.Run()
	switch {
	case ctx.Err() != nil:
		return ask.Answer{}, fmt.Errorf("%s was not done in time", program)
	case out.b.Len() == 0 && err != nil:
		return ask.Answer{}, fmt.Errorf("%s: %w: %s", program, err, jsonguard.Excerpt(complaint.b.String()))
	}
	return ask.Read(out.b.Bytes(), q)
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
