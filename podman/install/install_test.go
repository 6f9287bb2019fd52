package install_test

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/touchmark/touchmark/core/location"
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

// tree is everything below a directory: modes and contents.
func tree(t *testing.T, root string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, root)
		out[name] = info.Mode().String()
		if info.Mode().IsRegular() {
			out[name] += "\n" + read(t, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
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
	c, err := install.PlanRemoval(h, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestInstallAgainChangesNothingAndUninstallRestores(t *testing.T) {
	for _, c := range []struct {
		policy, registries string
		scopes             []string
	}{
		{"debian", "debian", []string{"registry.example/acme"}}, {"rhel8", "rhel", []string{"registry.example", "registry.redhat.io"}},
		{"fedora", "fedora", []string{"registry.example/acme", "quay.io/acme"}}, {"", "", []string{"docker.io"}},
	} {
		t.Run(c.policy+"-"+c.registries, func(t *testing.T) {
			h := host(t, c.policy, c.registries)
			before := tree(t, h.Root)
			o := options(h, c.scopes...)
			o.Policies = map[string][]byte{"release.yaml": []byte("# policies\n")}
			o.Roots = map[string][]byte{"acme.json": []byte("{}")}
			first := apply(t, o)
			if first.Empty() || !strings.Contains(first.Diff(), "+++ "+h.PolicyJSON()) {
				t.Errorf("diff\n%s", first.Diff())
			}
			installed := tree(t, h.Root)
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
			if diff := cmp.Diff(installed, tree(t, h.Root)); diff != "" {
				t.Errorf("installing again (-first +again)\n%s", diff)
			}
			remove(t, h)
			if diff := cmp.Diff(before, tree(t, h.Root)); diff != "" {
				t.Errorf("uninstalling (-before +after)\n%s", diff)
			}
		})
	}
}

// TestPOD02_StockRegistriesD holds what agents are asked for, and in which
// directory signatures are written, on hosts with their distribution's files.
func TestPOD02_StockRegistriesD(t *testing.T) {
	agent := "http://127.0.0.1:7467/lookaside/"
	const staging = "file:///var/lib/touchmark-staging"
	for _, c := range []struct {
		registries string
		scopes     []string
		want       map[string]registriesd.Namespace // by repository; of the file only the base name
		chain      map[string]string
	}{
		{"debian", []string{"registry.example"}, map[string]registriesd.Namespace{
			"registry.example/app":     {Lookaside: agent + "registry.example", Staging: staging, File: "touchmark.yaml", Key: "registry.example"},
			"registry.example:443/app": {Lookaside: agent + "registry.example:443", Staging: staging, File: "touchmark.yaml", Key: "registry.example:443"},
			"other.example/app":        {},
		}, map[string]string{"registry.example/app": ""}},
		{"rhel", []string{"registry.example", "registry.redhat.io/ubi9"}, map[string]registriesd.Namespace{
			"registry.example/app":            {Lookaside: agent + "registry.example", Staging: staging, File: "touchmark.yaml", Key: "registry.example"},
			"registry.redhat.io/ubi9/ubi":     {Lookaside: agent + "registry.redhat.io", Staging: staging, File: "touchmark.yaml", Key: "registry.redhat.io/ubi9"},
			"registry.redhat.io/rhel9/x":      {Lookaside: "https://registry.redhat.io/containers/sigstore", Staging: "https://registry.redhat.io/containers/sigstore", File: "registry.redhat.io.yaml", Key: "registry.redhat.io"},
			"registry.access.redhat.com/ubi9": {Lookaside: "https://access.redhat.com/webassets/docker/content/sigstore", Staging: "https://access.redhat.com/webassets/docker/content/sigstore", File: "registry.access.redhat.com.yaml", Key: "registry.access.redhat.com"},
			"quay.io/x/y":                     {Staging: "file:///var/lib/containers/sigstore"},
		}, map[string]string{"registry.redhat.io/ubi9/ubi": "https://registry.redhat.io/containers/sigstore", "registry.example/app": ""}},
		{"fedora", []string{"registry.example/acme", "registry.redhat.io"}, map[string]registriesd.Namespace{
			"registry.example/acme/app":      {Lookaside: agent + "registry.example", Staging: staging, UseSigstoreAttachments: true, File: "touchmark.yaml", Key: "registry.example/acme"},
			"registry.example/acme/tools/x":  {Lookaside: agent + "registry.example", Staging: "file:///srv/staging", UseSigstoreAttachments: true, File: "touchmark.yaml", Key: "registry.example/acme/tools"},
			"registry.example/acme/attached": {Lookaside: agent + "registry.example", Staging: staging, UseSigstoreAttachments: true, File: "touchmark.yaml", Key: "registry.example/acme"},
			"registry.redhat.io/ubi9/ubi":    {Lookaside: agent + "registry.redhat.io", Staging: staging, File: "touchmark.yaml", Key: "registry.redhat.io"},
			"quay.io/x/y":                    {Lookaside: "https://quay.example/", Staging: "https://quay.example/", File: "default.yaml", Key: "quay.io"},
		}, map[string]string{
			"registry.example/acme/app": "https://signatures.acme.example/", "registry.example/acme/tools/x": "file:///srv/signatures",
			"registry.redhat.io/ubi9/ubi": "https://registry.redhat.io/containers/sigstore",
		}},
	} {
		t.Run(c.registries, func(t *testing.T) {
			h := host(t, "rhel8", c.registries)
			apply(t, options(h, c.scopes...))
			r, err := registriesd.Load(h.RegistriesD())
			if err != nil {
				t.Fatal(err)
			}
			chain, err := install.Chain(h)
			if err != nil {
				t.Fatal(err)
			}
			got, chained := map[string]registriesd.Namespace{}, map[string]string{}
			for repository := range c.want {
				n, _ := r.For(repository)
				if n.File != "" {
					n.File = filepath.Base(n.File)
				}
				got[repository] = n
			}
			for repository := range c.chain {
				chained[repository], _ = chain(repository)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if diff := cmp.Diff(c.chain, chained); diff != "" {
				t.Errorf("chained (-want +got)\n%s", diff)
			}
		})
	}
}

func TestTheDefaultDirectoryOfSignaturesIsChainedWhereItWasNeeded(t *testing.T) {
	h := host(t, "rhel8", "debian")
	if err := os.MkdirAll(h.DefaultLookaside(), 0o755); err != nil {
		t.Fatal(err)
	}
	apply(t, options(h, "registry.redhat.io", "registry.example"))
	chain, err := install.Chain(h)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := chain("registry.redhat.io/ubi9"); got != "file:///var/lib/containers/sigstore" {
		t.Errorf("chained %q", got)
	}
	if got, ok := chain("registry.example/app"); ok {
		t.Errorf("chained %q where nobody else's signature counts", got)
	}
}

func TestPOD03_TheLookasideIsSetForThePlaceAndNotForTheName(t *testing.T) {
	h := host(t, "debian", "debian")
	table, err := location.New([]location.Rewrite{
		{Prefix: "registry.example", Location: "mirror.example:5000/hub", Mirrors: []location.Mirror{{Location: "near.example/cache"}}},
		{Prefix: "registry.example/acme/special", Location: "special.example/x"},
		{Prefix: "other.example", Location: "elsewhere.example"},
	})
	if err != nil {
		t.Fatal(err)
	}
	o := options(h, "registry.example/acme")
	o.Table = table
	apply(t, o)
	r, err := registriesd.Load(h.RegistriesD())
	if err != nil {
		t.Fatal(err)
	}
	for repository, want := range map[string]string{
		"mirror.example:5000/hub/acme/app": "mirror.example:5000", "near.example/cache/acme/app": "near.example", "special.example/x": "special.example",
		"registry.example/acme/app": "", "mirror.example:5000/hub/other": "", "elsewhere.example/acme": "",
	} {
		if want != "" {
			want = "http://127.0.0.1:7467/lookaside/" + want
		}
		if n, _ := r.For(repository); n.Lookaside != want {
			t.Errorf("%s: lookaside %q, want %q", repository, n.Lookaside, want)
		}
	}
}

func TestPOD09_TheProxyIsALocationAndNeverAMirror(t *testing.T) {
	h := host(t, "debian", "debian")
	o := options(h, "registry.example")
	o.Proxies = map[string]string{"registry.example": "http://127.0.0.1:5443"}
	apply(t, o)
	text := read(t, filepath.Join(h.RegistriesConfDir(), "touchmark.conf"))
	if !strings.Contains(text, "prefix = \"registry.example\"\nlocation = \"127.0.0.1:5443\"\ninsecure = true\n") || strings.Contains(text, "mirror]") {
		t.Errorf("drop-in\n%s", text)
	}
	r, err := registriesd.Load(h.RegistriesD())
	if err != nil {
		t.Fatal(err)
	}
	if n, _ := r.For("127.0.0.1:5443/app"); n.Lookaside != "http://127.0.0.1:7467/lookaside/127.0.0.1:5443" {
		t.Errorf("lookaside of the proxy: %+v", n)
	}
	// A rule that somebody has about the same registry would be lost, or lead past
	// the proxy.
	h = host(t, "debian", "debian")
	o = options(h, "registry.example")
	o.Proxies = map[string]string{"registry.example": "https://proxy.example"}
	var err2 error
	if o.Table, err2 = location.New([]location.Rewrite{{Prefix: "registry.example/team", Location: "x.example", From: "/etc/mine.conf"}}); err2 != nil {
		t.Fatal(err2)
	}
	if _, err := install.Plan(o); err == nil || !strings.Contains(err.Error(), "/etc/mine.conf") {
		t.Errorf("error %v, want the file", err)
	}
}

// TestKilledAnywhere cuts an installation, a change of it and a removal off
// after each file: what is left is never weaker, and is finished or taken back.
func TestKilledAnywhere(t *testing.T) {
	setUp := func(t *testing.T) (podman.Host, map[string]string) {
		h := host(t, "fedora", "fedora")
		return h, tree(t, h.Root)
	}
	first := func(h podman.Host) install.Options { return options(h, "registry.example/acme") }
	second := func(h podman.Host) install.Options {
		o := options(h, "registry.redhat.io", "registry.example/acme/tools")
		o.Mode, o.Form = install.Observe, install.Sigstore
		return o
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
				if err := c.Apply(&killed{Context: t.Context(), after: n}); err != nil {
					finished = false
				}
				if name == "install" {
					notWeaker(t, h)
				}
				if undo {
					remove(t, h)
					if diff := cmp.Diff(before, tree(t, h.Root)); diff != "" {
						t.Errorf("%s, cut off after %d: taking it back (-before +after)\n%s", name, n, diff)
					}
					continue
				}
				apply(t, o(h))
				want, _ := setUp(t)
				if name == "change" {
					apply(t, first(want))
				}
				apply(t, o(want))
				if diff := cmp.Diff(sameRoot(tree(t, want.Root), want.Root), sameRoot(tree(t, h.Root), h.Root)); diff != "" {
					t.Errorf("%s, cut off after %d: finishing it (-want +got)\n%s", name, n, diff)
				}
			}
		}
		h, before := setUp(t)
		apply(t, first(h))
		c, err := install.PlanRemoval(h, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Apply(&killed{Context: t.Context(), after: n}); err != nil {
			finished = false
			notWeaker(t, h)
			remove(t, h)
		}
		if diff := cmp.Diff(before, tree(t, h.Root)); diff != "" {
			t.Errorf("removal cut off after %d (-before +after)\n%s", n, diff)
		}
	}
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

// killed is a context that ends after some questions whether it has.
type killed struct {
	context.Context
	after int
}

func (k *killed) Err() error {
	k.after--
	if k.after < 0 {
		return context.Canceled
	}
	return nil
}

func TestEditedFilesAreLeftAlone(t *testing.T) {
	for _, file := range []string{"policy.json", "registries.d/default.yaml", "registries.d/touchmark.yaml"} {
		h := host(t, "fedora", "fedora")
		o := options(h, "registry.example/acme")
		apply(t, o)
		path := filepath.Join(h.Root, "/etc/containers", file)
		edited := read(t, path) + " \n"
		put(t, path, edited)
		installed := tree(t, h.Root)
		var problem *install.EditedError
		if _, err := install.PlanRemoval(h, nil); !errors.As(err, &problem) || problem.Path != path {
			t.Errorf("%s: uninstall: error %v", file, err)
		}
		o.Scopes = []string{"registry.example"}
		if _, err := install.Plan(o); !errors.As(err, &problem) || problem.Path != path {
			t.Errorf("%s: install: error %v", file, err)
		}
		if diff := cmp.Diff(installed, tree(t, h.Root)); diff != "" {
			t.Errorf("%s: planning wrote\n%s", file, diff)
		}
		c, err := install.PlanRemoval(h, []string{path})
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

func TestAUsersFilesTakeTheSystemsWithThem(t *testing.T) {
	h := host(t, "rhel8", "fedora")
	system := tree(t, h.Root)
	u := podman.Host{Root: h.Root, Home: "/home/alice", UID: os.Getuid()}
	if err := os.MkdirAll(filepath.Join(h.Root, "/home/alice"), 0o755); err != nil {
		t.Fatal(err)
	}
	before := tree(t, h.Root)
	o := options(u, "registry.example/acme")
	o.Listen = "127.0.0.1:17467"
	apply(t, o)
	for name, text := range system {
		if tree(t, h.Root)[name] != text {
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
	if diff := cmp.Diff(before, tree(t, h.Root)); diff != "" {
		t.Errorf("uninstalling (-before +after)\n%s", diff)
	}
}

func TestObserveKeepsWhatWasAdmitted(t *testing.T) {
	h := host(t, "debian", "debian")
	o := options(h, "registry.example")
	o.Mode = install.Observe
	c := apply(t, o)
	if len(c.Notes) != 1 || !strings.Contains(c.Notes[0], "observing") {
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
	put(t, filepath.Join(h.RegistriesDir(), "flow.yaml"), "docker: {registry.example: {lookaside: 'https://x/'}}\n")
	if _, err := install.Plan(options(h, "registry.example")); err == nil || !strings.Contains(err.Error(), "flow.yaml") {
		t.Errorf("an entry that has no lines: %v", err)
	}
}
