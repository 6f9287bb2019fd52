package config

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/touchmark/touchmark/containerd"
	"github.com/touchmark/touchmark/core/configfile"
)

const (
	// maxFile bounds one file, in bytes; "containerd config dump" has 20 KiB.
	maxFile = 1 << 20
	// maxFiles bounds the files that import each other; distributions have a handful.
	// A directory that links to itself has ever new paths for the same file.
	maxFiles = 256
	// maxSpread bounds a file in which every table has its full name, in bytes. That is
	// how its sections are decoded, and what tables below tables make of 1 MiB has no end.
	maxSpread = 8 << 20
)

// document is a file of containerd's configuration, as far as it is of use here.
// It is decoded by containerd's own reader of TOML, which takes keys in any
// case and forgives unknown ones.
type document struct {
	Version         int            `toml:"version"`
	Root            string         `toml:"root"`
	State           string         `toml:"state"`
	DisabledPlugins []string       `toml:"disabled_plugins"`
	RequiredPlugins []string       `toml:"required_plugins"`
	Imports         []string       `toml:"imports"`
	Plugins         map[string]any `toml:"plugins"`
	GRPC            struct {
		Address string `toml:"address"`
	} `toml:"grpc"`
}

// file is one file that was read.
type file struct {
	path    string // the node's
	version int    // that it names; 0: none
	document
}

// reader reads a node's files.
type reader struct {
	host    containerd.Host
	changed map[string][]byte // contents in the place of those on the node; nil: no such file
}

// all reads a file, then what it imports, in the order in which containerd merges
// them; nothing if the first one does not exist.
func (r *reader) all(main string) ([]*file, error) {
	var (
		files   []*file
		read    = make(map[string]bool)
		pending = []string{main}
		from    = map[string]string{}
	)
	for len(pending) > 0 {
		path := pending[0]
		pending = pending[1:]
		if read[path] {
			continue
		}
		if len(files) == maxFiles {
			return nil, fmt.Errorf("%s: more than %d files are imported, %s the last", main, maxFiles, path)
		}
		read[path] = true
		f, err := r.file(path)
		if path == main && errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		if by := from[path]; err != nil && by != "" {
			err = fmt.Errorf("%w; containerd does not start: remove it from the imports of %s, or repair it", err, by)
		}
		if err != nil {
			return nil, err
		}
		files = append(files, f)
		for _, pattern := range f.Imports {
			imported, err := r.expand(absolute(path, pattern))
			if err != nil {
				return nil, fmt.Errorf("%s: imports: %q: %w", path, pattern, err)
			}
			for _, p := range imported {
				from[p] = path
			}
			pending = append(pending, imported...)
		}
	}
	return files, nil
}

// absolute is the path, or the pattern, that an entry of imports stands for.
func absolute(parent, pattern string) string {
	if pattern = filepath.Clean(pattern); filepath.IsAbs(pattern) {
		return pattern
	}
	return filepath.Join(filepath.Dir(parent), pattern)
}

// expand returns the files of the node that a pattern matches, sorted. Without
// "*" it is a path, whatever else it has.
func (r *reader) expand(pattern string) ([]string, error) {
	if !strings.Contains(pattern, "*") {
		return []string{pattern}, nil
	}
	found, err := filepath.Glob(r.host.Path(pattern))
	if err != nil {
		return nil, err
	}
	for i := range found {
		found[i] = r.host.Within(found[i])
	}
	if len(r.changed) == 0 {
		return found, nil
	}
	found = slices.DeleteFunc(found, func(path string) bool { _, ok := r.changed[path]; return ok })
	for path, content := range r.changed {
		if ok, _ := filepath.Match(pattern, path); ok && content != nil { // Glob took the pattern
			found = append(found, path)
		}
	}
	slices.SortFunc(found, func(a, b string) int { // as Glob does, directory by directory
		return slices.Compare(strings.Split(a, "/"), strings.Split(b, "/"))
	})
	return found, nil
}

func (r *reader) file(path string) (*file, error) {
	data, ok := r.changed[path]
	if ok && data == nil {
		return nil, fmt.Errorf("%s: %w", path, fs.ErrNotExist)
	}
	if !ok {
		var err error
		if data, err = configfile.Read(r.host.Path(path), maxFile); err != nil {
			return nil, err
		}
	}
	return parse(path, data)
}

// parse reads a file's content.
func parse(path string, data []byte) (*file, error) {
	f := &file{path: path}
	if err := toml.Unmarshal(data, &f.document); err != nil {
		var at *toml.DecodeError
		if errors.As(err, &at) {
			row, column := at.Position()
			return nil, fmt.Errorf("%s:%d:%d: %w", path, row, column, err)
		}
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if f.Version < 0 {
		return nil, fmt.Errorf("%s: version %d is none", path, f.Version)
	}
	if spread(f.Plugins, 0, maxSpread) < 0 {
		return nil, fmt.Errorf("%s: tables are nested too deeply", path)
	}
	f.version = f.Version
	return f, nil
}

// spread takes the length of the full name of every table in a value from what is
// left, and ends as soon as nothing is.
func spread(v any, name, left int) int {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			if left -= name + len(key); left < 0 {
				break
			}
			left = spread(value, name+len(key)+1, left)
		}
	case []any:
		for _, value := range v {
			if left -= name; left < 0 {
				break
			}
			left = spread(value, name, left)
		}
	}
	return left
}
