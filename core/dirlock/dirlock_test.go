package dirlock_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/touchmark/touchmark/core/dirlock"
)

func TestTake(t *testing.T) {
	dir := t.TempDir()
	lock, err := dirlock.Take(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dirlock.Take(dir); !errors.Is(err, dirlock.ErrInUse) || !strings.Contains(err.Error(), dir) {
		t.Errorf("a second time: %v", err)
	}
	if err := lock.Release(); err != nil {
		t.Error(err)
	}
	if lock, err = dirlock.Take(dir); err != nil {
		t.Fatal(err)
	}
	if err := lock.Release(); err != nil {
		t.Error(err)
	}
}

// What somebody laid there is neither followed nor waited for.
func TestTakeWhatIsNoLock(t *testing.T) {
	for name, lay := range map[string]func(dir string) error{
		"no directory": os.Remove,
		"link": func(dir string) error {
			return os.Symlink(filepath.Join(dir, "elsewhere"), filepath.Join(dir, dirlock.File))
		},
		"pipe":      func(dir string) error { return syscall.Mkfifo(filepath.Join(dir, dirlock.File), 0o600) },
		"directory": func(dir string) error { return os.Mkdir(filepath.Join(dir, dirlock.File), 0o700) },
	} {
		dir := t.TempDir()
		if err := lay(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := dirlock.Take(dir); err == nil || errors.Is(err, dirlock.ErrInUse) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Lstat(filepath.Join(dir, "elsewhere")); err == nil {
			t.Errorf("%s: a file was made elsewhere", name)
		}
	}
}
