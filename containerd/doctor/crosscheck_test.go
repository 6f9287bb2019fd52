package doctor_test

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"

	containerddoctor "github.com/touchmark/touchmark/containerd/doctor"
	"github.com/touchmark/touchmark/core/doctor"
)

// served is a daemon whose process is known.
type served struct {
	daemon
	pid int
}

func (s served) Server(context.Context) (int, error) { return s.pid, nil }

// TestCTRD09_ReadOtherwise: where containerd's own program reads another configuration
// than we do, nobody can tell what holds; where it reads the same, nothing is said.
func TestCTRD09_ReadOtherwise(t *testing.T) {
	const program = "/usr/local/bin/containerd"
	h := host(t, map[string]string{"/etc/containerd/config.toml": "version = 3\n", program: ""})
	if err := os.Symlink("/proc", h.Path("/proc")); err != nil { // what runs is seen below the host's root, too
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", h.Path(program), "./testdata/containerd").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	running := exec.Command(h.Path(program))
	stop, err := running.StdinPipe()
	if err == nil {
		err = running.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stop.Close()
		_ = running.Wait()
	})
	c := containerddoctor.Config{Host: h, Live: true, Daemon: served{daemon{version: "v2.4.2", plugins: nil}, running.Process.Pid}}
	for what, test := range map[string]struct {
		dump string
		want string // of the message; "" is no finding
	}{
		"the same":             {"version = 3\n", ""},
		"another default":      {"version = 3\n[plugins.'io.containerd.image-verifier.v1.bindir']\nbin_dir = '/srv/verifiers'\n", `bin_dir is "/srv/verifiers" to ` + program},
		"a pull of CRI's own":  {"version = 3\n[plugins.'io.containerd.cri.v1.images']\nuse_local_image_pull = true\n", `what makes CRI pull by itself is "use_local_image_pull" to`},
		"verifiers are absent": {"version = 3\ndisabled_plugins = ['io.containerd.image-verifier.v1.bindir']\n", `whether verifiers are disabled is "true" to`},
	} {
		if err := os.WriteFile(h.Path(program)+".toml", []byte(test.dump), 0o644); err != nil {
			t.Fatal(err)
		}
		r := examine(t, c)
		if r.Has("config-read-otherwise") != (test.want != "") || !strings.Contains(text(r), test.want) || len(r.Notes) != 0 {
			t.Errorf("%s: want %q\n%s\n%q", what, test.want, text(r), r.Notes)
		}
	}
	if err := os.Remove(h.Path(program) + ".toml"); err != nil {
		t.Fatal(err)
	}
	if r := examine(t, c); r.Has("config-read-otherwise") || len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "exit status 1") {
		t.Errorf("a program that does not say: %q\n%s", r.Notes, text(r))
	}
	if severity := containerddoctor.Catalog().Cause("config-read-otherwise").Severity; severity != doctor.Broken {
		t.Errorf("severity %s", severity)
	}
}
