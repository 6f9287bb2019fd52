package ask

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	jsonv2 "github.com/go-json-experiment/json"

	"github.com/touchmark/touchmark/core/jsonguard"
)

const (
	// timeout is this side's own, above the eight seconds that a decision may
	// take, and below the ten after which containerd stops waiting.
	timeout = 9 * time.Second
	// connectTimeout ends an attempt to connect: the socket is on this host.
	connectTimeout = time.Second
	// maxHead bounds the lines in front of an answer, in bytes; the agent's have 200.
	maxHead = 16 << 10
	// maxAnswer bounds a verdict, in bytes. One that tells of all the evidence
	// that is looked at, with every check, has a few MiB.
	maxAnswer = 16 << 20
)

// Advice is what to do about an agent at whose socket nobody answers.
const Advice = "see whether it runs: systemctl status touchmark-agent (a user's own: systemctl --user)"

// Agent asks the agent at a unix socket, and returns its verdict's JSON as it is: see
// [Read]. It does not wait longer than the context, and nine seconds; the error says
// which of them ended it, and otherwise what is wrong with the agent.
//
// A connection is for one question, by HTTP/1.0, over the system's calls: packages net
// and net/http take longer to start than the agent takes to answer.
func Agent(ctx context.Context, socket string, q Question) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %s", timeout))
	defer cancel()
	body, err := jsonv2.Marshal(q)
	if err != nil {
		return nil, err
	}
	answer, err := exchange(ctx, socket, request(ctx, body))
	if cause := context.Cause(ctx); cause != nil { // and what was read ends where the connection was shut
		return nil, cause
	}
	if err != nil {
		return nil, err
	}
	return parse(answer)
}

// request is the question as HTTP.
func request(ctx context.Context, body []byte) []byte {
	var b bytes.Buffer
	// The host is no host: this is a socket.
	fmt.Fprintf(&b, "POST %s HTTP/1.0\r\nHost: agent\r\nContent-Type: application/json\r\nContent-Length: %d\r\n", Path, len(body))
	if end, ok := ctx.Deadline(); ok {
		fmt.Fprintf(&b, "%s: %d\r\n", PatienceHeader, max(time.Until(end).Milliseconds(), 1))
	}
	b.WriteString("\r\n")
	b.Write(body)
	return b.Bytes()
}

// exchange writes a request to a socket, and reads what comes until its end.
func exchange(ctx context.Context, socket string, request []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	syscall.ForkLock.RLock() // the descriptor is nobody's child's
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	conn := os.NewFile(uintptr(fd), socket)
	// Whoever waits in a call of the system wakes when the connection is shut.
	var mu sync.Mutex
	open := true
	stop := context.AfterFunc(ctx, func() {
		mu.Lock()
		defer mu.Unlock()
		if open {
			_ = syscall.Shutdown(fd, syscall.SHUT_RDWR) // there is nothing to shut before it is connected
		}
	})
	defer func() {
		stop()
		mu.Lock()
		defer mu.Unlock()
		open = false
		_ = conn.Close() // the answer was read to its end
	}()
	wait := syscall.NsecToTimeval(connectTimeout.Nanoseconds()) // for connecting, and for writing a question that fits into the socket's buffer
	if err := syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_SNDTIMEO, &wait); err != nil {
		return nil, os.NewSyscallError("setsockopt", err)
	}
	if err := syscall.Connect(fd, &syscall.SockaddrUnix{Name: socket}); err != nil {
		return nil, fmt.Errorf("%w; %s", os.NewSyscallError("connect", err), Advice)
	}
	if err := ctx.Err(); err != nil { // too early to be shut
		return nil, err
	}
	if _, err := conn.Write(request); err != nil {
		return nil, plainly(err)
	}
	answer, err := io.ReadAll(io.LimitReader(conn, maxHead+maxAnswer+1))
	return answer, plainly(err)
}

// plainly is an error without the file's name, which whoever asks has.
func plainly(err error) error {
	var of *os.PathError
	if errors.As(err, &of) {
		return os.NewSyscallError(of.Op, of.Err)
	}
	return err
}

// parse takes the body out of an answer by HTTP.
func parse(answer []byte) ([]byte, error) {
	head, body, ok := bytes.Cut(answer, []byte("\r\n\r\n"))
	switch {
	case len(answer) == 0:
		return nil, errors.New("it ends the connection without an answer")
	case !ok || len(head) > maxHead || !bytes.HasPrefix(head, []byte("HTTP/1.")):
		return nil, errors.New("its answer is not HTTP")
	case len(body) > maxAnswer:
		return nil, fmt.Errorf("the answer is larger than %d bytes", maxAnswer)
	}
	lines := strings.Split(string(head), "\r\n")
	_, status, _ := strings.Cut(lines[0], " ")
	if !strings.HasPrefix(status, "200 ") {
		return nil, fmt.Errorf("it answers %s: %s", jsonguard.Excerpt(status), jsonguard.Excerpt(string(body)))
	}
	for _, line := range lines[1:] {
		field, value, _ := strings.Cut(line, ":")
		if !strings.EqualFold(field, "Content-Length") {
			continue
		}
		if length, err := strconv.Atoi(strings.TrimSpace(value)); err != nil || length != len(body) {
			return nil, fmt.Errorf("the answer has %d bytes of %s", len(body), jsonguard.Excerpt(strings.TrimSpace(value)))
		}
	}
	return body, nil
}
