package proxy_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/integration/internal/lab"
)

// A containerd that has the manifest asks for layers alone. All replicas are killed while it pulls: the new ones know nothing of the image, and find it in the registry.
func TestReplicas_AllAreKilledWhileContainerdPulls(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	for _, c := range f.node().clients() {
		t.Run(c.name, func(t *testing.T) {
			var before []string
			dead := make(chan struct{})
			all := slices.Clone(f.replicas)
			f.balancer.reset(mark{layers * layerSize / 4, func() {
				before = f.balancer.requests()
				for _, r := range all {
					r.Kill()
				}
				close(dead)
			}})
			ended := make(chan string, 1)
			go func() {
				defer close(ended)
				ended <- c.pull(t)
			}()
			select {
			case <-dead:
				for i := range f.replicas {
					f.start(i)
				}
				if failed := <-ended; failed != "" {
					t.Fatal(failed)
				}
			case failed := <-ended:
				t.Fatalf("it ended before the replicas were killed: %s", failed)
			}
			after := f.balancer.requests()[len(before):]
			if !slices.ContainsFunc(before, ofManifest) || slices.ContainsFunc(after, ofManifest) || len(after) < layers/2 {
				t.Errorf("before the replicas were killed it asked for %q, and afterwards for %q", before, after)
			}
			c.forget(t)
		})
	}
	f.refuse()
}

// So does one that was interrupted long ago, or has lost its layers: it asks whether the tag is where it was, of one replica, and then for layers, of all of them.
func TestReplicas_ContainerdHasTheManifestAlone(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	n := f.node()
	for i, c := range n.clients() {
		t.Run(c.name, func(t *testing.T) {
			of := []string{namespace, "k8s.io"}[i]
			if failed := said(n.ctr(t, of, "content", "fetch", "--hosts-dir", lab.CertsD, signedImage)); failed != "" {
				t.Fatal(failed)
			}
			remove := []string{"content", "rm"}
			for _, l := range layersOf(t, f.signed) {
				remove = append(remove, l.Digest.String())
			}
			// A layer is there until garbage is collected, as it is when a lease ends.
			for _, args := range [][]string{remove, {"leases", "create", "--id", "any"}, {"leases", "delete", "--sync", "any"}} {
				if failed := said(n.ctr(t, of, args...)); failed != "" {
					t.Fatal(failed)
				}
			}
			for i := range f.replicas {
				f.restart(i)
			}
			f.balancer.reset()
			if failed := c.pull(t); failed != "" {
				t.Fatal(failed)
			}
			got := map[string]int{}
			for _, request := range f.balancer.requests() {
				got[request[:strings.LastIndex(request, "/")]]++
			}
			if got["HEAD /v2/web/manifests"] == 0 || got["GET /v2/web/manifests"] > 0 || got["GET /v2/web/blobs"] < layers {
				t.Errorf("it asked for %v", got)
			}
			c.forget(t)
		})
	}
}

func ofManifest(request string) bool { return strings.Contains(request, "/manifests/") }
