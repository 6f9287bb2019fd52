package containerd_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/integration/internal/lab"
)

const alice, mallory = "alice@acme.example", "mallory@evil.example"

// ours is a bin_dir with the verifier alone.
func ours() map[string]string { return map[string]string{"touchmark-containerd": verifier} }

// site is a Sigstore, and a registry whose images alice must sign.
type site struct {
	*lab.World
	policy string
}

func newSite(t *testing.T) *site {
	t.Helper()
	w := lab.New(t, true)
	s := &site{World: w, policy: w.Policy(t)}
	// Images of this name are in the same registry, for whoever has a hosts.toml.
	text := strings.Replace(read(t, s.policy), "images: [", `images: [{glob: "registry.example/**"}, `, 1)
	if err := os.WriteFile(s.policy, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// push pushes an image that runs, signed by somebody or by nobody.
func (s *site) push(t *testing.T, repository, signer string) string {
	t.Helper()
	image := s.Registry + "/" + repository + ":1"
	coretest.Push(t, image, lab.Busybox(t, repository))
	s.sign(t, image, signer)
	return image
}

func (s *site) sign(t *testing.T, image, signer string) {
	t.Helper()
	if signer != "" {
		lab.Touchmark(t, 0, "sign", "--server", s.Stack.URL, "--as", signer, "--trusted-root", s.Root, image)
	}
}

func TestCTRD01_Pull(t *testing.T) {
	s := newSite(t)
	signed, unsigned, wrong := s.push(t, "signed", alice), s.push(t, "unsigned", ""), s.push(t, "wrong", mallory)
	index := s.Image(t, "index", 7)
	s.sign(t, index, alice)
	n := configure(t, s.policy, s.Root, "containerd: {standalone: false}")
	stop := n.agent(t)
	n.containerd(t, ours())

	n.admits(t, signed, "--plain-http")
	n.admits(t, index, "--plain-http", "--skip-metadata", "--all-platforms")
	n.refuses(t, unsigned, "image verifier bindir blocked pull of "+unsigned, "--plain-http")
	n.refuses(t, unsigned, "rejected image (exit code 1): refused by touchmark: ", "--plain-http")
	n.refuses(t, wrong, mallory, "--plain-http")

	t.Run("the image runs", func(t *testing.T) {
		r := lab.Command{Program: n.ctr, Env: []string{"PATH=" + n.path("bin") + ":" + os.Getenv("PATH")}}.Run(t,
			"-a", n.path("c.sock"), "run", "--rm", "--net-host", signed, "one")
		if r.Status != 0 || !strings.Contains(r.Stdout, "signed") {
			t.Errorf("status %d\n%s", r.Status, r.Output())
		}
	})
	t.Run("without the agent", func(t *testing.T) {
		stop()
		n.refuses(t, signed, "touchmark cannot decide: asking the agent at "+n.path("agent.sock"), "--plain-http")
		n.agent(t)
		n.admits(t, signed, "--plain-http")
	})
}

// Without an agent the command decides; an unsigned image is refused all the same.
func TestCTRD05_Alone(t *testing.T) {
	s := newSite(t)
	signed, unsigned := s.push(t, "signed", alice), s.push(t, "unsigned", "")
	n := configure(t, s.policy, s.Root, "")
	// A copy, which does not lie beside touchmark as what a link leads to does.
	n.write(t, "touchmark-containerd", read(t, verifier))
	if err := os.Chmod(n.path("touchmark-containerd"), 0o755); err != nil {
		t.Fatal(err)
	}
	n.containerd(t, map[string]string{"touchmark-containerd": n.path("touchmark-containerd")})
	n.admits(t, signed, "--plain-http")
	n.refuses(t, unsigned, "refused by touchmark: ", "--plain-http")
	if err := os.Remove(n.path("bin/touchmark")); err != nil {
		t.Fatal(err)
	}
	n.refuses(t, signed, "and without it: finding program touchmark", "--plain-http")
}

// The image is known by the name that the user typed, and evidence is looked for
// where hosts.toml leads.
func TestMirror(t *testing.T) {
	s := newSite(t)
	s.push(t, "app", alice)
	s.push(t, "unsigned", "")
	var mu sync.Mutex
	var asked []string
	empty := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/" {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, r.URL.Query().Get("ns"))
		http.NotFound(w, r)
	}))
	defer empty.Close()
	n := configure(t, s.policy, s.Root, "containerd: {hosts: [certs.d], standalone: false}")
	n.write(t, "certs.d/registry.example/hosts.toml", `server = "http://`+s.Registry+`"
[host."`+empty.URL+`"]
  capabilities = ["pull", "resolve"]
`)
	n.agent(t)
	n.containerd(t, ours())
	n.admits(t, "registry.example/app:1", "--hosts-dir", n.path("certs.d"))
	n.refuses(t, "registry.example/unsigned:1", "refused by touchmark: ", "--hosts-dir", n.path("certs.d"))
	mu.Lock()
	defer mu.Unlock()
	if len(asked) == 0 || asked[0] != "registry.example" {
		t.Errorf("the mirror was asked with ?ns= %q", asked)
	}
}

