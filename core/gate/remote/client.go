package remote

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/gate/ask"
	"github.com/touchmark/touchmark/core/jsonguard"
)

// Client asks the agent at one socket. It is a [gate.Admitter] and may be used
// by many goroutines.
type Client struct {
	// Name is the program that asks, for the agent's record; may be empty.
	Name string

	socket string
}

// Dial makes a client for the socket at a path. Each question has a connection of
// its own; nothing is connected before.
func Dial(socket string) *Client { return &Client{socket: socket} }

// Admit asks the agent.
func (c *Client) Admit(ctx context.Context, req gate.Request) gate.Verdict {
	v, err := c.admit(ctx, req)
	switch {
	case err == nil:
		return v
	case ctx.Err() != nil:
		return gate.Undecided(req, gate.CodeCancelled, context.Cause(ctx))
	}
	return gate.Undecided(req, gate.CodeNoAgent, fmt.Errorf("asking the agent at %s: %w", c.socket, err))
}

func (c *Client) admit(ctx context.Context, req gate.Request) (gate.Verdict, error) {
	data, err := ask.Agent(ctx, c.socket, question(c.Name, req))
	if err != nil {
		return gate.Verdict{}, err
	}
	// Fields that are not known are passed over: an agent may be newer than who asks it.
	var v gate.Verdict
	if err := jsonguard.CheckOpen(data); err != nil {
		return v, fmt.Errorf("reading the verdict: %w", err)
	}
	if err := json.Unmarshal(data, &v); err != nil {
		return v, fmt.Errorf("reading the verdict: %w", err)
	}
	return v, v.Answer().Check(req.Repository, req.Digest.String())
}
