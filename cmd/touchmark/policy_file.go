package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/configfile"
	"github.com/touchmark/touchmark/core/policy"
)

// exceptionsFile is where a host keeps what people decide about single images.
const exceptionsFile = "/etc/touchmark/policy.d/exceptions.yaml"

// policyFile is a policy file that a command changes.
type policyFile struct {
	path     string
	registry registryFlags
}

func (f *policyFile) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.path, "policy", exceptionsFile, "policy `file` to write to; it is made if need be")
	f.registry.register(cmd)
}

// change makes changes in the file. It is replaced by a file that was read as a
// policy before, or not at all.
func (f policyFile) change(ctx context.Context, changes ...policy.Change) error {
	unlock, err := lockDir(filepath.Dir(f.path))
	if err != nil {
		return undecided(err)
	}
	defer unlock()
	old, err := configfile.Read(f.path, policy.MaxSize)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return undecided(err)
	}
	changed, err := policy.Edit(old, changes...)
	if err != nil {
		return usageError(fmt.Errorf("%s: %w", f.path, err))
	}
	o := policyOptions(true)
	o.File = f.path
	if _, err := policy.Parse(ctx, changed, o); err != nil {
		return usageError(fmt.Errorf("nothing is written, the file would be refused: %w", err))
	}
	if err := replaceFile(f.path, changed, 0o644); err != nil {
		return undecided(err)
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

// subject is an image that somebody decides about.
type subject struct {
	repository string    // logical name
	digest     v1.Hash   // of what the name stands for
	platforms  []v1.Hash // the manifests that it lists, if it is an index
}

// resolve finds out what an image's name stands for, and says so: a tag may
// come to mean another image. Of an index, clients pull the manifests of single
// platforms, and some never tell of which index; a decision about it is one about
// them.
func (f policyFile) resolve(cmd *cobra.Command, image string) (subject, error) {
	ref, err := f.registry.parse(image)
	if err != nil {
		return subject{}, err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), resolveTimeout)
	defer cancel()
	src := f.registry.source(ref.Context())
	s := subject{repository: attach.LogicalName(ref.Context())}
	desc, _, err := attach.Resolve(ctx, src, ref)
	if err != nil {
		// A digest is enough to decide by. What it lists is not known then.
		given, ok := ref.(name.Digest)
		if !ok {
			return subject{}, undecided(fmt.Errorf("resolving %s: %w", image, err))
		}
		if s.digest, err = v1.NewHash(given.DigestStr()); err != nil {
			return subject{}, usageError(fmt.Errorf("image %q: %w", image, err))
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "touchmark: warning: the registry cannot be asked whether %s lists images for several platforms; if it does, name them too\n", image)
		return s, nil
	}
	s.digest = desc.Digest
	if _, ok := ref.(name.Tag); ok {
		fmt.Fprintf(cmd.OutOrStdout(), "%s is %s@%s now\n", printable(image), s.repository, s.digest)
	}
	if !desc.MediaType.IsIndex() {
		return s, nil
	}
	children, _, err := attach.Children(ctx, src, desc.Digest)
	if err != nil {
		return subject{}, undecided(fmt.Errorf("reading the index %s: %w", image, err))
	}
	for _, child := range children {
		if child.Platform == nil || child.Platform.OS != "unknown" { // BuildKit's attestations have this platform
			s.platforms = append(s.platforms, child.Digest)
		}
	}
	return s, nil
}

// resolveTimeout bounds the requests to the registry before a decision.
const resolveTimeout = 60 * time.Second

// each calls make for the image and for each platform's manifest, with a reason
// that says which it is.
func (s subject) each(reason string, add func(digest, reason string)) {
	add(s.digest.String(), reason)
	for _, p := range s.platforms {
		add(p.String(), strings.TrimSpace(reason+" (a platform of "+s.digest.String()+")"))
	}
}

// String is the image for people.
func (s subject) String() string {
	text := s.repository + "@" + s.digest.String()
	if n := len(s.platforms); n > 0 {
		text += fmt.Sprintf(" with its platforms (%d)", n)
	}
	return text
}

// whoami names who decides: the user on this host, unless --by says otherwise.
func whoami() string {
	who := "unknown"
	if u, err := user.Current(); err == nil {
		who = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		who += "@" + host
	}
	return who
}

// parseWhen reads a date or a time. An empty text is no time.
func parseWhen(flag, text string, end bool) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := policy.ParseTime(text, end)
	if err != nil {
		return time.Time{}, usageError(fmt.Errorf("--%s: %w", flag, err))
	}
	return t, nil
}

// parseAhead reads a number of days from now, or a date or a time.
func parseAhead(flag, text string, now time.Time) (time.Time, error) {
	if d, err := configfile.ParseDuration(text); err == nil {
		return now.Add(d).UTC().Truncate(time.Second), nil
	}
	t, err := policy.ParseTime(text, true)
	if err != nil {
		return time.Time{}, usageError(fmt.Errorf("--%s: %w, nor days from now such as 14d", flag, err))
	}
	return t, nil
}