// A verifier that dies is no admission, whichever way (CTRD-08).
func TestCTRD08_Dies(t *testing.T) {
	s := newSite(t)
	signed := s.push(t, "signed", alice)
	n := configure(t, s.policy, s.Root, "")
	n.write(t, "killed", "#!/bin/sh\nkill -9 $$\n")
	n.write(t, "garbage", "\x7fELF")
	for _, f := range []string{"killed", "garbage"} {
		if err := os.Chmod(n.path(f), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	n.agent(t)
	n.containerd(t, ours())
	n.admits(t, signed, "--plain-http")
	for f, says := range map[string]string{"killed": "signal: killed", "garbage": "exec format error"} {
		if err := os.Symlink(n.path(f), n.path("verifiers/a")); err != nil {
			t.Fatal(err)
		}
		n.refuses(t, signed, says, "--plain-http")
		if err := os.Remove(filepath.Join(n.dir, "verifiers/a")); err != nil {
			t.Fatal(err)
		}
	}
}

// An image that the registry shows to nobody without credentials, of which the node
// has none, is not called unsigned; with a file of them it is admitted.
func TestPrivateRegistry(t *testing.T) {
	s := newSite(t)
	s.push(t, "app", alice)
	behind := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: s.Registry})
	private := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "robot" || password != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED"}]}`, http.StatusUnauthorized)
			return
		}
		behind.ServeHTTP(w, r)
	}))
	defer private.Close()
	registry := strings.TrimPrefix(private.URL, "http://")
	n := configure(t, s.policy, s.Root, "containerd: {hosts: [certs.d], standalone: false}")
	n.write(t, "certs.d/registry.example/hosts.toml", "server = \"http://"+registry+"\"\n")
	n.agent(t)
	n.containerd(t, ours())
	flags := []string{"--hosts-dir", n.path("certs.d"), "--user", "robot:secret"}
	n.refuses(t, "registry.example/app:1", "touchmark cannot decide: no registry credentials on this node for "+registry, flags...)
	n.write(t, "containerd/auth.json", fmt.Sprintf(`{"auths": {%q: {"auth": "cm9ib3Q6c2VjcmV0"}}}`, registry))
	n.admits(t, "registry.example/app:1", flags...)
}

// A decision that takes too long is ended before containerd kills the verifier, and
// the reason says what was slow (CTRD-04).
func TestCTRD04_Slow(t *testing.T) {
	s := newSite(t)
	signed := s.push(t, "signed", alice)
	n := configure(t, s.policy, s.Root, "")
	l, err := net.Listen("unix", n.path("agent.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // it accepts nobody
	n.containerd(t, ours())
	n.refuses(t, signed, "rejected image (exit code 1): touchmark cannot decide: no answer within 9s from the decision about ", "--plain-http")
}
