package hostfiles

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// others are the records of other installers beside ours. What both want, such as a
// policy, is in both records, and the last to go takes it away.
func (p Place) others() ([]*Record, error) {
	entries, err := os.ReadDir(filepath.Dir(p.Record))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []*Record
	for _, e := range entries {
		path := filepath.Join(filepath.Dir(p.Record), e.Name())
		if path == p.Record || filepath.Ext(path) != ".json" {
			continue
		}
		other := p
		other.Record = path
		r, err := other.Installed()
		if err != nil {
			return nil, err
		}
		if r != nil {
			out = append(out, r)
		}
	}
	return out, nil
}

// owner is what another installer's record says of a file as it is now; nil if
// none wrote that.
func (c *Changes) owner(path string, now *State) *Saved {
	for _, r := range c.others {
		if s := r.file(path); s != nil && now != nil && s.Fields == nil && slices.Contains(s.Written, now.digest()) {
			return s
		}
	}
	return nil
}

// wanted reports whether another installer's record has a file as its own.
func (c *Changes) wanted(path string) bool {
	return slices.ContainsFunc(c.others, func(r *Record) bool { s := r.file(path); return s != nil && s.Fields == nil })
}
