package containerd_test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/integration/internal/lab"
)

const alice, mallory = "alice@acme.example", "mallory@evil.example"

// site is a Sigstore, and a registry whose images alice must sign.
type site struct {
	*lab.World
	policy string
}

func newSite(t testing.TB) *site {
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

// push pushes an image that runs and says its name, signed by somebody or by nobody.
func (s *site) push(t testing.TB, repository, signer string) string {
	t.Helper()
	image := s.Registry + "/" + repository + ":1"
	coretest.Push(t, image, lab.Busybox(t, repository))
	s.sign(t, image, signer)
	return image
}

func (s *site) sign(t testing.TB, image, signer string, flags ...string) {
	t.Helper()
	if signer != "" {
		lab.Touchmark(t, 0, append(append([]string{"sign", "--server", s.Stack.URL, "--as", signer, "--trusted-root", s.Root}, flags...), image)...)
	}
}

// host makes a host with the site's policy and trust root.
func (s *site) host(t testing.TB, further string, options ...lab.Option) *host {
	t.Helper()
	return newHost(t, s.policy, map[string]string{"private": s.Root}, further, options...)
}

// front is a server before the site's registry, which can be in trouble.
type front struct {
	Host   string // and port
	behind http.Handler

	mu       sync.Mutex
	password string                                        // that it demands of robot; empty is none
	trouble  func(http.ResponseWriter, *http.Request) bool // answers in its place, if it reports true
	asked    []string                                      // "METHOD URL" of each request
}

func (s *site) front(t testing.TB) *front {
	t.Helper()
	f := &front{behind: httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: s.Registry})}
	server := httptest.NewServer(f)
	t.Cleanup(func() {
		server.CloseClientConnections() // those that are left hanging
		server.Close()
	})
	f.Host = strings.TrimPrefix(server.URL, "http://")
	return f
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.asked = append(f.asked, r.Method+" "+r.URL.String())
	password, trouble := f.password, f.trouble
	f.mu.Unlock()
	if user, got, _ := r.BasicAuth(); password != "" && (user != "robot" || got != password) {
		w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
		http.Error(w, `{"errors":[{"code":"UNAUTHORIZED"}]}`, http.StatusUnauthorized)
		return
	}
	if trouble == nil || !trouble(w, r) {
		f.behind.ServeHTTP(w, r)
	}
}

// be changes what is wrong with the server.
func (f *front) be(change func(*front)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

// requests are those that were made.
func (f *front) requests() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.asked...)
}

// evidence reports whether a request looks for signatures.
func evidence(r *http.Request) bool {
	return strings.Contains(r.URL.Path, "/referrers/") || strings.Contains(r.URL.Path, "/manifests/sha256-")
}

// hosts writes the hosts.toml of registry.example.
func (h *host) hosts(t testing.TB, text string) {
	t.Helper()
	h.Write(t, lab.CertsD+"/registry.example/hosts.toml", text)
}
