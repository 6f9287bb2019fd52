package podman_test

import (
	"testing"

	"github.com/touchmark/touchmark/podman"
)

// A root is taken off the paths below it, and not off those that only begin like it.
func TestWithin(t *testing.T) {
	for _, c := range []struct{ root, path, want string }{
		{"", "/etc/x", "/etc/x"}, {"/", "/etc/x", "/etc/x"}, {"/mnt/a", "/mnt/a/etc/x", "/etc/x"}, {"/mnt/a/", "/mnt/a/etc/x", "/etc/x"}, {"/mnt/a", "/mnt/a", "/"},
		{"/mnt/a", "/mnt/ab/etc/x", "/mnt/ab/etc/x"}, {"/mnt/a", "/etc/x", "/etc/x"},
	} {
		if got := (podman.Host{Root: c.root}).Within(c.path); got != c.want {
			t.Errorf("%s below %q: %s, want %s", c.path, c.root, got, c.want)
		}
	}
}
