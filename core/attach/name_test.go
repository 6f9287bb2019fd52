package attach_test

import (
	"testing"

	"github.com/touchmark/touchmark/core/attach"
)

// TestLogicalNames: other spellings of a name must not lead past the policies that are about it, and a logical name is its own.
func TestLogicalNames(t *testing.T) {
	for spelled, want := range map[string]string{
		"busybox":                                   "docker.io/library/busybox",
		"acme/app":                                  "docker.io/acme/app",
		"docker.io/busybox":                         "docker.io/library/busybox",
		"Docker.IO/busybox":                         "docker.io/library/busybox",
		"index.docker.io/library/busybox":           "docker.io/library/busybox",
		"registry-1.docker.io/busybox":              "docker.io/library/busybox",
		"registry-1.docker.io./acme/app":            "docker.io/acme/app",
		"registry.example/app":                      "registry.example/app",
		"Registry.EXAMPLE/acme/app":                 "registry.example/acme/app",
		"registry.example./acme/app":                "registry.example/acme/app",
		"REGISTRY.example.:5000/acme/app":           "registry.example:5000/acme/app",
		"registry.example:443/acme/app":             "registry.example/acme/app",
		"registry.example.:0443/acme/app":           "registry.example/acme/app",
		"registry.example:/acme/app":                "registry.example/acme/app",
		"registry.example:05000/acme/app":           "registry.example:5000/acme/app",
		"registry.example:4430/acme/app":            "registry.example:4430/acme/app",
		"docker.io:443/busybox":                     "docker.io/library/busybox",
		"index.docker.io:443/acme/app":              "docker.io/acme/app",
		"[::1]:443/app":                             "[::1]/app",
		"localhost:5000/app":                        "localhost:5000/app",
		"[::1]:5000/app":                            "[::1]:5000/app",
		"registry-1.docker.io.evil.example/busybox": "registry-1.docker.io.evil.example/busybox",
	} {
		got, err := attach.NormalizeRepository(spelled)
		if err != nil || got != want {
			t.Errorf("%s is %q (%v), want %s", spelled, got, err, want)
		}
		if again, err := attach.NormalizeRepository(want); err != nil || again != want {
			t.Errorf("%s is %q (%v), not itself", want, again, err)
		}
	}
	for _, s := range []string{"", "registry.example/App", "registry.example/../app", "registry.example/a//b", "registry.example/app:1"} {
		if got, err := attach.NormalizeRepository(s); err == nil {
			t.Errorf("%q is taken for %q", s, got)
		}
	}
}
