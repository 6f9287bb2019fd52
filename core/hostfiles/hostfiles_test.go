package hostfiles_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/touchmark/touchmark/core/hostfiles"
	"github.com/touchmark/touchmark/core/hostfiles/hostfilestest"
)

func place(root string) hostfiles.Place {
	return hostfiles.Place{Record: filepath.Join(root, "touchmark/install/x.json"), Client: "x", Denied: "run this as root", UID: os.Getuid(), GID: os.Getgid()}
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// wanted are two files that replace others, and one in a directory that is made.
func wanted(t *testing.T, root, text string) hostfiles.Wanted {
	t.Helper()
	last, err := place(root).Installed()
	if err != nil {
		t.Fatal(err)
	}
	w := hostfiles.Wanted{Place: place(root), Settings: map[string]string{"text": text}, Last: last}
	for _, name := range []string{"a", "b", "made/by/us"} {
		w.Files = append(w.Files, hostfiles.File{Path: filepath.Join(root, name), Data: []byte(text), Mode: 0o644})
	}
	return w
}

func apply(t *testing.T, c *hostfiles.Changes, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func site(t *testing.T) string {
	root := t.TempDir()
	put(t, filepath.Join(root, "a"), "was\n")
	put(t, filepath.Join(root, "b"), "was\n")
	return root
}

// A directory that was made stays untouched by installing again: containerd's doctor
// tells by the time of its last change that a drop-in was taken out of it.
func TestDirectoryStaysUntouched(t *testing.T) {
	t.Parallel()
	root := site(t)
	c, err := wanted(t, root, "one\n").Plan()
	apply(t, c, err)
	changed := func() syscall.Timespec {
		info, err := os.Stat(filepath.Join(root, "made"))
		if err != nil {
			t.Fatal(err)
		}
		return info.Sys().(*syscall.Stat_t).Ctim
	}
	before := changed()
	again := wanted(t, root, "one\n")
	again.Files[0].Data = []byte("two\n")
	c, err = again.Plan()
	apply(t, c, err)
	if after := changed(); after != before {
		t.Errorf("the directory was changed at %v, and again at %v", before, after)
	}
	if err := os.Chmod(filepath.Join(root, "made"), 0o700); err != nil {
		t.Fatal(err)
	}
	c, err = wanted(t, root, "three\n").Plan()
	apply(t, c, err)
	if info, err := os.Stat(filepath.Join(root, "made")); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("a mode that differs is not put right: %v, %v", info, err)
	}
}

// TestKilledAnywhere cuts every step off, and undoes or finishes it.
func TestKilledAnywhere(t *testing.T) {
	t.Parallel()
	done := false
	for n := 0; !done; n++ {
		done = true
		for _, undo := range []bool{false, true} {
			root := site(t)
			before := hostfilestest.Tree(t, root)
			first, err := wanted(t, root, "one\n").Plan()
			if err != nil {
				t.Fatal(err)
			}
			if first.Apply(hostfilestest.CutOff(t.Context(), n)) != nil {
				done = false
			}
			c, err := wanted(t, root, "two\n").Plan()
			if err != nil {
				t.Fatal(err)
			}
			if c.Apply(hostfilestest.CutOff(t.Context(), n)) != nil {
				done = false
			}
			if !undo {
				c, err := wanted(t, root, "two\n").Plan()
				apply(t, c, err)
				for _, name := range []string{"a", "b", "made/by/us"} {
					if data, err := os.ReadFile(filepath.Join(root, name)); err != nil || string(data) != "two\n" {
						t.Errorf("cut off after %d, finished: %s: %q, %v", n, name, data, err)
					}
				}
			}
			switch c, err := place(root).Removal(hostfiles.Edited{}); {
			case errors.Is(err, fs.ErrNotExist): // it was cut off before there was a record
			default:
				apply(t, c, err)
			}
			after := hostfilestest.Tree(t, root)
			delete(after, "/touchmark/install") // made for a record that was never written
			delete(after, "/touchmark")
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("cut off after %d, taken back (-before +after)\n%s", n, diff)
			}
		}
	}
}

