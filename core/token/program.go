package token

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/go-json-experiment/json"
)

// Buildkite has the agent of a Buildkite job ask for a token ("buildkite-agent oidc request-token").
type Buildkite struct {
	Program  string // buildkite-agent
	Audience string
}

// Token runs the agent. Its errors are a [*FetchError], but for a token that is malformed.
func (b Buildkite) Token(ctx context.Context) (string, error) {
	out, err := run(ctx, b.Program, "oidc", "request-token", "--audience", b.Audience)
	if err != nil {
		return "", err
	}
	return check(strings.TrimSpace(string(out)))
}

// SPIRE has SPIRE's agent program fetch a JWT-SVID from the SPIFFE Workload API ("spire-agent api fetch jwt").
type SPIRE struct {
	Program  string // spire-agent
	Socket   string // path of the Workload API's socket
	Audience string
}

// Token runs the program; of several identities it takes the first, the workload's default one (SPIFFE Workload API section 6.2.1). Its errors are a
// [*FetchError], but for a token that is malformed.
func (s SPIRE) Token(ctx context.Context) (string, error) {
	out, err := run(ctx, s.Program, "api", "fetch", "jwt", "-audience", s.Audience, "-socketPath", s.Socket, "-output", "json")
	if err != nil {
		return "", err
	}
	var answers []struct {
		SVIDs []struct {
			SVID string `json:"svid"`
		} `json:"svids"`
	}
	if err := json.Unmarshal(out, &answers); err != nil || len(answers) == 0 || len(answers[0].SVIDs) == 0 {
		return "", &FetchError{URL: filepath.Base(s.Program), Err: errors.New("it did not print a JWT-SVID in JSON")} // the cause might quote the token
	}
	return check(answers[0].SVIDs[0].SVID)
}

// maxComplaint bounds what is quoted of a program's standard error.
const maxComplaint = 300

// run runs a program and returns its standard output, which is never quoted.
func run(ctx context.Context, program string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	out, complaint := limited{max: MaxSize + 1}, limited{max: maxComplaint}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = &out, &complaint
	cmd.WaitDelay = timeout // a child of its own that keeps the pipe open must not keep us
	if err := cmd.Run(); err != nil {
		if said := strings.TrimSpace(complaint.kept.String()); said != "" {
			err = fmt.Errorf("%w: it says %q", err, said)
		}
		return nil, &FetchError{URL: filepath.Base(program), Err: err}
	}
	return out.kept.Bytes(), nil
}

// limited keeps the beginning of what is written to it. It does not embed the buffer, whose ReadFrom knows no limit.
type limited struct {
	kept bytes.Buffer
	max  int
}

// Write never fails, so that the program goes on.
func (l *limited) Write(p []byte) (int, error) {
	l.kept.Write(p[:min(len(p), l.max-l.kept.Len())])
	return len(p), nil
}
