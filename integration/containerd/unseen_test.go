package containerd_test

import (
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/integration/internal/lab"
)

// What containerd pulls without asking its verifiers gets in: seven settings of CRI, and four of the verifiers themselves. Nothing that runs at a pull can change that; touchmark
// doctor finds it. Without the setting the same image is refused.
func TestCTRD09_Open(t *testing.T) {
	s := newSite(t)
	unsigned := s.push(t, "unsigned", "")
	const images = "[plugins.'io.containerd.cri.v1.images']\n"
	const verifiers = "[plugins.'io.containerd.image-verifier.v1.bindir']\n"
	for name, c := range map[string]struct {
		config string
		change func(*testing.T, *host)
		ctr    bool // what ctr pulls gets in, too
	}{
		"use_local_image_pull":         {config: images + "use_local_image_pull = true"},
		"disable_snapshot_annotations": {config: images + "disable_snapshot_annotations = false"},
		"discard_unpacked_layers":      {config: images + "discard_unpacked_layers = true"},
		"max_concurrent_downloads":     {config: images + "max_concurrent_downloads = 5"},
		"image_pull_with_sync_fs":      {config: images + "image_pull_with_sync_fs = true"},
		"registry.mirrors":             {config: "[plugins.'io.containerd.cri.v1.images'.registry.mirrors.'a.example']\nendpoint = ['https://b.example']"},
		"registry.configs":             {config: "[plugins.'io.containerd.cri.v1.images'.registry.configs.'a.example'.auth]\nusername = 'a'\npassword = 'b'"},
		"registry.auths":               {config: "[plugins.'io.containerd.cri.v1.images'.registry.auths.'https://a.example']\nusername = 'a'\npassword = 'b'"},
		"max_verifiers":                {config: verifiers + "max_verifiers = 0", ctr: true},
		"another bin_dir":              {config: verifiers + "bin_dir = '/opt/nothing'", ctr: true},
		"disabled_plugins":             {config: "disabled_plugins = ['io.containerd.image-verifier.v1.bindir']", ctr: true},
		"an empty bin_dir":             {change: func(t *testing.T, h *host) { h.Root().Must(t, 0, "rm", lab.BinDir+"/touchmark-containerd") }, ctr: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := s.host(t, "")
			h.boot(t)
			h.refuses(t, unsigned, "refused by touchmark: ")
			if c.change != nil {
				c.change(t, h)
			} else {
				h.Write(t, lab.ContainerdConfig, "version = 3\n"+c.config+"\n")
				h.Restart(t)
				h.cri = h.CRI(t)
			}
			for _, client := range clients {
				says := h.pull(t, client, unsigned)
				if open := c.ctr || client == "CRI"; open != (says == "") {
					t.Errorf("%s: want it open %v: %s", client, open, says)
				}
			}
			if c.ctr || !strings.HasPrefix(c.config, images) || name == "use_local_image_pull" {
				return
			}
			if !strings.Contains(h.Log(), "Falling back to local image pull mode") {
				t.Error("containerd does not even log it")
			}
		})
	}
}

// Images that are on the node already, imported, or pulled by a client that pulls by itself, run without being judged (CTRD-10, A147); a pull of the same image is refused,
// and does not take away what is there.
func TestCTRD10_PresentImages(t *testing.T) {
	s := newSite(t)
	unsigned := s.push(t, "unsigned", "")
	h := s.host(t, "").boot(t)
	h.LoadPause(t)
	pod, err := h.cri.Pod("one")
	if err != nil {
		t.Fatal(err)
	}
	runs := func(container string) {
		t.Helper()
		if said, err := pod.Run(container, unsigned); err != nil || said != "unsigned" {
			t.Errorf("%s: the container said %q, %v", container, said, err)
		}
	}
	h.refuses(t, unsigned, "refused by touchmark: ")
	if _, err := pod.Create("refused", unsigned); err == nil {
		t.Error("a container was created of an image that is not there")
	}
	t.Run("A147 imported", func(t *testing.T) {
		h.Import(t, unsigned, lab.Busybox(t, "unsigned"))
		runs("imported")
		if err := h.cri.Pull(unsigned); err == nil || !strings.Contains(err.Error(), "refused by touchmark: ") {
			t.Errorf("pulling what was imported: %v", err)
		}
		runs("again")
		h.cri.RemoveImage(unsigned)
	})
	t.Run("ctr pull --local", func(t *testing.T) {
		if r := h.Ctr(t, "images", "pull", "--local", "--plain-http", unsigned); r.Status != 0 {
			t.Fatal(r.Output())
		}
		runs("local")
		h.cri.RemoveImage(unsigned)
	})
	t.Run("pulled under another policy", func(t *testing.T) {
		image := s.push(t, "revoked", alice)
		if err := h.cri.Pull(image); err != nil {
			t.Fatal(err)
		}
		h.Write(t, "/etc/touchmark/policy.d/policy.yaml", strings.ReplaceAll(read(t, s.policy), alice, "bob@acme.example"))
		h.unserve()
		h.serve(t)
		if said, err := pod.Run("revoked", image); err != nil || said != "revoked" {
			t.Errorf("the container said %q, %v", said, err)
		}
		if err := h.cri.Pull(image); err == nil || !strings.Contains(err.Error(), "signed by "+alice) {
			t.Errorf("pulling it again: %v", err)
		}
	})
}

// A pod runs from an image that was admitted, whose pause image was, too; it runs on when containerd restarts, and one of an unsigned image does not come to be (CTRD-01).
func TestCTRD01_PodsRun(t *testing.T) {
	s := newSite(t)
	signed, unsigned := s.push(t, "signed", alice), s.push(t, "unsigned", "")
	pause := s.Registry + "/pause:1"
	coretest.Push(t, pause, lab.Pause(t))
	h := s.host(t, "containerd: {standalone: false}")
	h.Write(t, lab.ContainerdConfig, strings.Replace(lab.ContainerdSettings(3, ""), lab.PauseImage, pause, 1))
	h.boot(t)
	if _, err := h.cri.Pod("zero"); err == nil || !strings.Contains(err.Error(), "image verifier bindir blocked pull of "+pause) {
		t.Errorf("a pod started with a pause image that nobody signed: %v", err)
	}
	s.sign(t, pause, alice)
	h.unserve() // which remembers for some seconds that it is unsigned
	h.serve(t)
	pod, err := h.cri.Pod("one")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.cri.Pull(signed); err != nil {
		t.Fatal(err)
	}
	if said, err := pod.Run("said", signed); err != nil || said != "signed" {
		t.Errorf("the container said %q, %v", said, err)
	}
	id, err := pod.Create("stays", signed, "/bin/busybox", "sleep", "3600")
	if err == nil {
		err = h.cri.Start(id)
	}
	if err != nil {
		t.Fatal(err)
	}
	h.Restart(t)
	h.cri = h.CRI(t)
	if said, err := h.cri.Exec(id, "/bin/busybox", "cat", "/message"); err != nil || said != "signed" {
		t.Errorf("after a restart it says %q, %v", said, err)
	}
	h.refuses(t, unsigned, "refused by touchmark: ")
}