// Hosts have records that earlier releases wrote.
func TestAnEarlierRecordIsUndone(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	a, made := filepath.Join(root, "a"), filepath.Join(root, "made/f")
	put(t, a, "now\n")
	put(t, made, "now\n")
	put(t, filepath.Join(root, "key"), "another since it was rotated")
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte("now\n")))
	put(t, place(root).Record, fmt.Sprintf(`{
  "version": 1,
  "settings": {"scopes": ["registry.example"], "form": "openpgp", "mode": "enforce", "listen": "127.0.0.1:7467"},
  "files": [
    {"path": %[1]q, "existed": true, "data": "d2FzCg==", "mode": 384, "uid": %[4]d, "gid": %[5]d, "written": ["%[3]s"]},
    {"path": %[2]q, "existed": false, "data": null, "mode": 0, "uid": 0, "gid": 0, "written": ["%[3]s"], "input": true}
  ],
  "made": [%[6]q],
  "directories": [%[7]q, %[8]q, %[9]q]
}`, a, made, sum, os.Getuid(), os.Getgid(), filepath.Join(root, "key"), filepath.Join(root, "touchmark"), filepath.Join(root, "touchmark/install"), filepath.Join(root, "made")))
	r, err := place(root).Installed()
	if err != nil {
		t.Fatal(err)
	}
	var settings struct{ Form string }
	if err := r.Decode(&settings); err != nil || settings.Form != "openpgp" {
		t.Errorf("settings %+v, %v", settings, err)
	}
	c, err := place(root).Removal(hostfiles.Edited{})
	apply(t, c, err)
	if diff := cmp.Diff(map[string]string{"/a": "-rw-------\nwas\n"}, hostfilestest.Tree(t, root)); diff != "" {
		t.Error(diff)
	}
}

func TestWhatIsRefused(t *testing.T) {
	t.Parallel()
	root := site(t)
	c, err := wanted(t, root, "one\n").Plan()
	apply(t, c, err)
	put(t, filepath.Join(root, "b"), "edited\n")
	var edited *hostfiles.EditedError
	if _, err := place(root).Removal(hostfiles.Edited{}); !errors.As(err, &edited) || edited.Path != filepath.Join(root, "b") || !strings.Contains(err.Error(), `"touchmark uninstall x --leave `+edited.Path+`"`) {
		t.Errorf("error %v", err)
	}
	// What is to become of it can be said.
	for what, c := range map[string]struct {
		edited hostfiles.Edited
		want   string
	}{
		"left":     {hostfiles.Edited{Leave: []string{edited.Path}}, "edited\n"},
		"restored": {hostfiles.Edited{Restore: []string{edited.Path}}, "was\n"},
	} {
		root := site(t)
		first, err := wanted(t, root, "one\n").Plan()
		apply(t, first, err)
		path := filepath.Join(root, "b")
		put(t, path, "edited\n")
		for _, list := range [][]string{c.edited.Leave, c.edited.Restore} {
			for i := range list {
				list[i] = path
			}
		}
		gone, err := place(root).Removal(c.edited)
		apply(t, gone, err)
		if text, err := os.ReadFile(path); err != nil || string(text) != c.want {
			t.Errorf("%s: %q, %v; want %q", what, text, err, c.want)
		}
	}
	put(t, place(root).Record, `{"version": 2}`)
	if _, err := place(root).Installed(); err == nil || !strings.Contains(err.Error(), "version 2 is of another release") {
		t.Errorf("error %v", err)
	}
	root = site(t)
	if err := errors.Join(os.Remove(filepath.Join(root, "b")), os.Symlink("a", filepath.Join(root, "b"))); err != nil {
		t.Fatal(err)
	}
	if _, err := wanted(t, root, "one\n").Plan(); err == nil || !strings.Contains(err.Error(), "b: is a symbolic link") {
		t.Errorf("error %v", err)
	}
	if _, err := place(root).Removal(hostfiles.Edited{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}
