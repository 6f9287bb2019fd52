package config

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

const (
	// dumpTime bounds "containerd config dump", which reads a few files and takes 20 ms.
	dumpTime = 10 * time.Second
	// maxComplaint bounds what is kept of its standard error, in bytes: the end, where the error is.
	maxComplaint = 4 << 10
)

// Dump asks a containerd program what it makes of a file and its imports, by
// "containerd --config FILE config dump", so that its own defaults count. The
// release is the program's: it decides what the values mean. Which file a value
// comes from, and the version of the file, a dump does not say. An import that
// does not exist ends the dump early, without an error, whereas the daemon would
// not start: [Load] says so. ctx, or ten seconds, end it.
func Dump(ctx context.Context, program, file string, release Release) (*Config, error) {
	ctx, cancel := context.WithTimeout(ctx, dumpTime)
	defer cancel()
	out, complaint := &window{max: maxFile + 1}, &window{max: maxComplaint, tail: true}
	cmd := exec.CommandContext(ctx, program, "--config", file, "config", "dump")
	cmd.Stdout, cmd.Stderr = out, complaint
	cmd.WaitDelay = time.Second // a grandchild may hold the pipes
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("running %s config dump: %w", program, ctx.Err())
	case err != nil:
		if last := complaint.lastLine(); last != "" {
			err = errors.New(last)
		}
		return nil, fmt.Errorf("running %s config dump: %w", program, err)
	case len(out.kept) > maxFile:
		return nil, fmt.Errorf("running %s config dump: it wrote more than %d bytes", program, maxFile)
	}
	c, err := read("containerd config dump", out.kept, release)
	if err != nil {
		return nil, fmt.Errorf("running %s: %w", program, err)
	}
	return c, nil
}

// read reads a configuration that imports nothing any more: what a dump prints,
// of whatever version.
func read(name string, data []byte, release Release) (*Config, error) {
	f, err := parse(name, data)
	if err != nil {
		return nil, err
	}
	merged, err := mergeAll([]*file{f}, release)
	if err != nil {
		return nil, err
	}
	return model(merged, nil, release)
}

// window keeps the beginning, or the end, of what is written to it.
type window struct {
	kept []byte
	max  int
	tail bool
}

// Write keeps what fits, and never fails.
func (w *window) Write(p []byte) (int, error) {
	if w.tail {
		w.kept = append(w.kept, p...)
		w.kept = w.kept[max(0, len(w.kept)-w.max):]
	} else {
		w.kept = append(w.kept, p[:min(len(p), w.max-len(w.kept))]...)
	}
	return len(p), nil
}

// lastLine is the last line that was kept, in valid UTF-8.
func (w *window) lastLine() string {
	text := bytes.TrimSpace(w.kept)
	return strings.ToValidUTF8(string(text[bytes.LastIndexByte(text, '\n')+1:]), "\ufffd")
}
