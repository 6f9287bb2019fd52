package registryproxy

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/gate"
)

const (
	secretUser     = "robot"
	secretPassword = "hunter2-hunter2"
	secretToken    = "tok3n-tok3n-tok3n"
)

// keychain gives credentials to one host and remembers who else asked.
type keychain struct {
	host  string
	mu    sync.Mutex
	asked []string
}

func (k *keychain) Resolve(r authn.Resource) (authn.Authenticator, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked = append(k.asked, r.RegistryStr())
	if r.RegistryStr() != k.host {
		return authn.Anonymous, nil
	}
	return &authn.Basic{Username: secretUser, Password: secretPassword}, nil
}

// withAuth makes the upstream ask for a token of its own realm; answer may change the challenge.
func (l *lab) withAuth(challenge func(realm string) string) *tokenService {
	s := &tokenService{valid: map[string]bool{}}
	l.setLie(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/service/token" {
			s.serve(w, r)
			return true
		}
		if !s.ok(r) {
			w.Header().Set("WWW-Authenticate", challenge(l.upstream.URL+"/service/token"))
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprintf(w, `{"errors":[{"code":"UNAUTHORIZED","message":"who are you, %s?"}]}`, secretToken)
			return true
		}
		return false
	})
	return s
}

type tokenService struct {
	mu     sync.Mutex
	issued int
	scopes []string
	valid  map[string]bool
}

func (s *tokenService) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	user, password, _ := r.BasicAuth()
	if user != secretUser || password != secretPassword {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	s.scopes = append(s.scopes, r.URL.Query()["scope"]...)
	s.issued++
	token := fmt.Sprintf("%s-%d", secretToken, s.issued)
	s.valid = map[string]bool{"Bearer " + token: true}
	json.NewEncoder(w).Encode(map[string]string{"token": token})
}

func (s *tokenService) ok(r *http.Request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.valid[r.Header.Get("Authorization")]
}

func (s *tokenService) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.valid = map[string]bool{}
}

func newAuthLab(t *testing.T) (*lab, v1.Image) {
	var k keychain
	l := newLab(t, withConfig(func(c *Config) {
		k.host = strings.TrimPrefix(c.Upstream, "http://")
		c.Keychain = &k
	}))
	img := l.pushImage("app:v1")
	l.admitter.sign(digestOf(t, img))
	return l, img
}

func TestPX15_TokensAreForPullingOneRepository(t *testing.T) {
	l, img := newAuthLab(t)
	s := l.withAuth(func(realm string) string {
		return fmt.Sprintf(`Bearer realm=%q,service="registry",scope="repository:app:pull,push,delete registry:catalog:*"`, realm)
	})
	l.want(l.get("/v2/app/manifests/v1"), http.StatusOK, "")
	l.want(l.get("/v2/app/blobs/"+layerDigests(t, img)[0].String()), http.StatusOK, "")
	s.expire() // a token that has run out is renewed within the request
	l.clock.Advance(tagFresh)
	l.want(l.get("/v2/app/manifests/v1"), http.StatusOK, "")
	if s.issued != 2 {
		t.Errorf("%d tokens were issued", s.issued)
	}
	for _, scope := range s.scopes {
		if scope != "repository:app:pull" {
			t.Errorf("a token was asked for with scope %q", scope)
		}
	}
}

func TestPX15_RealmsElsewhereGetNothing(t *testing.T) {
	caught := make(chan *http.Request, 100)
	thief := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caught <- r
		json.NewEncoder(w).Encode(map[string]string{"token": "x"})
	}))
	defer thief.Close()
	var keys keychain
	l := newLab(t, withConfig(func(c *Config) {
		keys.host = strings.TrimPrefix(c.Upstream, "http://")
		c.Keychain = &keys
		c.Transport = &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	}))
	l.admitter.sign(digestOf(t, l.pushImage("app:v1")))
	for _, realm := range []string{
		thief.URL + "/token",
		strings.Replace(thief.URL, "https:", "http:", 1),
		strings.Replace(thief.URL, "127.0.0.1", "localhost", 1),
		strings.Replace(thief.URL, "127.0.0.1", "[::ffff:127.0.0.1]", 1),
		strings.Replace(thief.URL, "https://", "https://"+strings.TrimPrefix(l.upstream.URL, "http://")+"@", 1),
		"http://169.254.169.254/latest/meta-data/",
		"https://auth.docker.io/token",
		"file:///etc/passwd",
		"gopher://127.0.0.1:70/",
		"https://registry.acme.example.evil.example/",
		"",
		"://",
	} {
		l.withAuth(func(string) string { return fmt.Sprintf(`Bearer realm=%q,service="registry"`, realm) })
		r := l.get("/v2/app/manifests/v1")
		if r.StatusCode != 502 && r.StatusCode != 503 {
			t.Errorf("realm %s: got %d %s", realm, r.StatusCode, r.body)
		}
	}
	if len(caught) != 0 {
		r := <-caught
		t.Errorf("a request reached the other host: %s %v", r.URL, r.Header)
	}
	// The twin: the same host, named in the configuration.
	host := strings.Replace(strings.TrimPrefix(thief.URL, "https://"), "127.0.0.1", "localhost", 1)
	l.proxy.upstream.guard.tokenHosts[host] = true
	l.withAuth(func(string) string { return fmt.Sprintf(`Bearer realm="https://%s/token"`, host) })
	l.get("/v2/app/manifests/v1")
	if len(caught) == 0 {
		t.Error("a configured token service was not asked")
	}
}

