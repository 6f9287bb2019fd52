// Package dirlock has one process at a time use a directory:
//
//	lock, err := dirlock.Take(dir)
//	defer lock.Release()
//
// The lock is flock(2) on the file [File] in the directory. The kernel gives it back however the process ends, so there is no stale one.
// It keeps out those who ask for it, in this process too, and nobody else.
package dirlock

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// File is the name of the file that is locked. It stays, empty.
const File = "lock"

// ErrInUse is wrapped by the error about a directory that is locked already.
var ErrInUse = errors.New("is in use by another process")

// Lock is a directory that is ours.
type Lock struct{ file *os.File }

// Take takes a directory that exists, and does not wait for it. Its error names the directory.
func Take(dir string) (*Lock, error) {
	// Who can write the directory must not have us wait for a pipe, or make a file elsewhere.
	file, err := os.OpenFile(filepath.Join(dir, File), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking %s: %w", dir, err)
	}
	if err := take(file, dir); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &Lock{file}, nil
}

func take(file *os.File, dir string) error {
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return fmt.Errorf("locking %s: %s is not a regular file", dir, file.Name())
	}
	switch err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
	case errors.Is(err, syscall.EWOULDBLOCK):
		return fmt.Errorf("%s %w: one directory is for one process", dir, ErrInUse)
	case err != nil:
		return fmt.Errorf("locking %s: %w", dir, err)
	}
	return nil
}

// Release gives the directory back.
func (l *Lock) Release() error { return l.file.Close() }
