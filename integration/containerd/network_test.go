package containerd_test

import (
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/integration/internal/lab"
)

// isolated makes a host with a network of its own, from where the registry can be reached.
func (s *site) isolated(t *testing.T) *host {
	t.Helper()
	h := s.host(t, "", lab.OwnNetwork)
	h.Forward(t, s.Registry)
	return h
}

// A signed image that CRI pulled runs in pods with addresses of their own, which CNI's bridge gave them and by which they reach each other; its unsigned twin neither
// gets pulled nor runs.
func TestPodsOnBridge(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	signed, unsigned := s.push(t, "signed", alice), s.push(t, "unsigned", "")
	h := s.isolated(t)
	h.CNI(t)
	h.boot(t)
	h.LoadPause(t)
	if err := h.cri.Pull(signed); err != nil {
		t.Fatalf("the signed image: %v", err)
	}
	pods, addresses := map[string]*lab.Pod{}, map[string]string{}
	for _, name := range []string{"server", "client"} {
		pod, err := h.cri.PodOnBridge(name)
		if err == nil {
			addresses[name], err = pod.Address()
		}
		if err != nil {
			t.Fatalf("pod %s: %v\n%s", name, err, h.Log())
		}
		pods[name] = pod
	}
	if addresses["server"] == "" || addresses["server"] == addresses["client"] {
		t.Fatalf("the pods' addresses are %v", addresses)
	}
	id, err := pods["server"].Create("web", signed, "/bin/busybox", "sleep", "3600")
	if err == nil {
		err = h.cri.Start(id)
	}
	if err == nil {
		_, err = h.cri.Exec(id, "/bin/busybox", "httpd", "-p", "8080", "-h", "/") // it listens once that has returned
	}
	if err != nil {
		t.Fatal(err)
	}
	const get = "/bin/busybox wget -q -T 20 -O - http://"
	if said, err := pods["client"].Run("asks", signed, strings.Fields(get+addresses["server"]+":8080/message")...); err != nil || said != "signed" {
		t.Errorf("one pod got %q from the other, %v", said, err)
	}
	// A pod is where it seems to be: nobody serves on its own loopback.
	if said, err := pods["client"].Run("itself", signed, strings.Fields(get+"127.0.0.1:8080/message")...); err != nil || said != "wget: can't connect to remote host (127.0.0.1): Connection refused\n" {
		t.Errorf("a pod got %q from itself, %v", said, err)
	}

	h.refuses(t, unsigned, "refused by touchmark: ", "is not signed")
	if said, err := pods["client"].Run("unsigned", unsigned); err == nil {
		t.Errorf("the unsigned image ran, and said %q", said)
	} else if !strings.Contains(err.Error(), "not found") {
		t.Errorf("running the unsigned image: %v", err)
	}
}

// A host that cannot reach the evidence says so, never that an image is unsigned, and admits the image once the network is back.
func TestCTRD12_NoNetwork(t *testing.T) {
	s := newSite(t)
	image := s.push(t, "app", alice)
	const cannot = "rejected image (exit code 1): touchmark cannot decide: "
	for name, c := range map[string]struct {
		agent bool
		// cut takes the network away, before a pull; the returned function brings it back.
		cut  func(*testing.T, *host) (back func())
		says []string
	}{
		"before the pull": {agent: true, cut: func(t *testing.T, h *host) func() {
			h.Disconnect(t)
			return func() { h.Connect(t) }
		}, says: []string{"connect: network is unreachable"}}, // containerd's own words: it has no digest to ask verifiers about
		"after the name was resolved":              {agent: true, cut: amid, says: []string{cannot, "connect: network is unreachable"}},
		"after the name was resolved and no agent": {cut: amid, says: []string{cannot, "connect: network is unreachable"}},
		"evidence is elsewhere": {agent: true, cut: func(t *testing.T, h *host) func() {
			evidence := coretest.NewRegistry(t, true)
			lab.Touchmark(t, 0, "copy", "--insecure-skip-verify", s.Registry+"/app:1", evidence+"/signatures:1")
			text := strings.Replace(read(t, s.policy), "    keyless:\n", "    source: [{oci: \""+evidence+"/signatures\"}]\n    keyless:\n", 1)
			h.Write(t, "/etc/touchmark/policy.d/policy.yaml", text)
			h.unserve()
			h.serve(t)
			return func() { h.Forward(t, evidence) }
		}, says: []string{cannot, "connect: connection refused"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := s.isolated(t)
			h.boot(t)
			if !c.agent {
				h.unserve()
			}
			for _, client := range clients {
				back := c.cut(t, h)
				says := h.pull(t, client, image)
				back()
				for _, want := range c.says {
					if !strings.Contains(says, want) {
						t.Errorf("%s: want a refusal that says\n%s\nhave\n%s", client, want, says)
					}
				}
				if strings.Contains(says, "is not signed") {
					t.Errorf("%s: no network was taken for no signature: %s", client, says)
				}
			}
			h.admits(t, image)
		})
	}
}

// amid takes the network away when the verifiers get asked: what is asked before ours does it.
func amid(t *testing.T, h *host) (back func()) {
	t.Helper()
	h.Script(t, lab.BinDir+"/a", "#!/bin/sh\n"+lab.Disconnect+"\n")
	return func() {
		h.Root().Must(t, 0, "rm", lab.BinDir+"/a")
		h.Connect(t)
	}
}
