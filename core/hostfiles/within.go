package hostfiles

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Within is an error if a symbolic link in a path's directories leads out of a root,
// such as /opt -> /var/opt in the mounted image of a host: who booted that image
// would find another directory than this process does. A root of "" is all there is.
func Within(root, path string) error {
	if root == "" || root == "/" {
		return nil
	}
	resolved, err := filepath.EvalSymlinks(root)
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	for {
		if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		dir = filepath.Dir(dir)
	}
	leads, err := filepath.EvalSymlinks(dir)
	if err == nil && (leads == resolved || strings.HasPrefix(leads, strings.TrimSuffix(resolved, "/")+"/")) {
		return nil
	}
	return fmt.Errorf("%s: a symbolic link on the way leads out of %s; make it relative, or run this in a chroot", path, root)
}
