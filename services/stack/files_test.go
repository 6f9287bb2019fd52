package stack

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A relative directory, with or without a slash at its end, is the same directory.
func TestRelativeDirectory(t *testing.T) {
	t.Chdir(t.TempDir())
	config := testConfig(t)
	config.Dir = "data/"
	first := start(t, config)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	config.Dir = "./data"
	if second := start(t, config); !bytes.Equal(first.TrustedRoot(), second.TrustedRoot()) {
		t.Error("another stack was made")
	}
}

func TestOPS02_CA19_KeyFiles(t *testing.T) {
	config := testConfig(t)
	if err := start(t, config).Close(); err != nil {
		t.Fatal(err)
	}
	refuses := func(name, path string) {
		t.Helper()
		if s, err := New(t.Context(), config); err == nil {
			t.Errorf("%s: the stack started", name)
			_ = s.Close()
		} else if !strings.Contains(err.Error(), path) {
			t.Errorf("%s: the error does not name %s: %v", name, path, err)
		}
	}
	names := must(filepath.Glob(filepath.Join(config.Dir, "keys", "*.pem")))
	if len(names) != 11 {
		t.Fatalf("keys %v", names)
	}
	aside := config.Dir + ".aside"
	for _, path := range names {
		if mode := must(os.Stat(path)).Mode(); mode.Perm() != 0o600 {
			t.Errorf("%s has mode %v", path, mode)
		}
		for _, mode := range []os.FileMode{0o644, 0o640, 0o604, 0o620} {
			must(0, os.Chmod(path, mode))
			refuses(mode.String(), path)
		}
		must(0, os.Chmod(path, 0o600))

		must(0, os.Rename(path, aside))
		must(0, os.Symlink(aside, path))
		refuses("symbolic link", path)
		must(0, os.Remove(path))
		must(0, os.Mkdir(path, 0o700))
		refuses("directory", path)
		must(0, os.Remove(path))
		must(0, os.Rename(aside, path))
	}
	swap := func(a, b string) {
		a, b = filepath.Join(config.Dir, "keys", a), filepath.Join(config.Dir, "keys", b)
		must(0, os.Rename(a, aside))
		must(0, os.Rename(b, a))
		must(0, os.Rename(aside, b))
	}
	for _, pair := range [][2]string{{"ca-intermediate.pem", "tsa.pem"}, {"ca-root.pem", "tsa-root.pem"}, {"log-v1.pem", "ctlog.pem"}, {"log-v2.pem", "issuer.pem"}, {"tsa.pem", "log-v1.pem"}, {"tuf-online.pem", "tuf-targets.pem"}} {
		swap(pair[0], pair[1])
		refuses("swapped "+pair[0]+" and "+pair[1], "")
		swap(pair[0], pair[1])
	}
	start(t, config)
}

func TestOPS01_Directories(t *testing.T) {
	base := t.TempDir()
	open := filepath.Join(base, "open")
	must(0, os.Mkdir(open, 0o700))
	must(0, os.Chmod(open, 0o777))
	real := filepath.Join(base, "real")
	must(0, os.Mkdir(real, 0o700))
	link := filepath.Join(base, "link")
	must(0, os.Symlink(real, link))
	file := filepath.Join(base, "file")
	must(0, os.WriteFile(file, nil, 0o600))
	writable := filepath.Join(base, "writable")
	must(0, os.Mkdir(writable, 0o700))
	must(0, os.Chmod(writable, 0o777))
	pipe := filepath.Join(base, "pipe")
	must(0, mkfifo(pipe))
	for _, dir := range []string{link, file, writable, pipe, filepath.Join(open, "data"), "/proc/self/fd", filepath.Join(file, "data")} {
		config := testConfig(t)
		config.Dir = dir
		if s, err := New(t.Context(), config); err == nil {
			t.Errorf("%s: the stack started", dir)
			_ = s.Close()
		} else if !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: the error does not name it: %v", dir, err)
		}
	}

	// Within a directory that is in use.
	config := testConfig(t)
	if err := start(t, config).Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"keys", "certs", "state.json", "lock"} {
		path, aside := filepath.Join(config.Dir, name), config.Dir+".aside"
		must(0, os.Rename(path, aside))
		for kind, make := range map[string]func() error{
			"symbolic link": func() error { return os.Symlink(aside, path) }, "pipe": func() error { return mkfifo(path) },
		} {
			must(0, make())
			if s, err := New(t.Context(), config); err == nil {
				t.Errorf("%s is a %s: the stack started", name, kind)
				_ = s.Close()
			} else if !strings.Contains(err.Error(), path) {
				t.Errorf("%s is a %s: the error does not name it: %v", name, kind, err)
			}
			must(0, os.Remove(path))
		}
		must(0, os.Rename(aside, path))
	}
	must(0, os.Chmod(filepath.Join(config.Dir, "keys"), 0o777))
	if _, err := New(t.Context(), config); err == nil || !strings.Contains(err.Error(), filepath.Join(config.Dir, "keys")) {
		t.Errorf("keys/ is writable for all: %v", err)
	}
	must(0, os.Chmod(filepath.Join(config.Dir, "keys"), 0o700))
	start(t, config)
}
