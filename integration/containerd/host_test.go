package containerd_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/touchmark/touchmark/integration/internal/lab"
)

// host is a host with a real containerd, which has the verifier alone in its bin_dir, and Touchmark's configuration, all at their usual places.
type host struct {
	*lab.Containerd
	address string       // the agent's, on loopback
	agent   *lab.Process // nil if it does not run
	cri     *lab.CRI
}

// newHost makes a host: by a policy's file or directory, trusted_root.json files by name, and further lines of config.yaml. Nothing runs yet.
func newHost(t testing.TB, policy string, roots map[string]string, further string, options ...lab.Option) *host {
	t.Helper()
	h := &host{Containerd: lab.NewContainerd(t, options...), address: lab.FreeAddress(t)}
	for name, file := range roots {
		h.Write(t, "/etc/touchmark/trust/"+name+".json", read(t, file))
	}
	h.configure(t, policy, further)
	h.Link(t, verifier, lab.BinDir+"/touchmark-containerd")
	h.Link(t, predicates, "/usr/local/bin/touchmark-predicates")
	h.Write(t, lab.ContainerdConfig, lab.ContainerdSettings(3, ""))
	return h
}

// configure writes config.yaml, and the policies where the agent reads them.
func (h *host) configure(t testing.TB, policy, further string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(policy, "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(policy); err == nil && !info.IsDir() {
		files = []string{policy}
	}
	for _, file := range files {
		h.Write(t, "/etc/touchmark/policy.d/"+filepath.Base(file), read(t, file))
	}
	h.Write(t, "/etc/touchmark/config.yaml", fmt.Sprintf("policy: policy.d\nagent: {listen: %q}\n%s\n", h.address, further))
}

// serve starts the agent, unless it runs.
func (h *host) serve(t testing.TB) {
	t.Helper()
	if h.agent == nil {
		h.agent = h.Agent(t, h.address)
	}
}

// unserve kills the agent.
func (h *host) unserve() {
	h.agent.Kill()
	h.agent = nil
}

// boot starts the agent and containerd.
func (h *host) boot(t testing.TB) *host {
	t.Helper()
	h.serve(t)
	h.Start(t)
	h.cri = h.CRI(t)
	return h
}

// digestOf is an image's digest, of what its tag names in the registry.
func digestOf(t testing.TB, image string) string {
	t.Helper()
	ref, err := name.ParseReference(image)
	if err != nil {
		t.Fatal(err)
	}
	d, err := remote.Head(ref)
	if err != nil {
		t.Fatal(err)
	}
	return d.Digest.String()
}

// clients are the ways in which images get pulled: each returns what its user sees if it does not work.
var clients = []string{"ctr", "CRI"}

// pull pulls an image by a client, and returns what its user sees if that fails. The image is gone afterwards, so that the next client starts anew.
func (h *host) pull(t testing.TB, client, image string) (says string) {
	t.Helper()
	if client == "CRI" {
		if err := h.cri.Pull(image); err != nil {
			if h.cri.Has(image) {
				t.Errorf("%s: the pull failed, and the image is there: %v", image, err)
			}
			return err.Error()
		}
		if !h.cri.Has(image) {
			t.Errorf("%s: the pull worked, and the image is not there", image)
		}
		h.cri.RemoveImage(image)
		return ""
	}
	flags := []string{"--plain-http"}
	if strings.HasPrefix(image, "registry.example/") {
		flags = []string{"--hosts-dir", lab.CertsD}
	}
	return h.ctr(t, image, flags...)
}

// ctr pulls an image by ctr, with flags, and removes it.
func (h *host) ctr(t testing.TB, image string, flags ...string) (says string) {
	t.Helper()
	r := h.Root().Run(t, append(append([]string{"ctr", "images", "pull"}, flags...), image)...)
	there := h.Root().Run(t, "ctr", "images", "ls", "-q", "name=="+image).Stdout != ""
	if there != (r.Status == 0) {
		t.Errorf("%s: status %d, and the image is there: %v\n%s", image, r.Status, there, r.Output())
	}
	if r.Status != 0 {
		return r.Output()
	}
	h.Root().Must(t, 0, "ctr", "images", "rm", "--sync", image)
	return ""
}

// admits and refuses hold what the user of each client sees against what it should be.
func (h *host) admits(t testing.TB, images ...string) {
	t.Helper()
	for _, image := range images {
		for _, client := range clients {
			if says := h.pull(t, client, image); says != "" {
				t.Errorf("%s: pulling %s: want it admitted, have\n%s", client, image, says)
			}
		}
	}
}

func (h *host) refuses(t testing.TB, image string, want ...string) {
	t.Helper()
	for _, client := range clients {
		says := h.pull(t, client, image)
		if says == "" {
			t.Errorf("%s: %.100s was pulled", client, image)
		}
		for _, w := range want {
			if !strings.Contains(says, w) {
				t.Errorf("%s: pulling %s: want a refusal that says\n%s\nhave\n%s", client, image, w, says)
			}
		}
	}
}
