package hostfiles

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Edited says what is to become of files that somebody edited since they were
// written. Of a file that is not named, the edit is an *[EditedError].
type Edited struct {
	Leave   []string // stay as they are now, edited or not
	Restore []string // are put back as they were, and what was edited is lost
}

// Removal plans to put everything back as it was before [Wanted.Plan] and Apply. It
// is an error that wraps [fs.ErrNotExist] if nothing is installed.
func (p Place) Removal(edited Edited) (*Changes, error) {
	r, err := p.Installed()
	if err != nil {
		return nil, err
	}
	if r == nil {
		return nil, fmt.Errorf("planning the removal: %s: %w: nothing is installed", p.Record, fs.ErrNotExist)
	}
	others, err := p.others()
	if err != nil {
		return nil, err
	}
	c := &Changes{place: p, last: r, others: others}
	var problems []error
	// Against the order of installing: what demands something goes on demanding it
	// until nothing else is left.
	for _, old := range slices.Backward(r.Files) {
		if slices.Contains(edited.Leave, old.Path) {
			continue
		}
		if err := c.restore(old, slices.Contains(edited.Restore, old.Path)); err != nil {
			problems = append(problems, err)
		}
	}
	if len(problems) > 0 {
		return nil, fmt.Errorf("planning the removal: %w", errors.Join(problems...))
	}
	return c, nil
}

// Apply does what is planned. If it is interrupted, [Wanted.Plan] or
// [Place.Removal] and Apply finish or undo it.
func (c *Changes) Apply(ctx context.Context) error {
	if c.record == nil {
		if err := c.removeAll(ctx); err != nil {
			return fmt.Errorf("uninstalling: %w", err)
		}
		return nil
	}
	if err := c.installAll(ctx); err != nil {
		return fmt.Errorf("installing: %w", err)
	}
	return nil
}

func (c *Changes) installAll(ctx context.Context) error {
	recordDir := filepath.Dir(c.place.Record)
	return inTurn(ctx,
		func() error {
			return c.makeDirectories(func(dir string) bool { return dir == recordDir || strings.HasPrefix(recordDir, dir+"/") })
		},
		func() error { return c.save(c.between()) },
		func() error { return c.makeDirectories(func(string) bool { return true }) },
		func() error { return c.makeKeys(ctx) },
		func() error { return c.writeFiles(ctx) },
		func() error { return c.save(c.record) },
	)
}

func (c *Changes) removeAll(ctx context.Context) error {
	return inTurn(ctx,
		func() error { return c.writeFiles(ctx) },
		c.removeKeys,
		c.removeDirectories,
		func() error { return remove(c.place.Record) },
		c.removeDirectories, // in which the record was
	)
}

// inTurn does one step after the other, until one fails or ctx is done.
func inTurn(ctx context.Context, steps ...func() error) error {
	for _, step := range steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (c *Changes) makeKeys(ctx context.Context) error {
	switch {
	case len(c.keys) == 0:
		return nil
	case c.generate == nil:
		return errors.New("the host's key is missing, and nothing makes one")
	}
	return c.generate(ctx)
}

func (c *Changes) removeKeys() error {
	for _, path := range c.last.Made {
		if err := remove(path); err != nil {
			return err
		}
	}
	return nil
}

// removeDirectories takes away what was made and is empty.
func (c *Changes) removeDirectories() error {
	for _, dir := range slices.Backward(c.last.Directories) {
		if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTEMPTY) {
			return err
		}
	}
	return nil
}

// between is the record while files are being written: each may be as it was
// written last, or as it will be.
func (c *Changes) between() *Record {
	r := *c.record
	r.Files = slices.Clone(c.record.Files)
	for i, f := range r.Files {
		if old := c.last.file(f.Path); old != nil {
			r.Files[i].Written = append(slices.Clone(old.Written), f.Written...)
			r.Files[i].Fields = append(slices.Clone(old.Fields), f.Fields...)
		}
	}
	if c.last != nil {
		for _, old := range c.last.Files {
			if r.file(old.Path) == nil { // it is being restored
				r.Files = append(r.Files, old)
			}
		}
	}
	return &r
}

func (c *Changes) writeFiles(ctx context.Context) error {
	for _, f := range c.files {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := sweep(filepath.Dir(f.path)); err != nil {
			return err
		}
		var err error
		if f.to == nil {
			err = remove(f.path)
		} else {
			err = write(f.path, *f.to)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// save writes the record, for nobody else to read: it holds files as they were.
func (c *Changes) save(r *Record) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return write(c.place.Record, State{Data: append(data, '\n'), Mode: 0o600, UID: c.place.UID, GID: c.place.GID})
}

// makeDirectories makes those of the missing ones that are wanted. A system's
// are for everybody to read, as policy.json and the public key are.
func (c *Changes) makeDirectories(wanted func(dir string) bool) error {
	for _, dir := range c.record.Directories {
		if !wanted(dir) {
			continue
		}
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if c.place.User && os.Geteuid() == 0 {
			if err := os.Lchown(dir, c.place.UID, c.place.GID); err != nil {
				return err
			}
		}
		mode := fs.FileMode(0o755)
		if c.place.User || dir == filepath.Dir(c.place.Record) {
			mode = 0o700
		}
		info, err := os.Lstat(dir)
		if err != nil {
			return err
		}
		// Not if it has that mode: a doctor would see that the directory changed.
		if info.Mode().Perm() == mode {
			continue
		}
		if err := os.Chmod(dir, mode); err != nil {
			return err
		}
	}
	return nil
}
