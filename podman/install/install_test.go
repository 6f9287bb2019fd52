package install_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/touchmark/touchmark/core/hostfiles"
	"github.com/touchmark/touchmark/core/hostfiles/hostfilestest"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/podman"
	"github.com/touchmark/touchmark/podman/install"
	"github.com/touchmark/touchmark/podman/policyjson"
	"github.com/touchmark/touchmark/podman/registriesd"
)

// host is a host's file system with the files of a distribution.
func host(t *testing.T, policy, registries string) podman.Host {
	t.Helper()
	h := podman.Host{Root: t.TempDir()}
	if policy != "" {
		put(t, h.PolicyJSON(), read(t, "testdata/policies/"+policy+".json"))
	}
	if registries != "" {
		files, err := filepath.Glob("testdata/registries.d/" + registries + "/*.yaml")
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			put(t, filepath.Join(h.RegistriesDir(), filepath.Base(f)), read(t, f))
		}
	}
	return h
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// options are for a host, with a key that is a text.
func options(h podman.Host, scopes ...string) install.Options {
	dir := filepath.Join(h.Touchmark(), "podman")
	key, public := filepath.Join(dir, "countersign.key"), filepath.Join(dir, "countersign.gpg")
	return install.Options{
		Host: h, PolicyDir: filepath.Join(h.Touchmark(), "policy.d"), TrustDir: filepath.Join(h.Touchmark(), "trust"),
		Settings: install.Settings{Scopes: scopes, Form: install.OpenPGP, Mode: install.Enforce, Listen: "127.0.0.1:7467"},
		Public:   public, KeyFiles: []string{key, public},
		Generate: func(context.Context) error {
			return errors.Join(os.WriteFile(key, []byte("secret"), 0o600), os.WriteFile(public, []byte("public"), 0o644))
		},
	}
}

