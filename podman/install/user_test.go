package install_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/touchmark/touchmark/podman"
	"github.com/touchmark/touchmark/podman/install"
	"github.com/touchmark/touchmark/podman/policyjson"
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
