package install_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/touchmark/touchmark/core/hostfiles/hostfilestest"
	"github.com/touchmark/touchmark/podman"
	"github.com/touchmark/touchmark/podman/install"
	"github.com/touchmark/touchmark/podman/policyjson"
	"github.com/touchmark/touchmark/podman/registriesd"
)

// A user's own agent stands in the place of the host's in the user's scopes, and nowhere else.
func TestPOD13_AUsersAgentReplacesTheHosts(t *testing.T) {
	t.Parallel()
	h := host(t, "debian", "debian")
	system := options(h, "registry.example")
	system.Public = filepath.Join(podman.Host{}.Touchmark(), "podman", "countersign.gpg")
	system.Host = h
	apply(t, system)
	u := podman.Host{Root: h.Root, Home: "/home/alice", UID: os.Getuid()}
	if err := os.MkdirAll(filepath.Join(h.Root, u.Home), 0o755); err != nil {
		t.Fatal(err)
	}
	o := options(u, "registry.example/alice")
	o.Listen = "127.0.0.1:17467"
	apply(t, o)
	f, err := policyjson.Parse([]byte(read(t, u.PolicyJSON())), u.PolicyJSON())
	if err != nil {
		t.Fatal(err)
	}
	own := h.Within(o.Public)
	for repository, want := range map[string]string{"registry.example/alice/app": own, "registry.example/other": "/etc/touchmark/podman/countersign.gpg"} {
		if reqs, _ := f.Effective("docker", repository+":1"); len(reqs) != 1 || len(reqs[0].Keys()) != 1 || reqs[0].Keys()[0] != want {
			t.Errorf("%s: %v, want the key %s alone", repository, reqs, want)
		}
	}
	chain, err := install.Chain(u)
	if err != nil {
		t.Fatal(err)
	}
	if lookaside, ok := chain("registry.example/alice/app"); ok {
		t.Errorf("the host's agent is chained: %s", lookaside)
	}
}

// The user's own file in registries.d has the name of the host's. The host's other scopes go on leading to the host's agent, where clients read the
// user's directory alone, and where they merge both; and uninstalling restores everything.
func TestPOD13_AUsersInstallationBesideTheHosts(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		scope string
		own   bool // the user has a registries.d before
	}{"the same scope": {"registry.example", false}, "within the host's": {"registry.example/alice", false}, "beside files of the user's": {"registry.example", true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := host(t, "debian", "debian")
			apply(t, options(h, "registry.example", "other.example"))
			u := podman.Host{Root: h.Root, Home: "/home/alice", UID: os.Getuid()}
			if err := os.MkdirAll(filepath.Join(h.Root, u.Home), 0o755); err != nil {
				t.Fatal(err)
			}
			if c.own {
				put(t, filepath.Join(u.RegistriesDir(), "own.yaml"), "docker:\n  own.example:\n    lookaside: https://own.example/signatures\n")
			}
			before := hostfilestest.Tree(t, h.Root)
			registry, _, _ := strings.Cut(c.scope, "/")
			o := options(u, c.scope)
			o.Listen = "127.0.0.1:17467"
			apply(t, o)
			for _, dirs := range [][]string{{u.RegistriesDir()}, u.RegistriesD()} {
				r, err := registriesd.Load(dirs)
				if err != nil {
					t.Fatal(err)
				}
				if n, _ := r.For("other.example/app"); n.Lookaside != "http://127.0.0.1:7467/lookaside/other.example" {
					t.Errorf("%v: another scope of the host: %+v", dirs, n)
				}
				if n, _ := r.For(c.scope + "/app"); n.Lookaside != "http://127.0.0.1:17467/lookaside/"+registry || n.Staging != "file:///home/alice/.local/share/containers/sigstore" {
					t.Errorf("%v: the user's scope: %+v", dirs, n)
				}
			}
			if again, err := install.Plan(o); err != nil || !again.Empty() {
				t.Errorf("installing again is not nothing: %v", err)
			}
			remove(t, u)
			if diff := cmp.Diff(before, hostfilestest.Tree(t, h.Root)); diff != "" {
				t.Errorf("uninstalling (-before +after)\n%s", diff)
			}
		})
	}
}

// What the host's policy.json rejects stays rejected for its users, and install says so.
func TestPOD13_AScopeThatTheHostRejects(t *testing.T) {
	t.Parallel()
	h := host(t, "debian", "debian")
	apply(t, options(h, "registry.example"))
	u := podman.Host{Root: h.Root, Home: "/home/alice", UID: os.Getuid()}
	if err := os.MkdirAll(filepath.Join(h.Root, u.Home), 0o755); err != nil {
		t.Fatal(err)
	}
	for scope, want := range map[string]bool{"alice.example": true, "registry.example/alice": false} {
		o := options(u, scope)
		o.Listen = "127.0.0.1:17467"
		c, err := install.Plan(o)
		if err != nil {
			t.Fatal(err)
		}
		if said := strings.Contains(strings.Join(c.Notes, "\n"), scope+": policy.json rejects its images already"); said != want {
			t.Errorf("%s: it is said: %v; notes %q", scope, said, c.Notes)
		}
	}
}
