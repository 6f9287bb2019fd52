package install_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/podman/install"
)

// Clients write signatures as os.WriteFile does: through symbolic links, with
// whatever somebody pushed as contents. Where others than root could put one,
// they could have root write any file of the host.
func TestOPS01_NobodyButRootWritesWhereRootStagesSignatures(t *testing.T) {
	h := host(t, "debian", "debian")
	apply(t, options(h, "registry.example/acme"))
	if !strings.Contains(read(t, install.LookasideFile(h)), "lookaside-staging: file://"+h.Within(install.Staging(h))) {
		t.Fatal("signatures are staged elsewhere")
	}
	for path := install.Staging(h); path != h.Root; path = filepath.Dir(path) {
		info, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode()&(fs.ModeSymlink|0o022) != 0 {
			t.Errorf("%s: %s", h.Within(path), info.Mode())
		}
	}
	// One that was made for everybody is closed.
	if err := os.Chmod(install.Staging(h), 0o777|fs.ModeSticky); err != nil {
		t.Fatal(err)
	}
	apply(t, options(h, "registry.example/acme", "registry.example/tools"))
	if info, err := os.Lstat(install.Staging(h)); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}