func apply(t *testing.T, o install.Options) *install.Changes {
	t.Helper()
	c, err := install.Plan(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

func remove(t *testing.T, h podman.Host) {
	t.Helper()
	c, err := install.PlanRemoval(h, hostfiles.Edited{})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestInstallAgainChangesNothingAndUninstallRestores(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		policy, registries string
		scopes             []string
	}{
		{"debian", "debian", []string{"registry.example/acme"}}, {"rhel8", "rhel", []string{"registry.example", "registry.redhat.io"}},
		{"fedora", "fedora", []string{"registry.example/acme", "quay.io/acme"}}, {"", "", []string{"docker.io"}},
	} {
		t.Run(c.policy+"-"+c.registries, func(t *testing.T) {
			h := host(t, c.policy, c.registries)
			before := hostfilestest.Tree(t, h.Root)
			o := options(h, c.scopes...)
			o.Policies = map[string][]byte{"release.yaml": []byte("# policies\n")}
			o.Roots = map[string][]byte{"acme.json": []byte("{}")}
			first := apply(t, o)
			if first.Empty() || !strings.Contains(first.Diff(), "+++ "+h.PolicyJSON()) {
				t.Errorf("diff\n%s", first.Diff())
			}
			installed := hostfilestest.Tree(t, h.Root)
			again, err := install.Plan(o)
			if err != nil {
				t.Fatal(err)
			}
			if !again.Empty() || again.Diff() != "" {
				t.Errorf("installing again would change\n%s", again.Diff())
			}
			// Neither without the files that somebody handed in.
			o.Policies, o.Roots = nil, nil
			apply(t, o)
			if diff := cmp.Diff(installed, hostfilestest.Tree(t, h.Root)); diff != "" {
				t.Errorf("installing again (-first +again)\n%s", diff)
			}
			remove(t, h)
			if diff := cmp.Diff(before, hostfilestest.Tree(t, h.Root)); diff != "" {
				t.Errorf("uninstalling (-before +after)\n%s", diff)
			}
		})
	}
}

func TestEditedFilesAreLeftAlone(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"policy.json", "registries.d/default.yaml", "registries.d/touchmark.yaml"} {
		h := host(t, "fedora", "fedora")
		o := options(h, "registry.example/acme")
		apply(t, o)
		path := filepath.Join(h.Root, "/etc/containers", file)
		edited := read(t, path) + " \n"
		put(t, path, edited)
		installed := hostfilestest.Tree(t, h.Root)
		if restored, err := install.PlanRemoval(h, hostfiles.Edited{Restore: []string{path}}); err != nil || !slices.Contains(restored.Paths(), path) {
			t.Errorf("%s: restoring: %v", file, err)
		}
		var problem *install.EditedError
		if _, err := install.PlanRemoval(h, hostfiles.Edited{}); !errors.As(err, &problem) || problem.Path != path {
			t.Errorf("%s: uninstall: error %v", file, err)
		}
		o.Scopes = []string{"registry.example"}
		if _, err := install.Plan(o); !errors.As(err, &problem) || problem.Path != path {
			t.Errorf("%s: install: error %v", file, err)
		}
		if diff := cmp.Diff(installed, hostfilestest.Tree(t, h.Root)); diff != "" {
			t.Errorf("%s: planning wrote\n%s", file, diff)
		}
		c, err := install.PlanRemoval(h, hostfiles.Edited{Leave: []string{path}})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Apply(t.Context()); err != nil {
			t.Fatal(err)
		}
		if read(t, path) != edited {
			t.Errorf("%s: the edit is lost", file)
		}
	}
}

func TestOPS01_LinksAreNotReplaced(t *testing.T) {
	t.Parallel()
	h := host(t, "debian", "")
	if err := os.Rename(h.PolicyJSON(), h.PolicyJSON()+".real"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("policy.json.real", h.PolicyJSON()); err != nil {
		t.Fatal(err)
	}
	if _, err := install.Plan(options(h, "registry.example")); err == nil || !strings.Contains(err.Error(), h.PolicyJSON()+": is a symbolic link") {
		t.Errorf("error %v", err)
	}
}

// A mounted host's links are its own: on the machine that it is mounted on they lead elsewhere.
func TestOPS01_LinksOutOfAMountedHost(t *testing.T) {
	h, outside := podman.Host{Root: t.TempDir()}, t.TempDir()
	if err := os.MkdirAll(filepath.Join(h.Root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(h.Root, "etc/containers")); err != nil {
		t.Fatal(err)
	}
	before := hostfilestest.Tree(t, outside)
	c, err := install.Plan(options(h, "registry.example"))
	if err == nil {
		err = c.Apply(t.Context())
	}
	if err == nil || !strings.Contains(err.Error(), "/etc/containers") {
		t.Errorf("error %v, want one that names the link", err)
	}
	if diff := cmp.Diff(before, hostfilestest.Tree(t, outside)); diff != "" {
		t.Errorf("outside (-before +after)\n%s", diff)
	}
}

func TestAUsersFilesTakeTheSystemsWithThem(t *testing.T) {
	t.Parallel()
	h := host(t, "rhel8", "fedora")
	system := hostfilestest.Tree(t, h.Root)
	u := podman.Host{Root: h.Root, Home: "/home/alice", UID: os.Getuid()}
	if err := os.MkdirAll(filepath.Join(h.Root, "/home/alice"), 0o755); err != nil {
		t.Fatal(err)
	}
	before := hostfilestest.Tree(t, h.Root)
	o := options(u, "registry.example/acme")
	o.Listen = "127.0.0.1:17467"
	apply(t, o)
	for name, text := range system {
		if hostfilestest.Tree(t, h.Root)[name] != text {
			t.Errorf("%s was changed", name)
		}
	}
	// Alone, as releases before 2026 read it, and merged with the system's.
	for _, dirs := range [][]string{{u.RegistriesDir()}, u.RegistriesD()} {
		r, err := registriesd.Load(dirs)
		if err != nil {
			t.Fatal(err)
		}
		n, _ := r.For("registry.redhat.io/ubi9")
		if own, _ := r.For("registry.example/acme/app"); n.Lookaside != "https://registry.redhat.io/containers/sigstore" || own.Lookaside != "http://127.0.0.1:17467/lookaside/registry.example" || own.Staging != "file:///home/alice/.local/share/containers/sigstore" {
			t.Errorf("%v: %+v, %+v", dirs, n, own)
		}
	}
	f, err := policyjson.Parse([]byte(read(t, u.PolicyJSON())), u.PolicyJSON())
	if err != nil {
		t.Fatal(err)
	}
	if reqs, _ := f.Effective("docker", "registry.redhat.io/ubi9:1"); len(reqs) != 1 || reqs[0].Type != policyjson.SignedBy {
		t.Errorf("the system's rule is lost: %v", reqs)
	}
	remove(t, u)
	if diff := cmp.Diff(before, hostfilestest.Tree(t, h.Root)); diff != "" {
		t.Errorf("uninstalling (-before +after)\n%s", diff)
	}
}

func TestObserveKeepsWhatWasAdmitted(t *testing.T) {
	t.Parallel()
	h := host(t, "debian", "debian")
	o := options(h, "registry.example")
	o.Mode = install.Observe
	c := apply(t, o)
	if len(c.Notes) != 2 || !strings.Contains(c.Notes[0], "observing") || !strings.Contains(c.Notes[1], "need --remove-signatures") {
		t.Errorf("notes %q", c.Notes)
	}
	file := filepath.Join(o.PolicyDir, "touchmark-observe.yaml")
	set, err := policy.LoadFiles(t.Context(), []string{file}, policy.Options{})
	if err != nil || set.Enforcement.Mode != policy.Observe || set.Enforcement.Unmatched.Mode != policy.Observe || set.Enforcement.Unmatched.InsecureAdmit {
		t.Errorf("the policy that observes is %+v, %v", set, err)
	}
	f, err := policyjson.Parse([]byte(read(t, h.PolicyJSON())), h.PolicyJSON())
	if err != nil {
		t.Fatal(err)
	}
	if reqs, _ := f.Effective("docker", "other.example/x:1"); reqs[0].Type != policyjson.Accept {
		t.Error("observing refuses other registries")
	}
	o.Mode = install.Enforce
	apply(t, o)
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("still observing: %v", err)
	}
	o.Mode = install.Observe
	put(t, filepath.Join(o.PolicyDir, "exceptions.yaml"), "apiVersion: touchmark.dev/v1alpha1\nkind: Enforcement\nspec:\n  index: both\n")
	if _, err := install.Plan(o); err != nil {
		t.Error(err)
	}
	put(t, filepath.Join(o.PolicyDir, "site.yaml"), "apiVersion: touchmark.dev/v1alpha1\nkind: Enforcement\nspec:\n  mode: enforce\n")
	if _, err := install.Plan(o); err == nil || !strings.Contains(err.Error(), "site.yaml: its Enforcement document") {
		t.Errorf("error %v", err)
	}
}

func TestConfigKeepsWhatSomebodyWrote(t *testing.T) {
	t.Parallel()
	h := host(t, "debian", "debian")
	config := filepath.Join(h.Touchmark(), "config.yaml")
	put(t, config, "# ours\ntrust:\n  maxStale: 7d # strict\npodman:\n  validity: 5m\n")
	apply(t, options(h, "registry.example"))
	want := "# ours\ntrust:\n  maxStale: 7d # strict\npodman:\n  validity: 5m\n  form: openpgp\n  scopes:\n    - registry.example\nagent:\n  listen: 127.0.0.1:7467\n"
	if diff := cmp.Diff(want, read(t, config)); diff != "" {
		t.Error(diff)
	}
}

func TestPlan_Refuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(*install.Options)
		want   string
	}{
		{"no scopes", func(o *install.Options) { o.Scopes = nil }, "no scopes"},
		{"wildcard", func(o *install.Options) { o.Scopes = []string{"*.example"} }, "wildcard"},
		{"scope", func(o *install.Options) { o.Scopes = []string{"registry.example/../x"} }, "registry.example/../x"},
		{"mode", func(o *install.Options) { o.Mode = "maybe" }, `mode "maybe"`},
		{"form", func(o *install.Options) { o.Form = "x" }, `form "x"`},
		{"transports", func(o *install.Options) { o.OtherTransports = "some" }, `other transports "some"`},
		{"proxy", func(o *install.Options) { o.Proxies = map[string]string{"registry.example": "proxy"} }, `proxy "proxy"`},
	} {
		h := host(t, "debian", "debian")
		o := options(h, "registry.example")
		if _, err := install.Plan(o); err != nil {
			t.Fatal(err)
		}
		c.change(&o)
		if _, err := install.Plan(o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
	}
	h := host(t, "", "")
	put(t, h.PolicyJSON(), `{"default":[],"x":1}`)
	if _, err := install.Plan(options(h, "registry.example")); err == nil || !strings.Contains(err.Error(), h.PolicyJSON()) {
		t.Errorf("a broken policy.json: %v", err)
	}
	h = host(t, "debian", "")
	put(t, install.LookasideFile(h), "docker: {}\n")
	if _, err := install.Plan(options(h, "registry.example")); err == nil || !strings.Contains(err.Error(), install.LookasideFile(h)) {
		t.Errorf("a file of ours without a record: %v", err)
	}
	h = host(t, "debian", "")
	put(t, filepath.Join(h.RegistriesDir(), "flow.yaml"), "docker: {registry.example: {lookaside: 'https://x/'}}\n")
	if _, err := install.Plan(options(h, "registry.example")); err == nil || !strings.Contains(err.Error(), "flow.yaml") {
		t.Errorf("an entry that has no lines: %v", err)
	}
}
