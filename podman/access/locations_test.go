package access_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/pkg/sysregistriesv2"
	"go.podman.io/image/v5/types"

	"github.com/touchmark/touchmark/core/location"
	"github.com/touchmark/touchmark/core/location/locationtest"
	"github.com/touchmark/touchmark/podman"
	"github.com/touchmark/touchmark/podman/access"
)

// newHost is a host of its own, with files by their paths in /etc/containers.
func newHost(t *testing.T, files map[string]string) podman.Host {
	t.Helper()
	h := podman.Host{Root: t.TempDir()}
	for name, text := range files {
		write(t, filepath.Join(h.Root, "etc/containers", name), text)
	}
	return h
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func load(t *testing.T, h podman.Host, authFiles ...string) *access.Access {
	t.Helper()
	a, err := access.Load(h, authFiles...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// dropIns writes each rule into a file of its own: the library compares rules of one file with each other, and refuses some.
func dropIns(rules []location.Rewrite) map[string]string {
	files := map[string]string{"registries.conf": ""}
	for i, r := range rules {
		var b strings.Builder
		fmt.Fprintf(&b, "[[registry]]\nprefix = %q\ninsecure = %v\nblocked = %v\n", r.Prefix, r.Insecure, r.Blocked)
		if r.Location != "" {
			fmt.Fprintf(&b, "location = %q\n", r.Location)
		}
		for _, m := range r.Mirrors {
			fmt.Fprintf(&b, "[[registry.mirror]]\nlocation = %q\ninsecure = %v\n", m.Location, m.Insecure)
			if m.Pull != location.Always {
				fmt.Fprintf(&b, "pull-from-mirror = %q\n", m.Pull)
			}
		}
		files[fmt.Sprintf("registries.conf.d/%04d.conf", i)] = b.String()
	}
	return files
}

// library is containers/image with one host's files.
type library struct{ sys *types.SystemContext }

func newLibrary(h podman.Host) library {
	return library{&types.SystemContext{
		SystemRegistriesConfPath:    filepath.Join(h.Root, "etc/containers/registries.conf"),
		SystemRegistriesConfDirPath: filepath.Join(h.Root, "etc/containers/registries.conf.d"),
	}}
}

// places is where containers/image looks for an image, by newImageSource and newDockerClient of its package docker: what is blocked is known to
// the library only for the place, not for the name; by its documentation for the name, too.
func (l library) places(t *testing.T, logical string, pull location.Pull) []string {
	t.Helper()
	ref, err := reference.ParseNamed(logical)
	if err != nil || !reference.IsNameOnly(ref) {
		return nil
	}
	if pull == location.TagOnly {
		ref, err = reference.WithTag(ref, "latest")
	} else {
		ref, err = reference.WithDigest(ref, digest.FromString("image"))
	}
	if err != nil {
		t.Fatal(err)
	}
	registry := l.find(t, logical)
	if registry == nil {
		return []string{location.Place{Repository: logical}.String()}
	}
	sources, err := registry.PullSourcesFromReference(ref)
	if err != nil || registry.Blocked {
		return nil
	}
	var out []string
	for i, s := range sources {
		name := s.Reference.Name()
		if there := l.find(t, name); there != nil && there.Blocked {
			continue
		}
		out = append(out, location.Place{Repository: name, Insecure: s.Endpoint.Insecure, Mirror: i < len(sources)-1}.String())
	}
	return out
}

func (l library) find(t *testing.T, name string) *sysregistriesv2.Registry {
	t.Helper()
	registry, err := sysregistriesv2.FindRegistry(l.sys, name)
	if err != nil {
		t.Fatal(err)
	}
	return registry
}

// ours is the same by our table.
func ours(table *location.Table, logical string, pull location.Pull) []string {
	places, err := table.Places(logical)
	if err != nil {
		return nil
	}
	var out []string
	for _, p := range places {
		if p.Pull == location.Always || p.Pull == pull {
			p.Pull = location.Always
			out = append(out, p.String())
		}
	}
	return out
}

// TestPOD03_POD11_Shapes: each shape of core/location, written into real files, read by us and by containers/image.
func TestPOD03_POD11_Shapes(t *testing.T) {
	for _, shape := range locationtest.Shapes(t) {
		t.Run(shape.Name, func(t *testing.T) {
			h := newHost(t, dropIns(shape.Rewrites()))
			table := load(t, h).Table()
			shape.Check(t, table)
			compare(t, newLibrary(h), table, shape.Names())
		})
	}
}

func compare(t *testing.T, l library, table *location.Table, names []string) {
	t.Helper()
	for _, name := range names {
		for _, pull := range []location.Pull{location.TagOnly, location.DigestOnly} {
			got, want := ours(table, name, pull), l.places(t, name, pull)
			if !slices.Equal(got, want) {
				t.Errorf("%s, %s: places %q, by containers/image %q", name, pull, got, want)
			}
		}
	}
}

// TestPOD03_POD11_Generated: we and containers/image agree on generated rules and names, and what leads to a place is what containers/image leads there.
func TestPOD03_POD11_Generated(t *testing.T) {
	const seed = 11
	r := rand.New(rand.NewPCG(seed, seed))
	pick := func(from []string) string { return from[r.IntN(len(from))] }
	hosts := []string{"a.example.com", "b.example.com", "example.com", "a.b.example.com", "a.example.com.example.com", "docker.io", "index.docker.io", "localhost", "host",
		"a.example.com:5000", "a.example.com:443", "A.example.com", "store.example", "store.example:5000", "c.example.org"}
	paths := []string{"/app", "/acme", "/acme/app", "/library/app", "/acme-evil/app", "/acme/app/debug", "/store.example/app", "/App", "/a__b"}
	var names []string
	for _, h := range hosts {
		for _, p := range paths {
			names = append(names, h+p)
		}
	}
	prefix := func() string {
		if r.IntN(5) == 0 {
			return pick([]string{"*.example.com", "*.b.example.com", "*.com", "*.example.org", "*.example"})
		}
		return pick(hosts) + pick(append(paths, "", "", "", ""))
	}
	place := func() string { return pick(hosts) + pick(append(paths, "", "", "", "")) }
	compared, inverted := 0, 0
	for range 60 {
		var rules []location.Rewrite
		seen := map[string]bool{}
		for range 1 + r.IntN(6) {
			rule := location.Rewrite{Prefix: prefix(), Location: place(), Insecure: r.IntN(3) == 0, Blocked: r.IntN(8) == 0}
			if seen[rule.Prefix] {
				continue
			}
			seen[rule.Prefix] = true
			if strings.HasPrefix(rule.Prefix, "*.") && r.IntN(2) == 0 {
				rule.Location = ""
			}
			for range r.IntN(3) {
				rule.Mirrors = append(rule.Mirrors, location.Mirror{Location: place(), Insecure: r.IntN(3) == 0, Pull: location.Pull(pick([]string{"", "digest-only", "tag-only"}))})
			}
			rules = append(rules, rule)
		}
		h := newHost(t, dropIns(rules))
		table, l := load(t, h).Table(), newLibrary(h)
		compare(t, l, table, names)
		if t.Failed() {
			t.Fatalf("rules %+v", rules)
		}
		compared += len(names)

		leads := map[string][]string{} // place -> names, by containers/image
		for _, name := range names {
			for _, pull := range []location.Pull{location.TagOnly, location.DigestOnly} {
				for _, p := range l.places(t, name, pull) {
					repository, _, _ := strings.Cut(p, " ")
					if !slices.Contains(leads[repository], name) {
						leads[repository] = append(leads[repository], name)
					}
				}
			}
		}
		for physical, want := range leads {
			got, err := table.Logical(physical)
			if err != nil { // ambiguous, or too many
				continue
			}
			inverted++
			for _, name := range want {
				if !slices.Contains(got, name) {
					t.Errorf("%s leads to %s by containers/image, but is not among %q; rules %+v", name, physical, got, rules)
				}
			}
			for _, name := range got {
				if slices.Contains(names, name) && !slices.Contains(want, name) {
					t.Errorf("%s does not lead to %s by containers/image; rules %+v", name, physical, rules)
				}
			}
		}
	}
	t.Logf("%d names compared, %d places inverted", compared, inverted)
}

// TestRegistriesConf: which files are read, and which of several rules counts.
func TestRegistriesConf(t *testing.T) {
	h := newHost(t, map[string]string{
		"registries.conf":                            "unqualified-search-registries = [\"quay.io\"]\nshort-name-mode = \"enforcing\"\n[aliases]\napp = \"quay.io/acme/app\"\n[[registry]]\nlocation = \"main.example\"\n[[registry]]\nprefix = \"both.example\"\nlocation = \"main.example/both\"\n",
		"registries.conf.d/50.conf":                  "[[registry]]\nprefix = \"both.example\"\nlocation = \"drop.example\"\nmirror-by-digest-only = true\n[[registry.mirror]]\nlocation = \"mirror.example\"\n[aliases]\ntool = \"quay.io/acme/tool\"\n",
		"registries.conf.d/README":                   "not read",
		"registries.rootful.conf.d/50.conf":          "[[registry]]\nprefix = \"root.example\"\nlocation = \"drop.example/root\"\n",
		"../../usr/share/containers/registries.conf": "not read [",
	})
	a := load(t, h)
	got := map[string]string{}
	for _, r := range a.Table().Rules() {
		rel, err := filepath.Rel(h.Root, r.From)
		if err != nil {
			t.Fatal(err)
		}
		got[r.Prefix] = r.Location + " " + rel
	}
	// 50.conf for root alone hides 50.conf for everyone.
	want := map[string]string{
		"main.example": "main.example etc/containers/registries.conf", "both.example": "main.example/both etc/containers/registries.conf",
		"root.example": "drop.example/root etc/containers/registries.rootful.conf.d/50.conf",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("rules %v, want %v", got, want)
	}
	names := a.ShortNames()
	if names.Mode != "enforcing" || len(names.Search) != 1 || names.Aliases["app"] != "quay.io/acme/app" || !strings.HasSuffix(names.From, "registries.conf") {
		t.Errorf("short names %+v", names)
	}
	for _, f := range []string{"etc/containers/registries.conf", "etc/containers/registries.conf.d", "etc/containers/registries.rootful.conf.d/50.conf"} {
		if !slices.Contains(a.Files(), filepath.Join(h.Root, f)) {
			t.Errorf("%s is not among the files to watch, %q", f, a.Files())
		}
	}
	if err := os.RemoveAll(filepath.Join(h.Root, "etc/containers/registries.rootful.conf.d")); err != nil {
		t.Fatal(err)
	}
	places, err := load(t, h).Table().Places("both.example/app")
	if err != nil || fmt.Sprint(places) != "[mirror.example/app (mirror, digest-only) drop.example/app]" {
		t.Errorf("with a drop-in: %v, %v", places, err)
	}
}

// TestRegistriesConfBroken: what is wrong is said with the file's name, and a host without any file has no rules.
func TestRegistriesConfBroken(t *testing.T) {
	if rules := load(t, podman.Host{Root: t.TempDir()}).Table().Rules(); len(rules) != 0 {
		t.Errorf("rules of no file: %v", rules)
	}
	for name, text := range map[string]string{
		"not TOML":           "[[registry",
		"version 1":          "[registries.search]\nregistries = [\"quay.io\"]\n",
		"a scheme":           "[[registry]]\nlocation = \"https://quay.io\"\n",
		"wildcard with path": "[[registry]]\nprefix = \"*.example.com/acme\"\nlocation = \"quay.io\"\n",
		"no prefix":          "[[registry]]\ninsecure = true\n",
		"too large":          strings.Repeat("# comment\n", 200_000),
	} {
		for _, file := range []string{"registries.conf", "registries.conf.d/1.conf"} {
			h := newHost(t, map[string]string{file: text})
			if _, err := access.Load(h); err == nil || !strings.Contains(err.Error(), filepath.Join(h.Root, "etc/containers", file)) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	h := newHost(t, nil)
	if err := os.MkdirAll(h.RegistriesConf(), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := access.Load(h); err == nil {
		t.Error("a directory is taken for a file")
	}
}
