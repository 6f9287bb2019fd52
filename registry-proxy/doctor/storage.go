package doctor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// spare is how much room a disk with a cache should have, in bytes: a layer is written
// beside what is kept, and the cache makes room only afterwards.
const spare = 1 << 30

// checkStorage looks at the cache and at the decision log.
func checkStorage(_ context.Context, s *snapshot) {
	if s.conf == nil {
		return
	}
	if dir := s.conf.Cache.Dir; dir != "" {
		s.checkCache(dir)
	}
	if file := s.conf.Decisions; file != "" {
		s.checkDecisions(file)
	}
}

func (s *snapshot) checkCache(dir string) {
	if !s.Exists(dir) {
		s.Find("cache-missing", dir, "there is no such directory")
		return
	}
	if err := writable(dir, true); err != nil {
		s.Find("cache-unwritable", dir, "%v", err)
		return
	}
	if _, why := s.Weakness(dir); why != "" {
		s.Find("cache-writable", dir, "%s", s.Intruder(dir))
	}
	free := s.Free
	if free == nil {
		free = diskFree
	}
	switch left, err := free(dir); {
	case err != nil:
		s.Unreadable(dir, err)
	case left < spare:
		s.Find("cache-full", dir, "its disk has %d MiB left", left>>20)
	}
}

// diskFree is how much of a directory's disk is free to others than root, in bytes.
func diskFree(dir string) (uint64, error) {
	var disk unix.Statfs_t
	if err := unix.Statfs(dir, &disk); err != nil {
		return 0, fmt.Errorf("asking about the disk: %w", err)
	}
	return disk.Bavail * uint64(disk.Bsize), nil
}

func (s *snapshot) checkDecisions(file string) {
	path := file
	if !s.Exists(file) {
		path = filepath.Dir(file)
	}
	if !s.Exists(path) {
		s.Find("decisions-unwritable", file, "there is no directory for it")
		return
	}
	if err := writable(path, path != file); err != nil {
		s.Find("decisions-unwritable", file, "%v", err)
	}
	s.checkSecret("decisions-readable", file)
}

// writable says why a file or directory cannot be written by this process.
func writable(path string, directory bool) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case directory && !info.IsDir():
		return &os.PathError{Op: "writing", Path: path, Err: unix.ENOTDIR}
	case !directory && !info.Mode().IsRegular():
		return &os.PathError{Op: "writing", Path: path, Err: unix.EINVAL}
	}
	if err := unix.Access(path, unix.W_OK); err != nil {
		return &os.PathError{Op: "writing", Path: path, Err: err}
	}
	return nil
}
