package doctor

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/touchmark/touchmark/core/configfile"
)

const (
	// maxFile bounds every file, in bytes. Units, scripts and
	// configurations have a few KiB; a storage's list of ten thousand images
	// has some MiB.
	maxFile = 16 << 20
	// maxEntries bounds the entries of one directory that are looked at: no
	// directory of configuration has that many.
	maxEntries = 4096
)

// Read returns a file of the host; false if there is none. One that cannot be
// Read is a finding.
func (e *Examination) Read(path string) ([]byte, bool) {
	resolved, _, err := e.Resolve(path)
	if err == nil && resolved == e.At("/dev/null") { // systemd's way to mask a unit
		return nil, false
	}
	if err == nil {
		data, e := configfile.Read(resolved, maxFile)
		if e == nil {
			return data, true
		}
		err = e
	}
	if !Missing(err) {
		e.Unreadable(path, err)
	}
	return nil, false
}

// List returns the entries of a directory of the host with one of the
// extensions, or all without one, in order. A directory that is not there has
// none; one that cannot be read is a finding.
func (e *Examination) List(dir string, extensions ...string) []string {
	resolved, _, err := e.Resolve(dir)
	if err != nil {
		if !Missing(err) {
			e.Unreadable(dir, err)
		}
		return nil
	}
	// Opening anything else, such as a FIFO, must not wait.
	f, err := os.OpenFile(resolved, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NONBLOCK, 0)
	if err != nil {
		if !Missing(err) {
			e.Unreadable(dir, err)
		}
		return nil
	}
	defer func() { _ = f.Close() }() // it was only read
	names, err := f.Readdirnames(maxEntries)
	if err != nil && len(names) == 0 {
		return nil // empty, or no directory
	}
	if len(names) == maxEntries {
		e.Unreadable(dir, fmt.Errorf("more than %d entries", maxEntries))
	}
	var out []string
	for _, name := range names {
		if len(extensions) == 0 || HasExtension(name, extensions) {
			out = append(out, filepath.Join(dir, name))
		}
	}
	slices.Sort(out)
	return out
}

// HasExtension reports whether a file's name ends in one of some extensions, each with its dot.
func HasExtension(name string, extensions []string) bool {
	for _, e := range extensions {
		if strings.HasSuffix(name, e) {
			return true
		}
	}
	return false
}

// Exists reports whether there is something at a path.
func (e *Examination) Exists(path string) bool {
	_, _, err := e.Resolve(path)
	return err == nil
}

// Unreadable finds that a file could not be read, and why: what may be in it is not known.
func (e *Examination) Unreadable(path string, err error) {
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	e.Find("unreadable", path, "%s", e.Name(err.Error()))
}

// Missing says that there is no file, or that what should be a directory above
// it is none.
func Missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || strings.HasSuffix(err.Error(), "not a directory")
}

// OwnerOf is the user that a file of the host belongs to; 0 if that is not
// known.
func (e *Examination) OwnerOf(path string) int {
	if path == "" {
		return 0
	}
	resolved, _, err := e.Resolve(e.At(path))
	if err != nil {
		return 0
	}
	info, err := os.Stat(resolved)
	if err != nil {
		return 0
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(stat.Uid)
	}
	return 0
}

// ListDir is list for what may be no directory.
func (e *Examination) ListDir(path string) []string {
	resolved, _, err := e.Resolve(path)
	if err != nil {
		return nil
	}
	info, err := os.Stat(resolved)
	if err != nil || !info.IsDir() {
		return nil
	}
	return e.List(path)
}

// Head is the start of a file; nil if there is no such file.
func (e *Examination) Head(path string) []byte {
	resolved, _, err := e.Resolve(path)
	if err != nil {
		return nil
	}
	info, err := os.Stat(resolved)
	if err != nil || !info.Mode().IsRegular() {
		return nil
	}
	f, err := os.Open(resolved)
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }() // it was only read
	start := make([]byte, 64)
	n, _ := io.ReadFull(f, start) // a shorter file is fine
	return start[:n]
}
