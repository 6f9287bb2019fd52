package lab_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/integration/internal/lab"
)

// A host with a network of its own reaches a server outside exactly while that is forwarded, and while it has a network at all.
func TestOwnNetwork(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello")) }))
	defer server.Close()
	h := lab.NewHost(t, lab.Debian13, lab.OwnNetwork)
	get := func(want string) {
		t.Helper()
		r := h.Root().Run(t, "busybox", "wget", "-q", "-O", "-", server.URL)
		if (r.Status == 0) != (want == "hello") || !strings.Contains(r.Output(), want) {
			t.Errorf("have %s, want %s", r.Output(), want)
		}
	}
	get("Connection refused")
	f := h.Forward(t, strings.TrimPrefix(server.URL, "http://"))
	get("hello")
	h.Disconnect(t)
	get("Network is unreachable")
	h.Connect(t)
	get("hello")
	f.Close()
	get("Connection refused")
	h.Forward(t, strings.TrimPrefix(server.URL, "http://"))
	get("hello")
}

// Pods on a bridge have addresses of their own, and nothing of that is in this machine's network.
func TestCNI(t *testing.T) {
	t.Parallel()
	c := lab.NewContainerd(t, lab.OwnNetwork)
	c.CNI(t)
	c.Write(t, lab.ContainerdConfig, lab.ContainerdSettings(3, ""))
	c.Start(t)
	c.LoadPause(t)
	k := c.CRI(t)
	bridged, err := k.PodOnBridge("bridged")
	if err != nil {
		t.Fatalf("%v\n%s", err, c.Log())
	}
	if address, err := bridged.Address(); err != nil || !strings.HasPrefix(address, "10.88.0.") {
		t.Errorf("the pod has the address %q, %v", address, err)
	}
	c.Root().Must(t, 0, "busybox", "ip", "link", "show", lab.Bridge)
	if _, err := net.InterfaceByName(lab.Bridge); err == nil {
		t.Error("the bridge is in this machine's network")
	}
	plain, err := k.Pod("plain")
	if err != nil {
		t.Fatal(err)
	}
	if address, err := plain.Address(); err != nil || address != "" {
		t.Errorf("a pod with the host's network has the address %q, %v", address, err)
	}
}
