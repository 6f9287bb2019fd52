package registryproxy

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/touchmark/touchmark/registry-proxy/auth"
)

// private makes the lab's upstream a registry that alice alone may read: anybody else's credentials are refused, and where
// there are none it asks for them.
func (l *lab) private(challenge string) {
	l.setLie(func(w http.ResponseWriter, r *http.Request) bool {
		switch r.Header.Get("Authorization") {
		case "Bearer alice":
			return false
		case "Bearer bob":
			http.Error(w, `{"errors":[{"code":"DENIED"}]}`, http.StatusForbidden)
		default:
			w.Header().Set("WWW-Authenticate", strings.ReplaceAll(challenge, "UPSTREAM", l.upstream.URL))
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED"}]}`, http.StatusUnauthorized)
		}
		return true
	})
}

const ownRealm = `Bearer realm="UPSTREAM/token",service="registry",scope="repository:evil:push"`

func passedThrough(t *testing.T) *lab {
	l := newLab(t, withConfig(func(c *Config) { c.PassThrough = true }))
	clients, err := auth.New(auth.Config{})
	if err != nil {
		t.Fatal(err)
	}
	l.behind(FrontConfig{Mounts: []*Mount{{Proxy: l.proxy}}, Clients: clients})
	return l
}

// PX-17: the upstream's own rights hold, whatever somebody else was given before.
func TestPX17_NobodyGetsWhatTheUpstreamRefuses(t *testing.T) {
	l := passedThrough(t)
	img, unsigned := l.pushImage("app:v1"), l.pushImage("app:bad")
	index := l.pushIndex("app:multi")
	l.admitter.sign(digestOf(t, img), digestOf(t, index))
	l.private(ownRealm)
	alice, bob := []string{"Authorization", "Bearer alice"}, []string{"Authorization", "Bearer bob"}
	paths := []string{
		"/v2/app/manifests/v1", "/v2/app/manifests/" + digestOf(t, img).String(), "/v2/app/blobs/" + layerDigests(t, img)[0].String(),
		"/v2/app/tags/list", "/v2/app/referrers/" + digestOf(t, img).String(), "/v2/app/manifests/multi",
		"/v2/app/manifests/" + children(t, index)[0].String(),
	}
	refusedPaths := []string{"/v2/app/manifests/bad", "/v2/app/blobs/" + layerDigests(t, unsigned)[0].String()}
	for range 2 {
		for _, path := range paths {
			for _, method := range []string{"GET", "HEAD"} {
				if r := l.do(method, path, alice...); r.StatusCode != http.StatusOK {
					t.Errorf("alice: %s %s: %d %s", method, path, r.StatusCode, r.body)
				}
			}
		}
		for _, path := range refusedPaths {
			l.want(l.get(path, alice...), http.StatusForbidden, codeDenied)
		}
		for _, path := range append(paths, refusedPaths...) {
			for _, method := range []string{"GET", "HEAD"} {
				r := l.do(method, path, bob...)
				if r.StatusCode != http.StatusForbidden || method == "GET" && r.code() != codeDenied || strings.Contains(string(r.body), "detail") || strings.Contains(string(r.body), "signed by") {
					t.Errorf("bob: %s %s: %d %s", method, path, r.StatusCode, r.body)
				}
				r = l.do(method, path)
				want := fmt.Sprintf(`Bearer realm="%s/token",service="registry",scope="repository:app:pull"`, l.upstream.URL)
				if got := r.Header.Get("WWW-Authenticate"); r.StatusCode != http.StatusUnauthorized || got != want {
					t.Errorf("nobody: %s %s: %d, challenge %s, want %s", method, path, r.StatusCode, got, want)
				}
			}
		}
	}
}

// PX-17: of a client's header, Authorization alone goes to the upstream, and that of one client only with its own request.
func TestPX17_OnlyAuthorizationIsPassedThrough(t *testing.T) {
	l := passedThrough(t)
	img := l.pushImage("app:v1")
	l.admitter.sign(digestOf(t, img))
	l.private(ownRealm)
	l.seen("")
	for range 2 {
		l.want(l.get("/v2/app/manifests/v1", "Authorization", "Bearer alice", "Cookie", "session=secret", "X-Forwarded-For", "10.0.0.1", "X-Registry-Auth", "secret",
			"Proxy-Authorization", "Basic c2VjcmV0", "User-Agent", "evil", "Accept", "application/evil"), http.StatusOK, "")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.headers) == 0 {
		t.Fatal("the upstream was not asked")
	}
	for i, h := range l.headers {
		text := fmt.Sprint(h)
		if strings.Contains(text, "secret") || strings.Contains(text, "10.0.0.1") || strings.Contains(text, "evil") {
			t.Errorf("%s had %s", l.requests[i], text)
		}
	}
	if strings.Contains(l.logs.String(), "Bearer") {
		t.Error("credentials are in the log")
	}
}

// Two callers who ask at the same time share nothing.
func TestPX17_NoSharedFlights(t *testing.T) {
	l := passedThrough(t)
	img := l.pushImage("app:v1")
	l.admitter.sign(digestOf(t, img))
	l.private(ownRealm)
	l.admitter.block = make(chan struct{})
	var group sync.WaitGroup
	statuses := map[string]int{}
	var mu sync.Mutex
	for _, who := range []string{"alice", "bob"} {
		group.Go(func() {
			r := l.get("/v2/app/manifests/v1", "Authorization", "Bearer "+who)
			mu.Lock()
			defer mu.Unlock()
			statuses[who] = r.StatusCode
			if who == "bob" {
				close(l.admitter.block) // alice's question waited for it
			}
		})
	}
	group.Wait()
	if statuses["alice"] != http.StatusOK || statuses["bob"] != http.StatusForbidden {
		t.Errorf("got %v", statuses)
	}
	for _, q := range l.admitter.questions() {
		if q.Source.As == "" || strings.Contains(q.Source.As, "alice") {
			t.Errorf("the gate was asked as %q, and keeps what it learns for others", q.Source.As)
		}
	}
}

