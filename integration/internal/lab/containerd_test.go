package lab_test

import (
	"os"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/integration/internal/lab"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(m, nil)) }

// A containerd without Touchmark pulls, by ctr and by CRI, and runs pods, whatever version its configuration has; its containers outlive it.
func TestContainerd(t *testing.T) {
	registry := coretest.NewRegistry(t, true)
	image := registry + "/app:1"
	coretest.Push(t, image, lab.Busybox(t, "hello"))
	for _, version := range []int{2, 3, 4} {
		t.Run("config "+string(rune('0'+version)), func(t *testing.T) {
			c := lab.NewContainerd(t)
			c.Write(t, lab.ContainerdConfig, lab.ContainerdSettings(version, ""))
			c.Start(t)
			if r := c.Ctr(t, "images", "pull", "--plain-http", image); r.Status != 0 {
				t.Errorf("ctr: %s", r.Output())
			}
			k := c.CRI(t)
			if err := k.Pull(image); err != nil || !k.Has(image) {
				t.Fatalf("CRI: %v", err)
			}
			c.LoadPause(t)
			pod, err := k.Pod("one")
			if err != nil {
				t.Fatalf("%v\n%s", err, c.Log())
			}
			if said, err := pod.Run("hello", image); err != nil || said != "hello" {
				t.Errorf("the container said %q, %v", said, err)
			}
			id, err := pod.Create("stays", image, "/bin/busybox", "sleep", "3600")
			if err == nil {
				err = k.Start(id)
			}
			if err != nil {
				t.Fatal(err)
			}
			c.Kill()
			c.Start(t)
			k = c.CRI(t)
			if said, err := k.Exec(id, "/bin/busybox", "cat", "/message"); err != nil || said != "hello" {
				t.Errorf("after containerd was killed: %q, %v", said, err)
			}
			if err := k.Stop(id); err != nil {
				t.Error(err)
			}
			k.RemoveImage(image)
			if k.Has(image) {
				t.Error("the image was not removed")
			}
			if !strings.Contains(c.Log(), "successfully booted") {
				t.Error("there is no log")
			}
		})
	}
}