func TestPX16_Redirects(t *testing.T) {
	l, img := newAuthLab(t)
	layer := layerDigests(t, img)[0]
	rc, err := mustLayer(t, img, layer).Compressed()
	if err != nil {
		t.Fatal(err)
	}
	blobBytes, err := io.ReadAll(rc)
	if err != nil {
		t.Fatal(err)
	}
	var leaked []string
	storage := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, h := range []string{"Authorization", "Cookie", "Referer"} {
			if r.Header.Get(h) != "" {
				leaked = append(leaked, h)
			}
		}
		w.Write(blobBytes)
	}))
	defer storage.Close()
	redirect := func(target string) {
		l.setLie(func(w http.ResponseWriter, r *http.Request) bool {
			switch {
			case r.URL.Path == "/service/token":
				json.NewEncoder(w).Encode(map[string]string{"token": secretToken})
			case r.Header.Get("Authorization") == "":
				w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/service/token"`, l.upstream.URL))
				w.WriteHeader(http.StatusUnauthorized)
			case strings.Contains(r.URL.Path, "/blobs/"), strings.HasPrefix(r.URL.Path, "/loop"):
				http.Redirect(w, r, target, http.StatusTemporaryRedirect)
			case r.URL.Path == "/same-host":
				w.Write(blobBytes)
			default:
				return false
			}
			return true
		})
	}
	path := "/v2/app/blobs/" + layer.String()
	start := func(transport http.RoundTripper) {
		l.start(Config{Upstream: l.upstream.URL, LogicalName: "registry.acme.example", Admitter: l.admitter, Transport: transport, Keychain: l.proxy.upstream.keychain, Logger: l.proxy.logger})
	}
	trusting := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}

	start(trusting)
	redirect(storage.URL + "/bucket?X-Signature=" + secretToken)
	l.want(l.get(path), http.StatusOK, "")
	if len(leaked) != 0 {
		t.Errorf("the storage got %v", leaked)
	}
	redirect("/same-host")
	l.want(l.get(path), http.StatusOK, "")
	for _, target := range []string{
		strings.Replace(storage.URL, "https:", "http:", 1),
		"/loop",
		"file:///etc/passwd",
		"https://user:password@" + strings.TrimPrefix(storage.URL, "https://"),
	} {
		redirect(target)
		if r := l.get(path); r.StatusCode != http.StatusBadGateway && r.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("redirect to %s: got %d", target, r.StatusCode)
		}
	}
	if n := l.seen("/loop"); n > maxRedirects {
		t.Errorf("%d redirects were followed", n)
	}
	// The transport that is used outside tests does not go to local addresses, whatever they are called.
	start(nil)
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "[::1]", "0.0.0.0", "169.254.169.254", "[fe80::1]"} {
		_, port, _ := strings.Cut(strings.TrimPrefix(storage.URL, "https://"), ":")
		redirect("https://" + host + ":" + port + "/")
		if r := l.want(l.get(path), http.StatusBadGateway, codeUnknown); !strings.Contains(r.message(), "address") {
			t.Errorf("%s: %s", host, r.message())
		}
	}
}

func mustLayer(t *testing.T, img v1.Image, digest v1.Hash) v1.Layer {
	t.Helper()
	layer, err := img.LayerByDigest(digest)
	if err != nil {
		t.Fatal(err)
	}
	return layer
}

