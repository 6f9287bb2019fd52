package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// checkMounts looks whether containerd sees the verifier where this process does: a
// unit may have mounts of its own (InaccessiblePaths=, TemporaryFileSystem=,
// RootDirectory=), in which bin_dir is empty or missing, and everything admitted.
func checkMounts(_ context.Context, s *snapshot) {
	at := slices.IndexFunc(s.verifiers, func(p program) bool { return p.ours })
	if at < 0 || s.process.root == "" || s.config == nil || !s.hook() || s.builtIn() {
		return
	}
	// The directory is what counts: what is in it and cannot be run blocks pulls.
	dir, entry := filepath.Split(s.Name(s.verifiers[at].path))
	names, err := namesIn(s.process.root, dir)
	switch {
	case errors.Is(err, unix.ENOENT):
		s.Find("verifier-missing", dir, "containerd has mounts of its own, in which this directory does not exist")
	case err == nil && !slices.Contains(names, entry):
		s.Find("verifier-missing", dir, "containerd has mounts of its own, in which this directory holds [%s]", strings.Join(names, ", "))
	}
}

// namesIn are the files of a directory of another process, whose / is root: links
// lead where they lead there.
func namesIn(root, dir string) ([]string, error) {
	top, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(top) }() // it was only looked at
	fd, err := unix.Openat2(top, strings.TrimPrefix(filepath.Clean(dir), "/"), &unix.OpenHow{
		Flags: unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	f := os.NewFile(uintptr(fd), dir)
	defer func() { _ = f.Close() }() // it was only read
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}
