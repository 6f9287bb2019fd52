package hostfiles

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
	"strings"

	"github.com/rogpeppe/go-internal/diff"
)

// Changes are what has to be done to a host, of [Wanted.Plan] or [Place.Removal].
type Changes struct {
	// Notes are what people should know besides the diff, one sentence each.
	Notes []string

	place    Place
	record   *Record // as it is to be; nil takes it away
	last     *Record // as it is; nil if there is none
	others   []*Record
	files    []change
	keys     []string // to make
	generate func(context.Context) error
}

// change is one file's.
type change struct {
	path    string
	now, to *State // nil: there is none
}

// Plan compares what is wanted with what is there.
func (w Wanted) Plan() (*Changes, error) {
	settings, err := json.Marshal(w.Settings)
	if err != nil {
		return nil, err
	}
	others, err := w.Place.others()
	if err != nil {
		return nil, err
	}
	c := &Changes{others: others, Notes: w.Notes, place: w.Place, last: w.Last, record: &Record{Version: 1, Settings: settings}, generate: w.Generate}
	for _, f := range w.Files {
		if err := Within(w.Place.Root, f.Path); err != nil {
			return nil, err
		}
		plan := c.replace
		if f.Fields != nil {
			plan = c.share
		}
		if err := plan(w, f); err != nil {
			return nil, err
		}
	}
	if err := c.drop(w); err != nil {
		return nil, err
	}
	c.addKeys(w)
	c.directories(w.Directories)
	return c, nil
}

// replace plans a file whose whole content is ours.
func (c *Changes) replace(w Wanted, f File) error {
	read := ReadState
	if f.Link != "" || w.Last.file(f.Path) != nil { // ours may be a link
		read = readAny
	}
	was, existed, now, err := c.before(w, f.Path, read)
	if err != nil {
		return err
	}
	to := State{Data: f.Data, Mode: f.Mode, UID: w.Place.UID, GID: w.Place.GID, Link: f.Link}
	if existed && was.Link == "" && f.Link == "" {
		to.Mode, to.UID, to.GID = was.Mode, was.UID, was.GID
		to.close(w.Place)
	}
	c.add(f.Path, now, &to)
	if !existed || !was.equal(to) {
		c.record.Files = append(c.record.Files, Saved{Path: f.Path, Existed: existed, State: was, Written: []string{to.digest()}, Input: f.Input})
	}
	return nil
}

// before is a file as it was before Touchmark, as [Record.Before] has it, but that
// another installer may have written it, or written it anew.
func (c *Changes) before(w Wanted, path string, read func(string) (State, bool, error)) (was State, existed bool, now *State, err error) {
	s, exists, err := read(path)
	if err != nil {
		return State{}, false, nil, err
	}
	if other := c.owner(path, present(s, exists)); other != nil {
		return other.State, other.Existed, &s, nil
	}
	return w.Last.before(path, read)
}

// drop restores what was written before and is no longer wanted. What somebody
// handed in stays, in its place among the others.
func (c *Changes) drop(w Wanted) error {
	if w.Last == nil {
		return nil
	}
	dropped := func(old Saved) bool {
		return !slices.ContainsFunc(w.Files, func(f File) bool { return f.Path == old.Path })
	}
	for i, old := range w.Last.Files {
		if dropped(old) && old.Input {
			c.record.Files = slices.Insert(c.record.Files, min(i, len(c.record.Files)), old)
		}
	}
	for _, old := range slices.Backward(w.Last.Files) {
		if dropped(old) && !old.Input {
			if err := c.restore(old, false); err != nil {
				return err
			}
		}
	}
	return nil
}

// restore plans to put a file back as it was, edited or only if it was not.
func (c *Changes) restore(old Saved, edited bool) error {
	if err := Within(c.place.Root, old.Path); err != nil {
		return err
	}
	s, exists, err := readAny(old.Path)
	if err != nil {
		return err
	}
	now, to := present(s, exists), present(old.State, old.Existed)
	if now != nil && old.Fields == nil && c.wanted(old.Path) {
		return nil // it stays for the other
	}
	if !old.unedited(now) && !edited {
		if now == nil || old.Fields == nil {
			return &EditedError{old.Path, c.place.Client}
		}
		without := s
		if without.Data, exists, err = old.without(s.Data); err != nil {
			return fmt.Errorf("%s: %w", old.Path, err)
		}
		to = present(without, exists)
	}
	c.add(old.Path, now, to)
	return nil
}

// add plans a file, if there is anything to do.
func (c *Changes) add(path string, now, to *State) {
	switch {
	case now == nil && to == nil:
		return
	case now != nil && to != nil && now.equal(*to):
		return
	}
	c.files = append(c.files, change{path, now, to})
}

// addKeys plans the host's key where it is missing.
func (c *Changes) addKeys(w Wanted) {
	if len(w.Keys) == 0 {
		return
	}
	if w.Last != nil {
		c.record.Made = slices.Clone(w.Last.Made)
	}
	for _, path := range w.Keys {
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			c.keys = append(c.keys, path)
			if !slices.Contains(c.record.Made, path) {
				c.record.Made = append(c.record.Made, path)
			}
		}
	}
}

// directories lists those that have to be made.
func (c *Changes) directories(more []string) {
	if c.last != nil {
		c.record.Directories = slices.Clone(c.last.Directories)
	}
	home := filepath.Dir(c.place.Record)
	dirs := []string{home}
	if c.last == nil {
		c.record.Directories = append(abandoned(home), c.madeByOthers()...)
	}
	for _, f := range c.files {
		if f.to != nil {
			dirs = append(dirs, filepath.Dir(f.path))
		}
	}
	for _, k := range c.keys {
		dirs = append(dirs, filepath.Dir(k))
	}
	for _, dir := range append(dirs, more...) {
		for _, d := range Missing(dir) {
			if !slices.Contains(c.record.Directories, d) {
				c.record.Directories = append(c.record.Directories, d)
			}
		}
	}
}

// madeByOthers are directories of other installers that ours are in: who goes last
// takes them away.
func (c *Changes) madeByOthers() []string {
	var out []string
	for _, r := range c.others {
		for _, dir := range r.Directories {
			within := func(path string) bool { return strings.HasPrefix(path, dir+"/") }
			if !slices.Contains(out, dir) && (within(c.place.Record) || slices.ContainsFunc(c.files, func(f change) bool { return within(f.path) }) || slices.ContainsFunc(c.record.Files, func(f Saved) bool { return within(f.Path) })) {
				out = append(out, dir)
			}
		}
	}
	return out
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
		if unshown(f.now) || unshown(f.to) {
			fmt.Fprintf(&out, "%s: %s -> %s\n", f.path, kindOf(f.now), kindOf(f.to))
			continue
		}
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

// unshown reports whether a file is none of lines: a link, or a program.
func unshown(s *State) bool { return s != nil && (s.Link != "" || bytes.ContainsRune(s.Data, 0)) }

// kindOf says in a few words what cannot be shown.
func kindOf(s *State) string {
	switch {
	case s == nil:
		return "nothing"
	case s.Link != "":
		return "a link to " + s.Link
	}
	return fmt.Sprintf("%d bytes, mode %#o, sha256 %.16s...", len(s.Data), s.Mode, s.digest())
}

// Paths are the files that change, in the order in which they do.
func (c *Changes) Paths() []string {
	var out []string
	for _, f := range c.files {
		out = append(out, f.path)
	}
	return out
}
