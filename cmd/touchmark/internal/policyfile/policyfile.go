// Package policyfile changes a policy file on behalf of a person or an installer who decides
// about a single image: resolved first, since a tag may come to mean another one, and
// written only if the result is read as a policy.
package policyfile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/console"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/imageref"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/rules"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/userfile"
	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/configfile"
	"github.com/touchmark/touchmark/core/policy"
)

// exceptionsFile is where a host keeps what people decide about single images.
const exceptionsFile = "/etc/touchmark/policy.d/exceptions.yaml"

// File is a policy file that a command changes.
type File struct {
	Path     string
	registry imageref.Flags
}

// Register adds the flags to a command.
func (f *File) Register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.Path, "policy", exceptionsFile, "policy `file` to write to; it is made if need be")
	f.registry.Register(cmd)
}

// Change makes changes in the file. It is replaced by a file that was read as a
// policy before, or not at all.
func (f File) Change(ctx context.Context, changes ...policy.Change) error {
	unlock, err := lockDir(filepath.Dir(f.Path))
	if err != nil {
		return exit.Undecided(err)
	}
	defer unlock()
	old, err := configfile.Read(f.Path, policy.MaxSize)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return exit.Undecided(err)
	}
	changed, err := policy.Edit(old, changes...)
	if err != nil {
		return exit.Usage(fmt.Errorf("%s: %w", f.Path, err))
	}
	o := rules.PolicyOptions(true)
	o.File = f.Path
	if _, err := policy.Parse(ctx, changed, o); err != nil {
		return exit.Usage(fmt.Errorf("nothing is written, the file would be refused: %w", err))
	}
	if err := userfile.Replace(f.Path, changed, 0o644); err != nil {
		return exit.Undecided(err)
	}
	return nil
}

// lockDir keeps others who change files in a directory waiting: two who add an
// exception at once must not lose one.
func lockDir(dir string) (unlock func(), err error) {
	d, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("directory %s does not exist: make it, or name another file with --policy", dir)
	}
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX); err != nil {
		_ = d.Close()
		return nil, fmt.Errorf("locking %s: %w", dir, err)
	}
	return func() { _ = d.Close() }, nil
}

// Subject is an image that somebody decides about.
type Subject struct {
	Repository string    // logical name
	Digest     v1.Hash   // of what the name stands for
	Platforms  []v1.Hash // the manifests that it lists, if it is an index
}

// Resolve finds out what an image's name stands for, and says so: a tag may
// come to mean another image. Of an index, clients pull the manifests of single
// platforms, and some never tell of which index; a decision about it is one about
// them.
func (f File) Resolve(cmd *cobra.Command, image string) (Subject, error) {
	ref, err := f.registry.Parse(image)
	if err != nil {
		return Subject{}, err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), resolveTimeout)
	defer cancel()
	src := f.registry.Source(ref.Context())
	s := Subject{Repository: attach.LogicalName(ref.Context())}
	desc, _, err := attach.Resolve(ctx, src, ref)
	if err != nil {
		// A digest is enough to decide by. What it lists is not known then.
		given, ok := ref.(name.Digest)
		if !ok {
			return Subject{}, exit.Undecided(fmt.Errorf("resolving %s: %w", image, err))
		}
		if s.Digest, err = v1.NewHash(given.DigestStr()); err != nil {
			return Subject{}, exit.Usage(fmt.Errorf("image %q: %w", image, err))
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "touchmark: warning: the registry cannot be asked whether %s lists images for several platforms; if it does, name them too\n", image)
		return s, nil
	}
	s.Digest = desc.Digest
	if _, ok := ref.(name.Tag); ok {
		fmt.Fprintf(cmd.OutOrStdout(), "%s is %s@%s now\n", console.Printable(image), s.Repository, s.Digest)
	}
	if !desc.MediaType.IsIndex() {
		return s, nil
	}
	children, _, err := attach.Children(ctx, src, desc.Digest)
	if err != nil {
		return Subject{}, exit.Undecided(fmt.Errorf("reading the index %s: %w", image, err))
	}
	for _, child := range children {
		if child.Platform == nil || child.Platform.OS != "unknown" { // BuildKit's attestations have this platform
			s.Platforms = append(s.Platforms, child.Digest)
		}
	}
	return s, nil
}

// resolveTimeout bounds the requests to the registry before a decision.
const resolveTimeout = 60 * time.Second

// Each calls make for the image and for each platform's manifest, with a reason
// that says which it is.
func (s Subject) Each(reason string, add func(digest, reason string)) {
	add(s.Digest.String(), reason)
	for _, p := range s.Platforms {
		add(p.String(), strings.TrimSpace(reason+" (a platform of "+s.Digest.String()+")"))
	}
}

// String is the image for people.
func (s Subject) String() string {
	text := s.Repository + "@" + s.Digest.String()
	if n := len(s.Platforms); n > 0 {
		text += fmt.Sprintf(" with its platforms (%d)", n)
	}
	return text
}
