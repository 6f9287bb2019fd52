package remote

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/jsonguard"
)

const (
	// timeout is the client's own, above the eight seconds that a decision may
	// take, and below the ten after which containerd stops waiting.
	timeout = 9 * time.Second
	// dialTimeout ends an attempt to connect: the socket is on this host.
	dialTimeout = time.Second
	// maxIdle bounds the connections that are kept for the next question.
	maxIdle = 8
	// idleTimeout is shorter than the agent's, so that a connection is not used
	// in the moment in which the agent closes it.
	idleTimeout = 20 * time.Second
)

// Client asks the agent at one socket. It is a [gate.Admitter] and may be used
// by many goroutines.
type Client struct {
	// Name is the program that asks, for the agent's record; may be empty.
	Name string

	socket string
	http   *http.Client
}

// Dial makes a client for the socket at a path. Nothing is connected before the
// first question.
func Dial(socket string) *Client {
	dialer := net.Dialer{Timeout: dialTimeout}
	return &Client{socket: socket, http: &http.Client{
		// Questions go to this host alone.
		CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("the agent redirects") },
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return dialer.DialContext(ctx, "unix", socket)
			},
			DisableCompression: true, MaxIdleConnsPerHost: maxIdle, IdleConnTimeout: idleTimeout,
			MaxResponseHeaderBytes: 16 << 10, // the agent's have 200
		},
	}}
}

// Close closes the connections that are kept.
func (c *Client) Close() { c.http.CloseIdleConnections() }

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
	body, err := json.Marshal(ask(c.Name, req))
	if err != nil {
		return gate.Verdict{}, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %s", timeout))
	defer cancel()
	// The host is no host: the transport knows one place.
	question, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://agent"+Path, bytes.NewReader(body))
	if err != nil {
		return gate.Verdict{}, err
	}
	question.Header.Set("Content-Type", "application/json")
	if end, ok := ctx.Deadline(); ok {
		question.Header.Set(patienceHeader, strconv.FormatInt(time.Until(end).Milliseconds(), 10))
	}
	answer, err := c.http.Do(question)
	if err != nil {
		return gate.Verdict{}, plainly(ctx, err)
	}
	defer func() { _ = answer.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	switch {
	case err != nil:
		return gate.Verdict{}, plainly(ctx, err)
	case len(data) > maxAnswer:
		return gate.Verdict{}, fmt.Errorf("the answer is larger than %d bytes", maxAnswer)
	case answer.StatusCode != http.StatusOK:
		return gate.Verdict{}, fmt.Errorf("it answers %s: %s", answer.Status, jsonguard.Excerpt(string(data)))
	}
	return Parse(data, req)
}

// plainly takes the request's made-up URL out of an error, and says which time
// limit ended it.
func plainly(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return errors.Unwrap(err)
}

// Parse reads a verdict's JSON, and holds it against the question. Fields that are not
// known are passed over: an agent may be newer than who asks it.
func Parse(data []byte, req gate.Request) (gate.Verdict, error) {
	var v gate.Verdict
	if err := jsonguard.CheckOpen(data); err != nil {
		return v, fmt.Errorf("reading the verdict: %w", err)
	}
	if err := json.Unmarshal(data, &v); err != nil {
		return v, fmt.Errorf("reading the verdict: %w", err)
	}
	switch v.Outcome {
	case gate.OutcomeAdmitted, gate.OutcomeRefused, gate.OutcomeUndecided:
	default:
		return v, fmt.Errorf("the verdict's outcome is %q", v.Outcome)
	}
	switch {
	case v.Repository != req.Repository || v.Digest != req.Digest.String():
		return v, fmt.Errorf("the verdict is about %s@%s", v.Repository, v.Digest)
	case v.Code == "" || v.Reason == "":
		return v, errors.New("the verdict gives no reason")
	}
	return v, nil
}
