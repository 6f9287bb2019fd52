package install_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/touchmark/touchmark/core/hostfiles"
	"github.com/touchmark/touchmark/core/hostfiles/hostfilestest"
	"github.com/touchmark/touchmark/podman"
	"github.com/touchmark/touchmark/podman/install"
	"github.com/touchmark/touchmark/podman/policyjson"
	"github.com/touchmark/touchmark/podman/registriesd"
)

// TestKilledAnywhere cuts an installation, a change of it and a removal off
// after each file: what is left is never weaker, and is finished or taken back.
func TestKilledAnywhere(t *testing.T) {
	t.Parallel()
	setUp := func(t *testing.T) (podman.Host, map[string]string) {
		h := host(t, "fedora", "fedora")
		return h, hostfilestest.Tree(t, h.Root)
	}
	first := func(h podman.Host) install.Options { return options(h, "registry.example/acme") }
	second := func(h podman.Host) install.Options {
		o := options(h, "registry.redhat.io", "registry.example/acme/tools")
		o.Mode, o.Form = install.Observe, install.Sigstore
		return o
	}
	wanted := map[string]map[string]string{}
	for name, o := range map[string]func(podman.Host) install.Options{"install": first, "change": second} {
		h, _ := setUp(t)
		if name == "change" {
			apply(t, first(h))
		}
		apply(t, o(h))
		wanted[name] = sameRoot(hostfilestest.Tree(t, h.Root), h.Root)
	}
	finished := false
	for n := 0; !finished; n++ {
		finished = true
		for name, o := range map[string]func(podman.Host) install.Options{"install": first, "change": second} {
			for _, undo := range []bool{false, true} {
				h, before := setUp(t)
				if name == "change" {
					apply(t, first(h))
				}
				c, err := install.Plan(o(h))
				if err != nil {
					t.Fatal(err)
				}
				if err := c.Apply(hostfilestest.CutOff(t.Context(), n)); err != nil {
					finished = false
				}
				if name == "install" {
					notWeaker(t, h)
				}
				if undo {
					takeBack(t, h)
					if diff := cmp.Diff(before, withoutRecordDir(hostfilestest.Tree(t, h.Root))); diff != "" {
						t.Errorf("%s, cut off after %d: taking it back (-before +after)\n%s", name, n, diff)
					}
					continue
				}
				apply(t, o(h))
				if diff := cmp.Diff(wanted[name], sameRoot(hostfilestest.Tree(t, h.Root), h.Root)); diff != "" {
					t.Errorf("%s, cut off after %d: finishing it (-want +got)\n%s", name, n, diff)
				}
			}
		}
		h, before := setUp(t)
		apply(t, first(h))
		c, err := install.PlanRemoval(h, hostfiles.Edited{})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Apply(hostfilestest.CutOff(t.Context(), n)); err != nil {
			finished = false
			notWeaker(t, h)
			takeBack(t, h)
		}
		if diff := cmp.Diff(before, withoutRecordDir(hostfilestest.Tree(t, h.Root))); diff != "" {
			t.Errorf("removal cut off after %d (-before +after)\n%s", n, diff)
		}
	}
}

// takeBack uninstalls, if anything is installed.
func takeBack(t *testing.T, h podman.Host) {
	t.Helper()
	if _, ok, err := install.Installed(h); err != nil {
		t.Fatal(err)
	} else if ok {
		remove(t, h)
	}
}

// withoutRecordDir takes out the one thing that may be left behind: the
// directory of a record that was not written yet, or is deleted already.
func withoutRecordDir(files map[string]string) map[string]string {
	out := maps.Clone(files)
	for _, dir := range []string{"/etc/touchmark", "/etc/touchmark/install"} {
		if out[dir] == "drwxr-xr-x" || out[dir] == "drwx------" {
			delete(out, dir)
		}
	}
	return out
}

// notWeaker holds what a cut-off installation left: where an entry of somebody's
// is out of registries.d, or the agent is in it, policy.json demands our key.
func notWeaker(t *testing.T, h podman.Host) {
	t.Helper()
	f, err := policyjson.Parse([]byte(read(t, h.PolicyJSON())), h.PolicyJSON())
	if err != nil {
		t.Fatal(err)
	}
	r, err := registriesd.Load(h.RegistriesD())
	if err != nil { // clients refuse everything
		return
	}
	reqs, _ := f.Effective("docker", "registry.example/acme/app:1")
	demands, _ := demand(reqs)
	if n, _ := r.For("registry.example/acme/app"); n.Lookaside != "https://signatures.acme.example/" && len(demands) == 0 {
		t.Errorf("the lookaside is %q, and nothing is demanded", n.Lookaside)
	}
}

// sameRoot takes the directory of a test out of its files.
func sameRoot(files map[string]string, root string) map[string]string {
	out := maps.Clone(files)
	for name, text := range out {
		out[name] = strings.ReplaceAll(text, root, "")
	}
	return out
}
