package podman_test

import (
	"strings"
	"testing"

	"github.com/touchmark/touchmark/integration/internal/lab"
)

// An image that alice signed is pulled and runs; its twins that nobody or somebody else signed are refused, and the client says why.
func TestPull(t *testing.T) {
	s := newSite(t)
	good, unsigned, bad := s.push(t, "team/good", alice), s.push(t, "team/unsigned", ""), s.push(t, "team/bad", mallory)
	for _, system := range []lab.System{lab.Debian12, lab.Debian13} {
		t.Run(string(system), func(t *testing.T) {
			t.Parallel()
			h := s.host(t, system)
			a := s.enforce(t, h.Root())
			for _, user := range []lab.Account{h.Root(), h.Alice()} {
				if r := user.Must(t, 0, "podman", "run", "--rm", "--network", "none", good); r.Stdout != "team/good" {
					t.Errorf("%s: the container said %q", user.Name, r.Output())
				}
				for _, client := range [][]string{{"podman", "pull"}, {"buildah", "pull"}, {"skopeo", "copy", "dir:" + user.Home + "/copy"}} {
					for image, want := range map[string]string{
						unsigned: "refused by touchmark: " + strings.TrimSuffix(unsigned, ":1"),
						bad:      "signed by " + mallory,
					} {
						args := append(client, image)
						if client[0] == "skopeo" {
							args = []string{"skopeo", "copy", "docker://" + image, client[2]}
						}
						r := user.Run(t, args...)
						if r.Status == 0 || !strings.Contains(r.Stderr, want) || !strings.Contains(r.Stderr, "touchmark why ") {
							t.Errorf("%s: %s: status %d, want it refused with %q: %s", user.Name, args, r.Status, want, r.Output())
						}
					}
				}
			}
			if t.Failed() {
				t.Log(a.Log())
			}
		})
	}
}
