package node

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseName(t *testing.T) {
	digest := "sha256:" + strings.Repeat("a", 64)
	for text, want := range map[string]Name{
		"registry.example/team/app:1":         {Repository: "registry.example/team/app", Logical: "registry.example/team/app", Full: true},
		"registry.example:5000/app@" + digest: {Repository: "registry.example:5000/app", Logical: "registry.example:5000/app", Digest: digest, Full: true},
		"registry.example/app:1@" + digest:    {Repository: "registry.example/app", Logical: "registry.example/app", Digest: digest, Full: true},
		"REGISTRY.example:443/app":            {Repository: "REGISTRY.example:443/app", Logical: "registry.example/app", Full: true},
		"docker.io/library/busybox:latest":    {Repository: "docker.io/library/busybox", Logical: "docker.io/library/busybox", Full: true},
		"busybox":                             {Repository: "docker.io/library/busybox", Logical: "docker.io/library/busybox"},
		"team/app:1":                          {Repository: "docker.io/team/app", Logical: "docker.io/team/app"},
		"localhost/app:1":                     {Repository: "localhost/app", Logical: "localhost/app", Full: true},
		"127.0.0.1:5000/app":                  {Repository: "127.0.0.1:5000/app", Logical: "127.0.0.1:5000/app", Full: true},
		"import-2026-01-02@" + digest:         {Repository: "docker.io/library/import-2026-01-02", Logical: "docker.io/library/import-2026-01-02", Digest: digest},
	} {
		got, err := ParseName(text)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v %s", text, err, diff)
		}
	}
	if _, err := ParseName(digest); !errors.Is(err, ErrNoName) {
		t.Errorf("an ID: %v", err)
	}
	for _, text := range []string{"", "-name", "r.example/../app:1", "r.example/App", "r.example/a\x00b", "r.example/app@sha256:abc", "r.example/" + strings.Repeat("a", 600), "r.example/app\n:1"} {
		if got, err := ParseName(text); err == nil || errors.Is(err, ErrNoName) {
			t.Errorf("%q is read as %+v", text, got)
		} else if strings.ContainsAny(err.Error(), "\x00\n") {
			t.Errorf("%q: the error has it raw: %v", text, err)
		}
	}
}

func FuzzParseName(f *testing.F) {
	f.Add("registry.example/app:1")
	f.Fuzz(func(t *testing.T, text string) {
		if n, err := ParseName(text); err == nil && (n.Logical == "" || !strings.Contains(n.Repository, "/")) {
			t.Errorf("%q: %+v", text, n)
		}
	})
}
