package containerd_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/touchmark/touchmark/integration/internal/lab"
)

// asPod pulls an image as a pod with imagePullSecrets has it pulled, by CRI, and by ctr with the same credentials, and returns what their users see.
func (h *host) asPod(t *testing.T, image string) (says map[string]string) {
	t.Helper()
	says = map[string]string{"ctr": h.ctr(t, image, "--hosts-dir", lab.CertsD, "--user", "robot:secret"), "CRI": ""}
	if err := h.cri.PullAs(image, &cri.AuthConfig{Username: "robot", Password: "secret"}); err != nil {
		says["CRI"] = err.Error()
	} else {
		h.cri.RemoveImage(image)
	}
	return says
}

// A registry that shows nothing without credentials, which the pod has and the node has not: that is said, and never that the image is unsigned. Each way out lets the
// signed image in, and none an unsigned one.
func TestPrivateRegistry(t *testing.T) {
	s := newSite(t)
	for repository, signer := range map[string]string{"app": alice, "unsigned": "", "elsewhere": ""} {
		s.push(t, repository, signer)
	}
	f := s.front(t)
	f.be(func(f *front) { f.password = "secret" })
	const image, unsigned = "registry.example/app:1", "registry.example/unsigned:1"
	auth := base64.StdEncoding.EncodeToString([]byte("robot:secret"))
	docker := fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, f.Host, auth)
	none := "touchmark cannot decide: no registry credentials on this node for " + f.Host

	for name, c := range map[string]struct {
		way  func(*testing.T, *host) // out
		ctr  bool                    // only ctr asks verifiers then
		gone bool                    // the unsigned image is refused as one that nobody can see
	}{
		"a file of ours":         {way: func(t *testing.T, h *host) { h.Write(t, "/etc/touchmark/containerd/auth.json", docker) }},
		"Docker's configuration": {way: func(t *testing.T, h *host) { h.Write(t, "/root/.docker/config.json", docker) }},
		"the kubelet's":          {way: func(t *testing.T, h *host) { h.Write(t, "/var/lib/kubelet/config.json", docker) }},
		"config.toml by which CRI asks nobody": {ctr: true, way: func(t *testing.T, h *host) {
			h.Write(t, lab.ContainerdConfig, fmt.Sprintf("version = 3\n[plugins.'io.containerd.cri.v1.images'.registry.configs.%q.auth]\n  username = 'robot'\n  password = 'secret'\n", f.Host))
			h.configure(t, s.policy, "containerd: {standalone: false, hosts: [/etc/containerd/certs.d]}")
			h.unserve()
			h.serve(t)
		}},
		"signatures where the policy says": {gone: true, way: func(t *testing.T, h *host) {
			lab.Touchmark(t, 0, "copy", "--insecure-skip-verify", s.Registry+"/app:1", s.Registry+"/signatures:1")
			text := strings.Replace(read(t, s.policy), "    keyless:\n", "    source: [{oci: \""+s.Registry+"/signatures\"}]\n    keyless:\n", 1)
			h.Write(t, "/etc/touchmark/policy.d/policy.yaml", text)
			h.unserve()
			h.serve(t)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := s.host(t, "containerd: {standalone: false}")
			h.hosts(t, "server = \"http://"+f.Host+"\"\n")
			h.boot(t)
			for client, says := range h.asPod(t, image) {
				if !strings.Contains(says, none) || strings.Contains(says, "is not signed") {
					t.Errorf("%s: without credentials of the node: %s", client, says)
				}
			}
			c.way(t, h)
			for client, says := range h.asPod(t, image) {
				if says != "" && (client == "ctr" || !c.ctr) {
					t.Errorf("%s: want it admitted: %s", client, says)
				}
			}
			for client, says := range h.asPod(t, unsigned) {
				if (client == "ctr" || !c.ctr) && !strings.Contains(says, "refused by touchmark: registry.example/unsigned is not signed") {
					t.Errorf("%s: an unsigned image: %s", client, says)
				}
			}
		})
	}
}

// The image is known by the name that the user typed, and evidence is looked for where hosts.toml leads: at a mirror with ?ns=, and at the server.
func TestMirrors(t *testing.T) {
	s := newSite(t)
	s.push(t, "app", alice)
	s.push(t, "unsigned", "")
	down := httptest.NewServer(http.NotFoundHandler())
	down.Close()
	empty := func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/v2/" {
			http.NotFound(w, r)
		}
		return r.URL.Path != "/v2/"
	}
	for name, c := range map[string]struct {
		trouble func(http.ResponseWriter, *http.Request) bool // of the mirror
		down    bool
	}{
		"a mirror that has it": {}, "a mirror that lacks it": {trouble: empty}, "a mirror without signatures": {trouble: func(w http.ResponseWriter, r *http.Request) bool {
			return evidence(r) && empty(w, r)
		}}, "a mirror that is down": {down: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := s.front(t)
			f.be(func(f *front) { f.trouble = c.trouble })
			mirror := "http://" + f.Host
			if c.down {
				mirror = down.URL
			}
			h := s.host(t, "containerd: {standalone: false}")
			h.hosts(t, fmt.Sprintf("server = %q\n[host.%q]\n  capabilities = ['pull', 'resolve', 'referrers']\n", "http://"+s.Registry, mirror))
			h.boot(t)
			h.admits(t, "registry.example/app:1")
			says := "refused by touchmark: registry.example/unsigned is not signed"
			if c.down { // nobody knows what is there
				says = "touchmark cannot decide: "
			}
			h.refuses(t, "registry.example/unsigned:1", says)
			for _, asked := range f.requests() {
				if !strings.Contains(asked, "ns=registry.example") && !strings.HasSuffix(asked, "/v2/") {
					t.Errorf("the mirror was asked %s", asked)
				}
			}
		})
	}
}

// The proxy as `server` decides itself, and its 403 is what the user sees; what it serves, the verifier admits by the evidence that the proxy shows. It is a way out for a
// private registry, too, since it has the credentials.
func TestProxyAsServer(t *testing.T) {
	s := newSite(t)
	s.push(t, "app", alice)
	s.push(t, "unsigned", "")
	f := s.front(t)
	f.be(func(f *front) { f.password = "secret" })
	h := s.host(t, "containerd: {standalone: false}")
	h.Write(t, "/root/.docker/config.json", fmt.Sprintf(`{"auths": {%q: {"username": "robot", "password": "secret"}}}`, f.Host))
	address := lab.FreeAddress(t)
	h.Root().Serve(t, "http://"+address+"/v2/", "proxy", "--upstream", "http://"+f.Host, "--name", "registry.example", "--listen", address,
		"--policy", "/etc/touchmark/policy.d", "--trusted-root", "private=/etc/touchmark/trust/private.json")
	h.hosts(t, "server = \"http://"+address+"\"\n")
	h.boot(t)
	h.admits(t, "registry.example/app:1")
	h.refuses(t, "registry.example/unsigned:1", "403 Forbidden", "denied: registry.example/unsigned is not signed")
}
