package tuf

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

const (
	// maxRootSize and maxRoleSize are go-tuf's limits for what is fetched.
	maxRootSize = 512_000
	maxRoleSize = 5_000_000

	// maxRoots bounds the roots that are read from the cache: more than a repository needs in its life.
	maxRoots = 1024
)

// roles are the files that go-tuf keeps from one update to the next, besides roots, and how to tell whether one can be read at all.
var roles = map[string]func([]byte) error{
	metadata.TIMESTAMP + ".json": readable[metadata.TimestampType],
	metadata.SNAPSHOT + ".json":  readable[metadata.SnapshotType],
	metadata.TARGETS + ".json":   readable[metadata.TargetsType],
}

func readable[T metadata.Roles](content []byte) error {
	_, err := new(metadata.Metadata[T]).FromBytes(content)
	return err
}

func rootName(version int64) string { return fmt.Sprintf("%d.root.json", version) }

// cache is a directory of files that somebody may have tampered with. A nil cache is empty and keeps nothing.
type cache struct{ dir *os.Root }

// openCache opens the cache, and makes it if it is going to be written. There is none for the path "".
func openCache(path string, toWrite bool) (*cache, error) {
	if path == "" {
		return nil, nil
	}
	if toWrite {
		if err := os.MkdirAll(path, 0o700); err != nil {
			return nil, err
		}
	}
	dir, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	return &cache{dir}, nil
}

func (c *cache) close() {
	if c != nil {
		_ = c.dir.Close()
	}
}

// read returns a regular file's content, or nil if there is none of at most limit bytes: whatever else lies there is as good as
// nothing, since it is all verified afterwards.
func (c *cache) read(name string, limit int64) []byte {
	if c == nil {
		return nil
	}
	if info, err := c.dir.Lstat(name); err != nil || !info.Mode().IsRegular() || info.Size() > limit {
		return nil
	}
	file, err := c.dir.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	defer func() { _ = file.Close() }()
	content, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil || int64(len(content)) > limit {
		return nil
	}
	return content
}

// write puts a file in the place of whatever has its name. Readers see the old content or the new one.
func (c *cache) write(name string, content []byte) error {
	if c == nil || bytes.Equal(c.read(name, int64(len(content))), content) && len(content) > 0 {
		return nil
	}
	temporary := ".new-" + name
	if err := c.dir.RemoveAll(temporary); err != nil { // what a crash left, or somebody laid there
		return err
	}
	file, err := c.dir.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err == nil {
		err = file.Sync()
	}
	err = errors.Join(err, file.Close())
	if err == nil {
		err = c.dir.Rename(temporary, name)
	}
	if err != nil {
		return errors.Join(err, c.dir.RemoveAll(temporary))
	}
	return nil
}

// copyTo gives go-tuf what the cache has. A file that is no metadata at all is left out, since go-tuf would stop there for ever; with
// one that does not verify it deals itself. Where all of them are needed, the error names the one that is not there: go-tuf's would
// name a file in scratch.
func (c *cache) copyTo(scratch string, all bool) error {
	for _, name := range slices.Sorted(maps.Keys(roles)) {
		content := c.read(name, maxRoleSize)
		if content == nil || roles[name](content) != nil {
			if all {
				return fmt.Errorf("%s is not there, or is no metadata", name)
			}
			continue
		}
		if err := os.WriteFile(filepath.Join(scratch, name), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// keep takes what go-tuf verified: the roots up to the one that it trusts, and the files that it keeps.
func (c *cache) keep(scratch string, roots map[string][]byte, newest int64) error {
	for version := newest; version > 1; version-- {
		root, fetched := roots[rootName(version)]
		if !fetched {
			break // this one and those before it were in the cache
		}
		if err := c.write(rootName(version), root); err != nil {
			return err
		}
	}
	for name := range roles {
		content, err := os.ReadFile(filepath.Join(scratch, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := c.write(name, content); err != nil {
			return err
		}
	}
	return nil
}
