package containerdnri

import (
	"encoding/json"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/containerd/node"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/integration/internal/lab"
)

// TestNode: the client of containerd's API against a real one.
func TestNode(t *testing.T) {
	c := lab.NewContainerd(t)
	c.Write(t, lab.ContainerdConfig, lab.ContainerdSettings(3, ""))
	c.Start(t)
	c.CRI(t) // is ready
	ctx := t.Context()
	n, err := node.Dial(ctx, c.Address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })

	release, revision, err := n.Version(ctx)
	if err != nil || !strings.HasPrefix(release, "v2.4.2") && release != "" && release[0] != '2' {
		t.Errorf("version %q %q: %v", release, revision, err)
	}
	if pid, err := n.Server(ctx); err != nil || pid <= 0 {
		t.Errorf("process %d: %v", pid, err)
	}
	plugins, err := n.Plugins(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []node.Plugin{{Type: "io.containerd.image-verifier.v1", ID: "bindir"}, {Type: "io.containerd.transfer.v1", ID: "local"}, {Type: "io.containerd.cri.v1", ID: "images"}} {
		if !slices.ContainsFunc(plugins, func(p node.Plugin) bool { return p.Type == want.Type && p.ID == want.ID && p.InitErr == "" }) {
			t.Errorf("plugin %s %s is not listed as loaded", want.Type, want.ID)
		}
	}

	image := coretest.NewRegistry(t, true) + "/team/app:1"
	digest := coretest.Push(t, image, lab.Busybox(t, "hello"))
	if err := n.Transfer(ctx, "default", image, node.Options{PlainHTTP: true}); err != nil {
		t.Fatal(err)
	}
	if id, err := n.CRIPull(ctx, image); err != nil || !strings.HasPrefix(id, "sha256:") {
		t.Errorf("CRI pulled %q: %v", id, err)
	}
	if has, err := n.CRIHas(ctx, image); err != nil || !has {
		t.Errorf("CRI has it: %t, %v", has, err)
	}
	namespaces, err := n.Namespaces(ctx)
	slices.Sort(namespaces)
	if err != nil || !slices.Equal(namespaces, []string{"default", "k8s.io"}) {
		t.Errorf("namespaces %q: %v", namespaces, err)
	}
	images, err := n.Images(ctx, "default")
	if err != nil || len(images) != 1 || images[0].Name != image || images[0].Digest != digest.DigestStr() {
		t.Fatalf("images %+v: %v", images, err)
	}
	if images, err := n.Images(ctx, "k8s.io"); err != nil || len(images) != 3 {
		t.Errorf("CRI's images %+v: %v", images, err)
	}

	if err := n.Label(ctx, "default", images[0], map[string]string{"touchmark.dev/verdict": "refused"}); err != nil {
		t.Error(err)
	}
	if err := n.Label(ctx, "default", images[0], map[string]string{"touchmark.dev/judged": "now"}); err != nil {
		t.Error(err)
	}
	images, err = n.Images(ctx, "default")
	if err != nil || images[0].Labels["touchmark.dev/verdict"] != "refused" || images[0].Labels["touchmark.dev/judged"] != "now" {
		t.Errorf("labels %+v: %v", images, err)
	}
	moved := images[0]
	moved.Digest = "sha256:" + strings.Repeat("0", 64)
	if err := n.Remove(ctx, "default", moved); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a name that leads elsewhere was removed: %v", err)
	}
	if err := n.Remove(ctx, "default", images[0]); err != nil {
		t.Error(err)
	}
	if err := n.Label(ctx, "default", images[0], map[string]string{"a": "b"}); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), c.Address()) {
		t.Errorf("labelling what is not there: %v", err)
	}
	if err := n.CRIRemove(ctx, image); err != nil {
		t.Error(err)
	}
	if has, err := n.CRIHas(ctx, image); err != nil || has {
		t.Errorf("CRI still has it: %t, %v", has, err)
	}

	status, err := n.CRIStatus(ctx)
	var config map[string]json.RawMessage
	if err != nil || json.Unmarshal(status.Config, &config) != nil || !status.Ready["RuntimeReady"] {
		t.Errorf("status %+v: %v", status, err)
	}
	if err := n.Transfer(ctx, "default", image+"-none", node.Options{PlainHTTP: true}); err == nil || !strings.Contains(err.Error(), "not found") {
		t.Errorf("pulling what is not there: %v", err)
	}

	// The connection outlives a restart of containerd.
	c.Restart(t)
	if _, _, err := n.Version(ctx); err != nil {
		t.Error(err)
	}
	c.Kill()
	var down *node.Error
	if _, _, err := n.Version(ctx); !errors.As(err, &down) {
		t.Errorf("a containerd that is down answers: %v", err)
	}
	if _, err := node.Dial(ctx, c.Address()); err == nil || !strings.Contains(err.Error(), "is not running") || !strings.Contains(err.Error(), c.Address()) {
		t.Errorf("%v", err)
	}
}
