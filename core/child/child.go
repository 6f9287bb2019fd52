// Package child runs the further programs of Touchmark: what is large, needs cgo, or reads megabytes that strangers wrote is not linked into
// every program, but has a process of its own that can be limited and killed.
//
// A program reads one request from standard input and writes one answer to standard output; see core/policy/worker and core/keys/worker. It gets no
// other files, only the environment that it is given, and on Linux it dies with the process that started it.
package child

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// maxComplaint bounds what is kept of a program's standard error, in bytes: enough for the head of a crash.
const maxComplaint = 4 << 10

// Find returns the path of a further program: beside the running one (as it was called, and where symbolic links lead), else in PATH.
func Find(name string) (string, error) {
	var beside []string
	if self, err := os.Executable(); err == nil {
		beside = append(beside, filepath.Dir(self))
		if real, err := filepath.EvalSymlinks(self); err == nil {
			beside = append(beside, filepath.Dir(real))
		}
	}
	for _, dir := range beside {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 {
			return path, nil
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("finding program %s: it is neither beside this program nor in PATH: %w", name, fs.ErrNotExist)
	}
	return path, nil
}

// Program is how a program is run.
type Program struct {
	Path string
	Args []string // after the program's name
	Env  []string // all of its environment, "name=value"
	// TimeLimit ends each run; it is killed then.
	TimeLimit time.Duration
	// MaxAnswer bounds what it may write, in bytes; it is killed if it writes more.
	MaxAnswer int
}

// Failure is the error of a program that ended with another status than 0, or died. Its text quotes the program: what strangers may read is made from Path and Err alone.
type Failure struct {
	Path string
	Err  error  // how it ended, or why it did not start
	Said string // the first line that it wrote to standard error, of at most 4 KiB; "" if there is none
}

// Error names the program, and quotes it.
func (f *Failure) Error() string {
	if f.Said == "" {
		return fmt.Sprintf("running %s: %v", f.Path, f.Err)
	}
	return fmt.Sprintf("running %s: %v: %s", f.Path, f.Err, f.Said)
}

// Unwrap is how it ended.
func (f *Failure) Unwrap() error { return f.Err }

// Run gives a request to a new process and returns its answer. A program that is missing, that ends with another status than 0, that dies or is killed is an
// error that names it; a [*Failure] if it did not take too long or say too much.
func (p Program) Run(ctx context.Context, request []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, p.TimeLimit)
	defer cancel()
	answer, complaint := &buffer{max: p.MaxAnswer, over: cancel}, &buffer{max: maxComplaint}
	cmd := exec.CommandContext(ctx, p.Path, p.Args...)
	cmd.Env = append([]string{}, p.Env...) // not nil, which would be all of ours
	cmd.Dir = string(filepath.Separator)
	cmd.Stdin = bytes.NewReader(request)
	cmd.Stdout, cmd.Stderr = answer, complaint
	cmd.WaitDelay = time.Second // a grandchild may hold the pipes
	dieWithParent(cmd)

	// The kernel sends the signal of dieWithParent when the thread that started the process ends, not when all do.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := cmd.Run()
	switch {
	case answer.isOver:
		return nil, fmt.Errorf("running %s: it wrote more than %d bytes", p.Path, p.MaxAnswer)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, fmt.Errorf("running %s: it took too long and was killed: %w", p.Path, ctx.Err())
	case ctx.Err() != nil:
		return nil, fmt.Errorf("running %s: %w", p.Path, ctx.Err())
	case err != nil:
		line, _, _ := strings.Cut(strings.TrimSpace(string(complaint.kept)), "\n")
		return nil, &Failure{Path: p.Path, Err: err, Said: strings.ToValidUTF8(line, "\ufffd")}
	}
	return answer.kept, nil
}

// buffer keeps what is written up to a limit. Of more it drops the rest, and calls over if there is one. (It embeds no bytes.Buffer: io.Copy would use that
// one's ReadFrom, which has no limit.)
type buffer struct {
	kept   []byte
	max    int
	over   func()
	isOver bool
}

func (b *buffer) Write(p []byte) (int, error) {
	room := min(len(p), b.max-len(b.kept))
	b.kept = append(b.kept, p[:room]...)
	if room < len(p) && b.over != nil {
		b.isOver = true
		b.over()
	}
	return len(p), nil
}
