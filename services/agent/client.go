package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/touchmark/touchmark/core/gate/ask"
)

const (
	// clientTimeout bounds one question about decisions or the status.
	clientTimeout = 10 * time.Second
	// maxReply bounds an answer, in bytes: a thousand decisions with verdicts of up
	// to 32 KiB each.
	maxReply = 64 << 20
)

// ErrAway is wrapped by the errors of a [Client] whose agent does not answer.
var ErrAway = errors.New("the agent does not answer")

// Client asks an agent what it decided and how it is. Whether an image may run
// is asked by core/gate/remote.
type Client struct {
	socket string
	http   *http.Client
}

// NewClient makes a client for a socket.
func NewClient(socket string) *Client {
	return &Client{socket: socket, http: &http.Client{Timeout: clientTimeout, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}}
}

// Why returns what was decided about an image, the latest first.
func (c *Client) Why(ctx context.Context, image string) (Decisions, error) {
	var d Decisions
	return d, c.get(ctx, "/v1/why?image="+url.QueryEscape(image), &d)
}

// Report returns what was refused or not decided, or would be by enforcing.
func (c *Client) Report(ctx context.Context) (Decisions, error) {
	var d Decisions
	return d, c.get(ctx, "/v1/report", &d)
}

// Status returns how the agent is.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	return s, c.get(ctx, "/v1/status", &s)
}

func (c *Client) get(ctx context.Context, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://agent"+path, nil)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err
		}
		return fmt.Errorf("asking the agent at %s: %w: %w; %s", c.socket, ErrAway, err, ask.Advice)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxReply+1))
	switch {
	case err != nil:
	case len(data) > maxReply:
		err = fmt.Errorf("the answer is larger than %d bytes", maxReply)
	case resp.StatusCode != http.StatusOK:
		err = fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(data)))
	default:
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		return fmt.Errorf("asking the agent at %s: %w", c.socket, err)
	}
	return nil
}
