package hostfiles_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/touchmark/touchmark/core/hostfiles"
)

func TestWithin(t *testing.T) {
	root, outside := t.TempDir(), t.TempDir()
	put(t, filepath.Join(root, "var/file"), "")
	for link, to := range map[string]string{"in": "var", "out": outside, "up": "../..", "nowhere": "/nowhere/at/all", "beside": root + "-beside"} {
		if err := os.Symlink(to, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]bool{
		"var/file": true, "in/file": true, "not/yet/there": true, "in/not/yet": true, "out": true, // the link itself
		"out/file": false, "out/not/yet": false, "up/file": false, "nowhere/file": false, "beside/file": false,
	} {
		for _, r := range []string{root, root + "/"} {
			if err := hostfiles.Within(r, filepath.Join(root, path)); (err == nil) != want {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
	if err := hostfiles.Within("", "/nowhere/file"); err != nil {
		t.Error(err)
	}
}
