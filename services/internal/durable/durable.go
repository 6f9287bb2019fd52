// Package durable writes files that are whole after a crash.
package durable

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// temporary is how the names of files begin that are not finished. What is left of them after a crash may be removed.
const temporary = ".new-"

// WriteFile puts content in the place of path: written beside it, flushed, renamed, and the rename flushed. Readers see the old file
// or the new one, and when WriteFile has returned nil the new one survives a crash.
func WriteFile(path string, content []byte, mode fs.FileMode) error {
	dir := filepath.Dir(path)
	file, err := os.CreateTemp(dir, temporary+"*")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	defer func() { _ = os.Remove(file.Name()) }() // nothing is there after the rename
	_, err = file.Write(content)
	if err == nil {
		err = file.Chmod(mode)
	}
	if err == nil {
		err = file.Sync()
	}
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err == nil {
		err = SyncDir(dir)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

// SyncDir flushes the names in a directory, so that a file that was made or renamed there survives a crash.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if closeErr := d.Close(); err == nil {
		err = closeErr
	}
	return err
}

// RemoveTemporary removes what a crash left of [WriteFile] in a directory that nobody else writes to.
func RemoveTemporary(dir string) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		if IsTemporary(f.Name()) {
			if err := os.Remove(filepath.Join(dir, f.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// IsTemporary reports whether a file of this name is what a crash left of [WriteFile].
func IsTemporary(name string) bool { return strings.HasPrefix(filepath.Base(name), temporary) }
