package podman_test

import (
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/integration/internal/lab"
)

// The clients are those that the tests mean, and they work as they are: pull and run, for root and for a user, and refuse what policy.json refuses.
func TestClients(t *testing.T) {
	registry := coretest.NewRegistry(t, true)
	coretest.Push(t, registry+"/team/app:1", lab.Busybox(t, "hello from the image\n"))
	for _, c := range []struct {
		system   lab.System
		versions [3]string // of podman, skopeo, buildah
	}{
		{lab.Debian12, [3]string{"4.3.1", "1.9.3", "1.28.2"}},
		{lab.Debian13, [3]string{"5.4.2", "1.18.0", "1.39.3"}},
	} {
		t.Run(string(c.system), func(t *testing.T) {
			t.Parallel()
			host := lab.NewHost(t, c.system)
			host.Write(t, "/etc/containers/registries.conf", "[[registry]]\nlocation = \""+registry+"\"\ninsecure = true\n")
			for i, client := range []string{"podman", "skopeo", "buildah"} {
				if r := host.Root().Must(t, 0, client, "--version"); !strings.Contains(r.Stdout, " "+c.versions[i]) {
					t.Errorf("%s is %q, want %s", client, r.Stdout, c.versions[i])
				}
			}
			for _, account := range []lab.Account{host.Root(), host.Alice()} {
				host.Write(t, "/etc/containers/policy.json", `{"default":[{"type":"insecureAcceptAnything"}]}`)
				r := account.Must(t, 0, "podman", "run", "--rm", "--network", "none", registry+"/team/app:1")
				if r.Stdout != "hello from the image\n" {
					t.Errorf("%s: the container said %q", account.Name, r.Output())
				}
				account.Must(t, 0, "buildah", "pull", registry+"/team/app:1")
				account.Must(t, 0, "skopeo", "copy", "docker://"+registry+"/team/app:1", "docker://"+registry+"/copies/"+account.Name+":1")
				host.Write(t, "/etc/containers/policy.json", `{"default":[{"type":"reject"}]}`)
				from := registry + "/team/app:1"
				for _, command := range [][]string{
					{"podman", "pull", from},
					{"buildah", "pull", "--policy", "always", from},
					{"skopeo", "copy", "docker://" + from, "docker://" + registry + "/copies/refused:1"},
				} {
					if r := account.Run(t, command...); r.Status == 0 || !strings.Contains(r.Stderr, "is rejected by policy") {
						t.Errorf("%s: %s: status %d, %s", account.Name, command, r.Status, r.Output())
					}
				}
			}
		})
	}
}