// PX-15: clients are sent to no token service that the proxy itself would not go to.
func TestPX15_ChallengesThatArePassedOn(t *testing.T) {
	for challenge, want := range map[string]string{
		ownRealm:                                   `Bearer realm="UPSTREAM/token",service="registry"`,
		`Bearer realm="UPSTREAM/token"`:            `Bearer realm="UPSTREAM/token",service="HOST"`,
		`Basic realm="anything"`:                   `Basic realm="registry"`,
		`Bearer realm="https://evil.example/t"`:    "",
		`Bearer realm="http://auth.example/t"`:     "",
		`Bearer realm="https://u:p@auth.example"`:  "",
		`Bearer realm="UPSTREAM/token?x=1"`:        "",
		`Bearer realm="UPSTREAM/t",service="a\"b"`: "",
	} {
		l := passedThrough(t)
		l.private(challenge)
		r := l.get("/v2/")
		if want == "" {
			if r.StatusCode != http.StatusBadGateway && r.StatusCode != http.StatusServiceUnavailable || r.Header.Get("WWW-Authenticate") != "" {
				t.Errorf("%s: got %d, %s", challenge, r.StatusCode, r.Header.Get("WWW-Authenticate"))
			}
			continue
		}
		if got := r.Header.Get("WWW-Authenticate"); r.StatusCode != http.StatusUnauthorized || got != strings.NewReplacer("UPSTREAM", l.upstream.URL, "HOST", strings.TrimPrefix(l.upstream.URL, "http://")).Replace(want) {
			t.Errorf("%s: got %d, %s", challenge, r.StatusCode, got)
		}
		l.want(l.get("/v2/", "Authorization", "Bearer alice"), http.StatusOK, "")
		l.want(l.get("/v2/", "Authorization", "Bearer bob"), http.StatusForbidden, codeDenied)
		l.want(l.do("GET", "/v2/", "Authorization", "Bearer alice", "Authorization", "Bearer bob"), http.StatusBadRequest, codeUnsupported)
	}
}

// PX-15: the token services of the registries that people have are known, and none of them may be another's.
func TestPX15_WellKnownTokenServices(t *testing.T) {
	elsewhere := map[string]string{"registry-1.docker.io": "auth.docker.io", "registry.gitlab.com": "gitlab.com", "docker.elastic.co": "docker-auth.elastic.co", "registry.digitalocean.com": "api.digitalocean.com"}
	for _, c := range []struct{ registry, realm, service, want string }{ // realm and service as the registry answers /v2/
		{"registry-1.docker.io", "https://auth.docker.io/token", "registry.docker.io", "registry.docker.io"},
		{"ghcr.io", "https://ghcr.io/token", "ghcr.io", "ghcr.io"},
		{"quay.io", "https://quay.io/v2/auth", "quay.io", "quay.io"},
		{"registry.gitlab.com", "https://gitlab.com/jwt/auth", "container_registry", "container_registry"},
		{"gcr.io", "https://gcr.io/v2/token", "gcr.io", "gcr.io"},
		{"us-central1-docker.pkg.dev", "https://us-central1-docker.pkg.dev/v2/token", "", "us-central1-docker.pkg.dev"},
		{"public.ecr.aws", "https://public.ecr.aws/token/", "public.ecr.aws", "public.ecr.aws"},
		{"acme.azurecr.io", "https://acme.azurecr.io/oauth2/token", "acme.azurecr.io", "acme.azurecr.io"},
		{"mcr.microsoft.com", "https://mcr.microsoft.com/oauth2/token", "mcr.microsoft.com", "mcr.microsoft.com"},
		{"registry.k8s.io", "https://registry.k8s.io/token", "registry.k8s.io", "registry.k8s.io"},
		{"docker.elastic.co", "https://docker-auth.elastic.co/auth", "token-service", "token-service"},
		{"registry.digitalocean.com", "https://api.digitalocean.com/v2/registry/auth", "registry.digitalocean.com", "registry.digitalocean.com"},
		{"harbor.acme.example", "https://harbor.acme.example/service/token", "harbor-registry", "harbor-registry"},
	} {
		u, err := newUpstream(Config{Upstream: "https://" + c.registry, Transport: granting{}})
		if err != nil {
			t.Fatal(err)
		}
		realm := func(raw string) (challenge string, refused error) {
			challenge, err := u.rewrite(&transport.Challenge{Scheme: "Bearer", Parameters: map[string]string{"realm": raw, "service": c.service}})
			resp, refused := u.guard.RoundTrip(httptest.NewRequest(http.MethodGet, raw+"?service=x", nil))
			if (err == nil) != (refused == nil) {
				t.Errorf("%s: clients are sent to %s: %v; the proxy goes there: %v", c.registry, raw, err, refused)
			}
			if refused == nil {
				resp.Body.Close()
			}
			return challenge, err
		}
		if got, err := realm(c.realm); err != nil || got != fmt.Sprintf(`Bearer realm=%q,service=%q`, c.realm, c.want) {
			t.Errorf("%s: got %s, %v", c.registry, got, err)
		}
		for registry, host := range elsewhere {
			if registry == c.registry {
				continue
			}
			if got, err := realm("https://" + host + "/token"); err == nil {
				t.Errorf("%s may send clients to %s: %s", c.registry, host, got)
			}
		}
	}
}

// granting is a network where everybody gets a token.
type granting struct{}

// RoundTrip implements http.RoundTripper.
func (granting) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Request: r, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(`{"token":"t"}`))}, nil
}
