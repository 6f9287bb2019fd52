package doctor_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	containerddoctor "github.com/touchmark/touchmark/containerd/doctor"
	"github.com/touchmark/touchmark/core/coretest"
)

// A verifier of another version than this program is named, and one of the same is not.
func TestVerifierVersion(t *testing.T) {
	coretest.RequireTool(t, "git")
	const installed = "/usr/local/bin/touchmark-containerd"
	h := host(t, map[string]string{"/etc/containerd/config.toml": "version = 3\n", installed: ""})
	buildTagged(t, "v1.2.3", h.Path(installed))
	link := h.Path("/opt/containerd/image-verifier/bin/touchmark-containerd")
	if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(installed, link); err != nil {
		t.Fatal(err)
	}
	for version, other := range map[string]bool{"v1.2.3": false, "v1.2.4": true, "": false} {
		r := examine(t, containerddoctor.Config{Host: h, Version: version})
		if r.Has("verifier-version") != other || r.Has("verifier-missing") {
			t.Errorf("version %q:\n%s", version, text(r))
		}
	}
}

// buildTagged builds a program that Go's linker calls a verifier of this version: from
// a repository that has the version as its tag.
func buildTagged(t *testing.T, version, program string) {
	t.Helper()
	dir := t.TempDir()
	for file, text := range map[string]string{"go.mod": "module acme.example\n\ngo 1.26\n", "cmd/touchmark-containerd/main.go": "package main\n\nfunc main() {}\n"} {
		file = filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"git", "init", "--quiet"}, {"git", "add", "."},
		{"git", "-c", "user.name=t", "-c", "user.email=t@acme.example", "commit", "--quiet", "--message=all"}, {"git", "tag", version},
		{"go", "build", "-buildvcs=true", "-o", program, "./cmd/touchmark-containerd"},
	} {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
}
