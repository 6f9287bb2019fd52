package proxy_test

import (
	"strings"
	"testing"

	"github.com/touchmark/touchmark/integration/internal/lab"
)

// What is printed enforces as it is printed: the client gets what alice has signed, and for the rest the reason.

// Where the proxy countersigns, podman takes no image from the registry itself, although it is led there.
func TestPrinted_Podman(t *testing.T) {
	t.Parallel()
	s := newSite(t, "countersign: {key: countersign.key, authority: countersign.pem}\n")
	h := lab.NewHost(t, lab.Debian13)
	s.install(t, h, "podman")
	root := h.Root()
	clients := map[string][]string{
		"podman": {"podman", "pull"}, "buildah": {"buildah", "pull", "--policy", "always"}, "skopeo": {"skopeo", "copy"},
	}
	pull := func(client, tag string) lab.Result {
		image := s.registry + "/library/web:" + tag
		if client == "skopeo" {
			return root.Run(t, "skopeo", "copy", "docker://"+image, "dir:/root/copy")
		}
		return root.Run(t, append(clients[client], image)...)
	}
	for client := range clients {
		for tag, told := range tags {
			if r := pull(client, tag); (r.Status == 0) != (told == "") || !strings.Contains(r.Output(), told) {
				t.Errorf("%s, %s: status %d: %s", client, tag, r.Status, r.Output())
			}
		}
	}
	// The network leads to the registry, which the host trusts.
	root.Must(t, 0, "rm", "/etc/containers/registries.conf.d/50-touchmark-proxy.conf")
	h.Write(t, "/etc/containers/certs.d/"+s.registry+"/ca.crt", s.read(t, "ca.pem"))
	root.Must(t, 0, "skopeo", "--insecure-policy", "copy", "docker://"+s.registry+"/library/web:signed", "dir:/root/around")
	for client := range clients {
		for tag := range tags {
			if r := pull(client, tag); r.Status == 0 || !strings.Contains(r.Output(), "A signature was required, but no signature exists") {
				t.Errorf("around the proxy, %s, %s: status %d: %s", client, tag, r.Status, r.Output())
			}
		}
	}
}

// The key that the proxy countersigns with is exchanged in steps, of which none but the last, done too early, costs a pull.
func TestPrinted_PodmanWhileTheKeyIsExchanged(t *testing.T) {
	t.Parallel()
	s := newSite(t, "countersign: {key: countersign.key, authority: countersign.pem}\n")
	h := lab.NewHost(t, lab.Debian13)
	key := func(step string, keys int) {
		t.Helper()
		if listed := lab.Touchmark(t, 0, "proxy", "key", step, "--config", s.path("proxy.yaml")).Stdout; strings.Count(listed, "\n") != keys || !strings.HasPrefix(listed, "signing ") {
			t.Errorf("%s: want %d keys, got %q", step, keys, listed)
		}
		s.install(t, h, "podman") // whose authority file is the clients'
	}
	pull := func(when, told string) {
		t.Helper()
		r := h.Root().Run(t, "skopeo", "copy", "-q", "docker://"+s.registry+"/library/web:signed", "dir:/root/copy")
		if (r.Status == 0) != (told == "") || !strings.Contains(r.Output(), told) {
			t.Errorf("%s: status %d, want it to say %q: %s", when, r.Status, told, r.Output())
		}
	}
	key("make", 1)
	pull("nothing was missing", "")
	key("rotate", 2)
	pull("the proxy has the previous key", "")
	key("retire", 1)
	pull("the proxy still has the previous key", "certificate signed by unknown authority")
	s.running.Kill()
	s.start(t)
	pull("the proxy was started with the new key", "")
}

// containerd does not ask the registry itself when the proxy refuses, although it could.
func TestPrinted_Containerd(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	c := lab.NewContainerd(t)
	c.Write(t, lab.ContainerdConfig, lab.ContainerdSettings(3, ""))
	s.install(t, c.Host, "containerd")
	c.Start(t)
	cri := c.CRI(t)
	for tag, told := range tags {
		image := s.registry + "/library/web:" + tag
		r := c.Ctr(t, "images", "pull", "--hosts-dir", lab.CertsD, image)
		if (r.Status == 0) != (told == "") || told != "" && !strings.Contains(r.Output(), "403 Forbidden") {
			t.Errorf("ctr, %s: status %d: %s", tag, r.Status, r.Output())
		}
		c.Ctr(t, "images", "rm", "--sync", image)
		err := cri.Pull(image)
		if (err == nil) != (told == "") || told != "" && !strings.Contains(err.Error(), "403 Forbidden") {
			t.Errorf("CRI, %s: %v", tag, err)
		}
		if r := c.Ctr(t, "images", "pull", "--local", "--tlscacert", s.path("ca.pem"), image); r.Status != 0 {
			t.Errorf("around the proxy, %s: %s", tag, r.Output())
		}
	}
}