func TestPX17_NothingOfTheClientGoesUpAndNoCredentialComesDown(t *testing.T) {
	l, img := newAuthLab(t)
	s := l.withAuth(func(realm string) string { return fmt.Sprintf(`Bearer realm=%q,service="registry"`, realm) })
	l.seen("")
	blob := "/v2/app/blobs/" + layerDigests(t, img)[0].String()
	client := []string{
		"Authorization", "Basic Y2xpZW50OmNsaWVudA==", "Cookie", "session=client", "X-Forwarded-For", "198.51.100.7", "X-Real-IP", "198.51.100.7",
		"Forwarded", "for=198.51.100.7", "User-Agent", "client/1", "Via", "client", "If-None-Match", `"x"`, "Accept", "text/client", "X-Registry-Auth", "client",
		"Connection", "X-Custom", "X-Custom", "client",
	}
	var replies []reply
	for _, path := range []string{"/v2/", "/v2/app/manifests/v1", blob, "/v2/app/tags/list", "/v2/app/referrers/" + digestOf(t, img).String(), "/v2/none/manifests/v1"} {
		replies = append(replies, l.get(path, client...), l.do(http.MethodHead, path, client...))
	}
	s.mu.Lock()
	s.valid = map[string]bool{}
	s.mu.Unlock()
	l.setLie(func(w http.ResponseWriter, r *http.Request) bool { // now everything is forbidden, and the answers quote the secrets
		w.Header().Set("X-Secret", secretPassword)
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, `{"errors":[{"code":"DENIED","message":"%s %s %s"}]}`, secretUser, secretPassword, r.Header.Get("Authorization"))
		return true
	})
	replies = append(replies, l.get("/v2/app/manifests/v1", client...))
	l.restart()
	replies = append(replies, l.get("/v2/app/manifests/v1", client...))
	for _, r := range replies {
		all := string(r.body) + fmt.Sprint(r.Header)
		for _, secret := range []string{secretPassword, secretToken, "hunter2", "Y2xpZW50"} {
			if strings.Contains(all, secret) {
				t.Errorf("%s is in an answer: %s", secret, all)
			}
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, h := range l.headers {
		all := fmt.Sprint(h)
		for _, mark := range []string{"client", "Y2xpZW50", "198.51.100.7", "Via", "X-Custom"} {
			if strings.Contains(strings.ReplaceAll(all, "go-containerregistry", ""), mark) {
				t.Errorf("request %d: %s reached the upstream: %s", i, mark, all)
			}
		}
	}
	for _, secret := range []string{secretPassword, secretToken, "Basic ", "Bearer "} {
		if strings.Contains(l.logs.String(), secret) {
			t.Errorf("%q is in the log", secret)
		}
	}
}

func TestWrongCredentialsAreTheProxysTrouble(t *testing.T) {
	l := newLab(t)
	l.pushImage("app:v1")
	l.withAuth(func(realm string) string { return fmt.Sprintf(`Bearer realm=%q`, realm) }) // anonymous gets no token
	r := l.want(l.get("/v2/app/manifests/v1"), http.StatusBadGateway, codeUnknown)
	if !strings.Contains(r.message(), "does not let this proxy") {
		t.Errorf("message is %q", r.message())
	}
	l.setLie(func(w http.ResponseWriter, r *http.Request) bool {
		if _, _, ok := r.BasicAuth(); ok {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	l.want(l.get("/v2/app/manifests/v1"), http.StatusBadGateway, codeUnknown)
}

func TestNewRefusesWhatItCannotMean(t *testing.T) {
	for _, c := range []struct{ name, upstream, logical, want string }{
		{"empty", "", "", "upstream"},
		{"no scheme", "registry.example", "", "upstream"},
		{"other scheme", "ftp://registry.example", "", "upstream"},
		{"credentials", "https://u:p@registry.example", "", "more than scheme"},
		{"path", "https://registry.example/v2/", "", "more than scheme"},
		{"query", "https://registry.example?x", "", "more than scheme"},
		{"logical name with a path", "https://registry.example", "a.example/b", ""},
		{"logical name that is a repository", "https://registry.example", "library", "logical name"},
		{"logical name of Docker Hub in another form", "https://registry-1.docker.io", "index.docker.io", "logical name"},
		{"logical name with a tag", "https://registry.example", "a.example/b:c", "logical name"},
	} {
		_, err := New(Config{Upstream: c.upstream, LogicalName: c.logical, Admitter: &script{}})
		if c.want == "" {
			continue // a prefix is a fine logical name
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "u:p") {
			t.Errorf("%s: got %v, want an error with %q", c.name, err, c.want)
		}
	}
	if _, err := New(Config{Upstream: "https://registry.example"}); err == nil {
		t.Error("no admitter is fine")
	}
	for upstream, want := range map[string]string{
		"https://registry.example":      "registry.example",
		"https://Registry.Example:5000": "registry.example:5000",
		"https://registry-1.docker.io":  "docker.io",
		"https://index.docker.io/":      "docker.io",
		"https://docker.io":             "docker.io",
		"http://127.0.0.1:5000":         "127.0.0.1:5000",
	} {
		p, err := New(Config{Upstream: upstream, Admitter: &script{}})
		if err != nil || p.registry != want {
			t.Errorf("%s: logical name %v, %v", upstream, p, err)
		}
	}
}

func TestDockerHubNames(t *testing.T) {
	l := newLab(t, withConfig(func(c *Config) { c.LogicalName = "docker.io" }))
	img := l.pushImage("library/alpine:3")
	l.admitter.sign(digestOf(t, img))
	l.want(l.get("/v2/alpine/manifests/3?ns=docker.io"), http.StatusOK, "")
	l.want(l.get("/v2/library/alpine/manifests/3"), http.StatusOK, "")
	for _, q := range l.admitter.questions() {
		if q.Repository != "docker.io/library/alpine" {
			t.Errorf("the gate was asked about %s", q.Repository)
		}
	}
	l.admitter.answer(digestOf(t, img), gate.Verdict{Outcome: gate.OutcomeRefused, Reason: "asked " + l.upstream.URL + "/v2/"})
	r := l.get("/v2/alpine/manifests/3")
	if u, _ := url.Parse(l.upstream.URL); strings.Contains(string(r.body), u.Host) {
		t.Errorf("the upstream's address is in %s", r.body)
	}
}
