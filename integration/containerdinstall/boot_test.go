package containerdinstall_test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/integration/internal/lab"
)

// imagesOnly passes on what a pull asks a registry for, and nothing of signatures.
func imagesOnly(t *testing.T, registry string) string {
	t.Helper()
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: registry})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/referrers/") || strings.Contains(r.URL.Path, "/manifests/sha256-") {
			http.Error(w, "away", http.StatusServiceUnavailable)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// A node that enforces boots while there is no agent and evidence cannot be
// reached: what was pinned is pulled and runs, and nothing else is.
func TestCTRD05_AFreshNodeBoots(t *testing.T) {
	n := newNode(t, lab.ContainerdSettings(3, ""))
	registry := imagesOnly(t, n.world.Registry)
	policy, err := os.ReadFile(n.policy)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(n.policy, []byte(strings.Replace(string(policy), "images: [", `images: [{glob: "`+registry+`/**"}, `, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	network, twin := registry+"/network:1", registry+"/twin:1"
	coretest.Push(t, n.world.Registry+"/network:1", lab.Busybox(t, "the network is up"))
	coretest.Push(t, n.world.Registry+"/twin:1", lab.Busybox(t, "the network is mine"))
	multi := registry + "/multi:1"
	coretest.Push(t, n.world.Registry+"/multi:1", coretest.Index(t, 7))
	n.Start(t)
	n.LoadPause(t)
	for _, image := range []string{network, multi} {
		if r := n.Ctr(t, "images", "pull", "--plain-http", "--skip-metadata", "--all-platforms", image); r.Status != 0 {
			t.Fatal(r.Output())
		}
	}
	out := n.install(t, 0, "--boot-image", network, "--boot-image", multi)
	for _, want := range []string{lab.PauseImage[:strings.LastIndex(lab.PauseImage, ":")] + "@sha256:", registry + "/network@sha256:", "needed to boot (a platform of sha256:"} {
		if !strings.Contains(out, want) {
			t.Errorf("what is pinned is not shown: %q\n%s", want, out)
		}
	}
	if got := strings.Count(out, "+    - image: "); got != 1+1+1+len(lab.Platforms(t, n.world.Registry+"/multi:1")) {
		t.Errorf("%d pins\n%s", got, out)
	}
	// As after a boot: nothing of it is there, and nobody has been asked yet.
	for _, image := range []string{network, multi} {
		n.CRI(t).RemoveImage(image)
	}
	n.Restart(t)
	cri := n.CRI(t)
	pod, err := cri.Pod("network")
	if err != nil {
		t.Fatalf("the pod, with the pause image: %v", err)
	}
	if err := cri.Pull(network); err != nil {
		t.Fatalf("the pinned image: %v", err)
	}
	if said, err := pod.Run("network", network); err != nil || said != "the network is up" {
		t.Errorf("the container said %q, %v", said, err)
	}
	if r := n.Ctr(t, "images", "pull", "--plain-http", "--skip-metadata", multi); r.Status != 0 {
		t.Errorf("the pinned index: %s", r.Output())
	}
	if err := cri.Pull(twin); err == nil || !strings.Contains(err.Error(), "rejected image (exit code 1): touchmark cannot decide: ") {
		t.Errorf("the twin: %v", err)
	}
	// Installing again keeps the pins, and so does the doctor that repairs.
	for _, further := range [][]string{{"--boot=false"}, nil} {
		if out := n.install(t, 0, further...); !strings.Contains(out, "nothing to change") {
			t.Errorf("installed again with %q:\n%s", further, out)
		}
	}
	pins := "/etc/touchmark/policy.d/containerd-boot.yaml"
	before := n.Root().Must(t, 0, "cat", pins).Stdout
	n.Root().Must(t, 0, "rm", lab.BinDir+"/touchmark-containerd")
	n.Root().Run(t, "touchmark", "doctor", "containerd", "--fix") // its status is about the agent, too
	n.Root().Must(t, 0, "test", "-x", lab.BinDir+"/touchmark-containerd")
	if after := n.Root().Must(t, 0, "cat", pins).Stdout; after != before {
		t.Errorf("the pins after a repair:\n%s\nwere\n%s", after, before)
	}
}

// All that a node runs can be confirmed at once.
func TestBootFromNode(t *testing.T) {
	n := newNode(t, lab.ContainerdSettings(3, ""))
	n.Start(t)
	n.LoadPause(t)
	if err := n.CRI(t).Pull(n.unsigned); err != nil {
		t.Fatal(err)
	}
	out := n.install(t, 0, "--boot-from-node")
	if !strings.Contains(out, n.world.Registry+"/unsigned@sha256:") || !strings.Contains(out, "was on the node when Touchmark was installed") {
		t.Errorf("printed\n%s", out)
	}
	if says := n.pull(t, n.unsigned); says != "" {
		t.Errorf("pinned: %s", says)
	}
	n.touchmark(t, 0, "uninstall", "containerd", "--yes")
}
