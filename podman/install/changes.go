package install

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/rogpeppe/go-internal/diff"

	"github.com/touchmark/touchmark/podman"
)

// Changes are what has to be done to a host.
type Changes struct {
	// Notes are what people should know besides the diff, one sentence each.
	Notes []string

	host     podman.Host
	record   *record // as it is to be; nil takes it away
	last     *record // as it is; nil if there is none
	files    []change
	keys     []string // to make
	generate func(context.Context) error
	staging  string // to make; "" for none
}

// change is one file's.
type change struct {
	path    string
	now, to *state // nil: there is none
}

// changes compares what is planned with what is there.
func (p *planner) changes() (*Changes, error) {
	c := &Changes{Notes: p.notes, host: p.Host, last: p.record, record: &record{Version: 1, Settings: p.Settings}, generate: p.Generate}
	for _, f := range p.files {
		was, existed, now, err := p.record.before(f.path)
		if err != nil {
			return nil, err
		}
		to := state{Data: f.data, Mode: f.mode, UID: p.Host.UID, GID: gid(p.Host)}
		if existed {
			to.Mode, to.UID, to.GID = was.Mode, was.UID, was.GID
			to.close(p.Host)
		}
		c.add(f.path, now, &to)
		if !existed || !was.equal(to) {
			c.record.Files = append(c.record.Files, saved{Path: f.path, Existed: existed, state: was, Written: []string{digest(f.data)}, Input: f.input})
		}
	}
	if err := c.drop(p); err != nil {
		return nil, err
	}
	if p.Form != Native {
		c.addKeys(p)
		if !p.Host.User() {
			c.staging = Staging(p.Host)
		}
	}
	return c, c.directories()
}

// drop restores what was written before and is no longer wanted.
func (c *Changes) drop(p *planner) error {
	if p.record == nil {
		return nil
	}
	for _, old := range slices.Backward(p.record.Files) {
		if slices.ContainsFunc(p.files, func(f planned) bool { return f.path == old.Path }) {
			continue
		}
		if old.Input {
			c.record.Files = append([]saved{old}, c.record.Files...)
			continue
		}
		if err := c.restore(old); err != nil {
			return err
		}
	}
	return nil
}

// restore plans to put a file back as it was.
func (c *Changes) restore(old saved) error {
	s, exists, err := readState(old.Path)
	if err != nil {
		return err
	}
	var now, to *state
	if exists {
		now = &s
	}
	if !old.unedited(now) {
		return &EditedError{old.Path}
	}
	if old.Existed {
		to = &old.state
	}
	c.add(old.Path, now, to)
	return nil
}

// add plans a file, if there is anything to do.
func (c *Changes) add(path string, now, to *state) {
	switch {
	case now == nil && to == nil:
		return
	case now != nil && to != nil && now.equal(*to):
		return
	}
	c.files = append(c.files, change{path, now, to})
}

// addKeys plans the host's key where it is missing.
func (c *Changes) addKeys(p *planner) {
	if p.record != nil {
		c.record.Made = slices.Clone(p.record.Made)
	}
	for _, path := range p.KeyFiles {
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			c.keys = append(c.keys, path)
			if !slices.Contains(c.record.Made, path) {
				c.record.Made = append(c.record.Made, path)
			}
		}
	}
}

// directories lists those that have to be made.
func (c *Changes) directories() error {
	if c.last != nil {
		c.record.Directories = slices.Clone(c.last.Directories)
	}
	home := filepath.Dir(recordFile(c.host))
	dirs := []string{home}
	if c.last == nil {
		c.record.Directories = abandoned(home)
	}
	for _, f := range c.files {
		if f.to != nil {
			dirs = append(dirs, filepath.Dir(f.path))
		}
	}
	for _, k := range c.keys {
		dirs = append(dirs, filepath.Dir(k))
	}
	if c.staging != "" {
		dirs = append(dirs, c.staging)
	}
	for _, dir := range dirs {
		for _, d := range missing(dir) {
			if !slices.Contains(c.record.Directories, d) {
				c.record.Directories = append(c.record.Directories, d)
			}
		}
	}
	return nil
}

// abandoned are the directories that were made for a record which was not
// written any more.
func abandoned(home string) []string {
	entries, err := os.ReadDir(home)
	if err != nil || len(entries) > 0 {
		return nil
	}
	above, err := os.ReadDir(filepath.Dir(home))
	if err != nil || len(above) > 1 {
		return []string{home}
	}
	return []string{filepath.Dir(home), home}
}

// Empty reports whether there is nothing to do.
func (c *Changes) Empty() bool {
	if len(c.files) > 0 || len(c.keys) > 0 || (c.record == nil) != (c.last == nil) {
		return false
	}
	a, errA := json.Marshal(c.record)
	b, errB := json.Marshal(c.last)
	return errA == nil && errB == nil && bytes.Equal(a, b)
}

// Diff shows what changes, as unified diffs; keys and directories in a line
// each. What was there is shown, so files with secrets are never among them.
func (c *Changes) Diff() string {
	var out bytes.Buffer
	for _, f := range c.files {
		oldName, newName := f.path, f.path
		var before, after []byte
		if f.now == nil {
			oldName = os.DevNull
		} else {
			before = f.now.Data
		}
		if f.to == nil {
			newName = os.DevNull
		} else {
			after = f.to.Data
		}
		out.Write(diff.Diff(oldName, before, newName, after))
		if f.now != nil && f.to != nil && (f.now.Mode != f.to.Mode || f.now.UID != f.to.UID || f.now.GID != f.to.GID) {
			fmt.Fprintf(&out, "%s: mode %#o, owner %d:%d -> mode %#o, owner %d:%d\n", f.path, f.now.Mode, f.now.UID, f.now.GID, f.to.Mode, f.to.UID, f.to.GID)
		}
	}
	for _, k := range c.keys {
		fmt.Fprintf(&out, "%s: is made\n", k)
	}
	if c.record == nil && c.last != nil {
		for _, k := range c.last.Made {
			fmt.Fprintf(&out, "%s: is deleted\n", k)
		}
	}
	return out.String()
}

// gid is the group of a user's new files: that of the home directory.
func gid(h podman.Host) int {
	if s, ok := owner(h.Home); h.User() && ok {
		return s.GID
	}
	return 0
}
