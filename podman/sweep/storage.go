package sweep

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

const (
	// listTimeout ends a listing: podman takes some seconds for thousands of images,
	// and waits for others' locks.
	listTimeout = 2 * time.Minute
	// untagTimeout ends the removal of one image's names.
	untagTimeout = time.Minute
	// maxListing bounds what podman says of its images, in bytes: some kilobytes for
	// each name of each image.
	maxListing = 64 << 20
	// maxImages bounds the images that are judged.
	maxImages = 20_000
	// maxComplaint is how much of podman's own words is repeated, in bytes.
	maxComplaint = 2 << 10
)

// Storage is podman's storage of one user, or of the system when root asks.
type Storage struct {
	Podman  string // the program; "" is podman in PATH
	Root    string // podman's --root; "" is what podman is configured for
	RunRoot string // podman's --runroot
}

// Stored is one image as podman lists it.
type Stored struct {
	ID          string   `json:"Id"`
	Names       []string `json:"Names"`       // with tags
	RepoDigests []string `json:"RepoDigests"` // every repository of its names with every digest by which it is known
	Digest      string   `json:"Digest"`      // of its manifest
}

// List asks podman what there is. Each image is listed once.
func (s Storage) List(ctx context.Context) ([]Stored, error) {
	out, err := s.run(ctx, listTimeout, "image", "ls", "--format", "json", "--digests")
	if err != nil {
		return nil, err
	}
	var listed []Stored
	if err := json.Unmarshal(out, &listed); err != nil {
		return nil, fmt.Errorf("reading podman's list of images: %w", err)
	}
	var images []Stored
	seen := map[string]bool{}
	for _, i := range listed { // once for each name
		switch {
		case i.ID == "" || strings.HasPrefix(i.ID, "-"):
			return nil, fmt.Errorf("reading podman's list of images: %q is no ID", i.ID)
		case seen[i.ID]:
			continue
		case len(images) == maxImages:
			return nil, fmt.Errorf("reading podman's list of images: there are more than %d", maxImages)
		}
		seen[i.ID] = true
		images = append(images, i)
	}
	return images, nil
}

// Untag removes names of an image. One that has moved to another image meanwhile
// stays.
func (s Storage) Untag(ctx context.Context, id string, names []string) error {
	_, err := s.run(ctx, untagTimeout, append([]string{"untag", id}, names...)...)
	return err
}

// errTooLong says that podman wrote more than is read.
var errTooLong = errors.New("it says more than is read")

// run executes podman with the caller's environment, which says where a user's
// storage lies, and returns what it wrote.
func (s Storage) run(ctx context.Context, limit time.Duration, args ...string) ([]byte, error) {
	program := s.Podman
	if program == "" {
		program = "podman"
	}
	var global []string
	if s.Root != "" {
		global = append(global, "--root", s.Root)
	}
	if s.RunRoot != "" {
		global = append(global, "--runroot", s.RunRoot)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("it took longer than %s", limit))
	defer cancel()
	cmd := exec.CommandContext(ctx, program, append(global, args...)...)
	cmd.WaitDelay = time.Second // what it started may hold its output open
	stdout, stderr := &bounded{max: maxListing}, &bounded{max: maxComplaint, cut: true}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	err := cmd.Run()
	if err == nil {
		return stdout.kept.Bytes(), nil
	}
	if stdout.over {
		err = errTooLong
	}
	err = errors.Join(context.Cause(ctx), err)
	if said := strings.TrimSpace(stderr.kept.String()); said != "" {
		err = fmt.Errorf("%w: %s", err, strings.ToValidUTF8(strings.ReplaceAll(said, "\n", "; "), "?"))
	}
	return nil, fmt.Errorf("running %s %s: %w", program, args[0], err)
}

// bounded keeps what is written up to a limit. Beyond, it fails the writer, or
// cuts.
type bounded struct {
	kept bytes.Buffer
	max  int
	cut  bool
	over bool
}

// Write is io.Writer's.
func (b *bounded) Write(p []byte) (int, error) {
	room := b.max - b.kept.Len()
	switch {
	case len(p) <= room:
		return b.kept.Write(p)
	case b.cut:
		b.kept.Write(p[:room])
		return len(p), nil
	}
	b.over = true
	return 0, errTooLong
}
