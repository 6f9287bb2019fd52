package install_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/touchmark/touchmark/containerd"
	"github.com/touchmark/touchmark/containerd/config"
	"github.com/touchmark/touchmark/containerd/install"
	"github.com/touchmark/touchmark/core/hostfiles"
	"github.com/touchmark/touchmark/core/hostfiles/hostfilestest"
)

// refuses wants a plan to be an error, and the node as it was.
func refuses(t *testing.T, o install.Options, want string) {
	t.Helper()
	before := hostfilestest.Tree(t, o.Host.Root)
	if _, err := install.New(o); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want it to say %q", err, want)
	}
	if diff := cmp.Diff(before, hostfilestest.Tree(t, o.Host.Root)); diff != "" {
		t.Error(diff)
	}
}

// A program that lies in bin_dir already is not replaced by a link to itself.
func TestTheProgramIsNotReplaced(t *testing.T) {
	h := node(t, "plain")
	there := filepath.Join(h.BinDir(), install.Program)
	put(t, there, "program\x00")
	for _, isCopy := range []bool{false, true} {
		o := options(h, config.Newest())
		o.Copy, o.Verifier = isCopy, h.Within(there)
		if isCopy {
			o.Verifier = there // of the machine that installs
		}
		refuses(t, o, "is the program itself")
	}
	// Somebody's older copy is another file.
	o := options(h, config.Newest())
	o.Copy, o.Verifier = false, "/usr/local/bin/"+install.Program
	apply(t, o)
	if leads, err := os.Readlink(there); err != nil || leads != o.Verifier {
		t.Errorf("%q, %v", leads, err)
	}
}

// containerd runs every file of bin_dir: a directory with other files is not made one.
func TestBinDirIsForVerifiers(t *testing.T) {
	h := node(t, "plain")
	put(t, h.Path("/usr/local/bin/kubectl"), "program\x00")
	o := options(h, config.Newest())
	o.BinDir = "/usr/local/bin"
	refuses(t, o, `holds ["kubectl"]`)
	put(t, filepath.Join(h.BinDir(), "scanner"), "program\x00") // that is how the node is
	o.BinDir = h.Within(h.BinDir())
	apply(t, o)
}

// A link in the mounted image of a node must not have another host's files read or
// written.
func TestOPS_LinksOutOfTheRoot(t *testing.T) {
	for _, dir := range []string{"/etc/containerd", "/etc/touchmark", "/opt"} {
		h, outside := node(t, "plain"), t.TempDir()
		if err := errors.Join(os.RemoveAll(h.Root+dir), os.MkdirAll(filepath.Dir(h.Root+dir), 0o755), os.Symlink(outside, h.Root+dir)); err != nil {
			t.Fatal(err)
		}
		put(t, outside+"/config.toml", "version = 3\n[plugins.'io.containerd.cri.v1.images']\nuse_local_image_pull = true\n")
		before := hostfilestest.Tree(t, outside)
		if _, err := install.New(options(h, config.Newest())); err == nil || !strings.Contains(err.Error(), "leads out of "+h.Root) {
			t.Errorf("%s: %v", dir, err)
		}
		if diff := cmp.Diff(before, hostfilestest.Tree(t, outside)); diff != "" {
			t.Errorf("%s: %s", dir, diff)
		}
	}
	// What was installed is not taken away elsewhere either.
	h, outside := node(t, "plain"), t.TempDir()
	apply(t, options(h, config.Newest()))
	if err := errors.Join(os.Rename(h.Root+"/opt", outside+"/opt"), os.Symlink(outside+"/opt", h.Root+"/opt")); err != nil {
		t.Fatal(err)
	}
	if _, err := install.Removal(h, hostfiles.Edited{}); err == nil || !strings.Contains(err.Error(), "leads out of "+h.Root) {
		t.Error(err)
	}
	// A link that stays within is followed.
	h = containerd.Host{Root: t.TempDir()}
	if err := errors.Join(os.MkdirAll(h.Root+"/var/opt", 0o755), os.Symlink("var/opt", h.Root+"/opt")); err != nil {
		t.Fatal(err)
	}
	apply(t, options(h, config.Newest()))
	if _, err := os.Stat(h.Root + "/var/opt/containerd/image-verifier/bin/" + install.Program); err != nil {
		t.Error(err)
	}
}

// Secrets are neither shown nor written to files that more people may read.
func TestSecretsStayWhereTheyAre(t *testing.T) {
	h := node(t, "plain")
	const rest = `
[plugins."io.containerd.grpc.v1.cri".registry.headers]
  X-Api-Key = ["s3cret"]
  "Authorization" = ["Basic s3cret"]
[plugins."io.containerd.grpc.v1.cri".registry.configs."r.example".auth]
  password = """s3cret
s3cret"""
[plugins."io.containerd.grpc.v1.cri".registry.configs."q.example".auth]
  "password" = '''s3cret'''
  "identitytoken" = "a\"s3cret"
`
	mirror := func(endpoint string) string {
		return "version = 2\n[plugins.'io.containerd.grpc.v1.cri'.registry.mirrors.'docker.io']\n  endpoint = ['" + endpoint + "']\n"
	}
	put(t, h.Config(), mirror("https://user:s3cret@mirror.example")+rest)
	refuses(t, options(h, config.Newest()), "has a password")
	if shown := install.Conceal(mirror("https://user:s3cret@mirror.example") + rest); strings.Contains(shown, "s3cret") {
		t.Errorf("shown:\n%s", shown)
	}
	put(t, h.Config(), mirror("https://mirror.example")+rest)
	if err := os.Chmod(h.Config(), 0o600); err != nil {
		t.Fatal(err)
	}
	p := apply(t, options(h, config.Newest()))
	if shown := p.Diff(); strings.Contains(shown, "s3cret") {
		t.Errorf("shown:\n%s", shown)
	}
	for name, text := range hostfilestest.Tree(t, h.Root) {
		if strings.Contains(text, "s3cret") && !strings.HasPrefix(text, "-rw-------") {
			t.Errorf("%s holds a secret: %.10s", name, text)
		}
	}
}
