package configfile_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/touchmark/touchmark/core/configfile"
)

func TestOPS01_OnlyRegularFiles(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(at("file"), []byte("0123456789"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("file", at("link")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(at("fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path  string
		limit int64
		want  string // in the error; empty: it is read
	}{
		{at("file"), 10, ""}, {at("link"), 10, ""}, {at("file"), 9, "larger than 9 bytes"},
		{at("fifo"), 10, "not a regular file"}, {dir, 10, "not a regular file"}, {"/dev/zero", 10, "not a regular file"}, {at("none"), 10, "no such file"},
	} {
		data, err := configfile.Read(c.path, c.limit)
		switch {
		case c.want == "" && (err != nil || string(data) != "0123456789"):
			t.Errorf("%s: %q, %v", c.path, data, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.path)):
			t.Errorf("%s: error %v, want %q and the path", c.path, err, c.want)
		}
	}
}
