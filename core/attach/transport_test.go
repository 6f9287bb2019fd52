package attach_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/touchmark/touchmark/core/attach"
)

// challenge is a registry at https://registry.example that wants a token from this realm, and records who was asked for one.
func challenge(realm string) (attach.Source, func() []string, error) {
	repo, err := name.NewRepository("registry.example/team/app")
	if err != nil {
		return attach.Source{}, nil, err
	}
	var mu sync.Mutex
	var asked []string
	network := wholeTransport(func(r *http.Request) (*http.Response, error) {
		mu.Lock()
		defer mu.Unlock()
		token := r.Header.Get("Authorization") == "Bearer t"
		switch {
		case r.URL.Host == "registry.example" && r.URL.Path == "/v2/":
			return answer(r, 401, http.Header{"Www-Authenticate": {`Bearer realm="` + realm + `",service="s"`}}, ""), nil
		case r.URL.Host == "registry.example" && token:
			return answer(r, 404, nil, ""), nil
		}
		asked = append(asked, r.URL.Scheme+"://"+r.URL.Host+" "+r.Header.Get("Authorization"))
		return answer(r, 200, nil, `{"token":"t"}`), nil
	})
	src := attach.Source{Repository: repo, Transport: network, Keychain: credentials("registry.example")}
	return src, func() []string { mu.Lock(); defer mu.Unlock(); return asked }, nil
}

// credentials are known for one registry only.
type credentials string

func (c credentials) Resolve(r authn.Resource) (authn.Authenticator, error) {
	if r.RegistryStr() == string(c) {
		return authn.FromConfig(authn.AuthConfig{Username: "user", Password: "secret"}), nil
	}
	return authn.Anonymous, nil
}

func TestA141_BearerRealm(t *testing.T) {
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("user:secret"))
	for _, realm := range []string{
		"http://auth.example/token", "http://registry.example/token", "ftp://auth.example/token", "//auth.example/token", "auth.example",
		"https://169.254.169.254/latest/meta-data", "https://127.0.0.1/token", "https://[::1]/token", "https://[::ffff:169.254.169.254]/token",
		"https://10.0.0.1/token", "https://192.168.1.1/token", "https://0.0.0.0/token", "https://2130706433/token", "https://0x7f000001/token", "https://127.1/token",
		"https://user:pw@auth.example/token", "https://auth。example/token", "https://127。0。0。1/token", "https://auth.example:99999999/\x7f",
	} {
		t.Run(realm, func(t *testing.T) {
			src, asked, err := challenge(realm)
			if err != nil {
				t.Fatal(err)
			}
			_, err = attach.Find(t.Context(), src, someDigest)
			checkLookupError(t, err, 0, "https://registry.example/v2/")
			if got := asked(); got != nil {
				t.Errorf("asked %q", got)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("error %q shows the password", err)
			}
		})
	}
	for _, realm := range []string{"https://auth.example/token", "https://registry.example/token"} {
		t.Run("admitted twin "+realm, func(t *testing.T) {
			src, asked, err := challenge(realm)
			if err != nil {
				t.Fatal(err)
			}
			find(t, src, someDigest)
			if got := asked(); len(got) != 1 || !strings.HasSuffix(got[0], basic) {
				t.Errorf("asked %q, want once, with the credentials", got)
			}
		})
	}
}

// What a registry sends us on to gets no credentials, and not everything is followed.
func TestRedirects(t *testing.T) {
	var auth []string
	storage := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		auth = append(auth, r.Header.Get("Authorization")+r.Header.Get("Cookie"))
		w.Write(bundleJSON(t, 1))
	}))
	defer storage.Close()
	var target string
	reg := newRegistry(t, true)
	subject := reg.image(t)
	reg.writeBundle(t, subject, 1)
	reg.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.URL.Path == "/v2/":
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(401)
			return true
		case strings.Contains(r.URL.Path, "/blobs/"):
			http.Redirect(w, r, target, http.StatusTemporaryRedirect)
			return true
		}
		return false
	})
	reg.src.Keychain = credentials(reg.src.Repository.RegistryStr())
	target = storage.URL + "/blob?X-Signature=verysecret"
	if got, errs := signatures(find(t, reg.src, subject.Digest)); len(got) != 1 || errs != nil {
		t.Errorf("admitted twin: found %v, %v", got, errs)
	}
	if len(auth) != 1 || auth[0] != "" {
		t.Errorf("storage was asked with %q, want once and without credentials", auth)
	}
	for name, u := range map[string]string{
		"to itself for ever": "/v2/team/app/blobs/sha256:" + someDigest.Hex,
		"metadata service":   "http://169.254.169.254/latest?X-Signature=verysecret",
		"unspecified":        "http://0.0.0.0:1/x?X-Signature=verysecret",
		"number":             "http://2852039166/x?X-Signature=verysecret",
		"file":               "file:///etc/passwd?X-Signature=verysecret",
		"userinfo":           strings.Replace(storage.URL, "://", "://a:b@", 1) + "/x?X-Signature=verysecret",
	} {
		t.Run(name, func(t *testing.T) {
			target = u
			reg.forget()
			_, err := attach.Find(t.Context(), reg.src, subject.Digest)
			if checkLookupError(t, err, 0, "/blobs/"); strings.Contains(err.Error(), "verysecret") {
				t.Errorf("error %q shows a signed query", err)
			}
			if n := len(reg.seen()); n > 9 { // referrers, manifest, .sig, blob and five redirects
				t.Errorf("made %d requests", n)
			}
		})
	}
	if len(auth) != 1 {
		t.Errorf("storage was asked %d times", len(auth))
	}
}

// A registry with TLS can't send us, or our credentials, on without it.
func TestRedirectWithoutTLS(t *testing.T) {
	src := source(t, "registry.example/team/app")
	src.Keychain = credentials("registry.example")
	src.Transport = wholeTransport(func(r *http.Request) (*http.Response, error) {
		switch {
		case r.URL.Scheme != "https":
			t.Errorf("asked %s", r.URL)
		case r.URL.Path == "/v2/":
			return answer(r, 401, http.Header{"Www-Authenticate": {`Basic realm="x"`}}, ""), nil
		case strings.Contains(r.URL.Path, "/referrers/"):
			return answer(r, 307, http.Header{"Location": {"http://storage.example/x"}}, ""), nil
		}
		return answer(r, 404, nil, ""), nil
	})
	_, err := attach.Find(t.Context(), src, someDigest)
	checkLookupError(t, err, 0, "/referrers/")
}

// The default keychain looks a registry up by its whole name (docker's own configuration format).
func TestA143_CredentialsAreAnchored(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	t.Setenv("DOCKER_CONFIG", dir)
	config := `{"auths":{"https://index.docker.io/v1/":{"auth":"aHViOnNlY3JldA=="},"acme.azurecr.io":{"auth":"YWNtZTpzZWNyZXQ="}}}`
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	for repository, want := range map[string]bool{
		"docker.io/team/app": true, "acme.azurecr.io/team/app": true,
		"docker.io.evil.com/team/app": false, "evil-docker.io/team/app": false, "index.docker.io.evil.com/team/app": false,
		"azurecr.io.evil/team/app": false, "evil.acme.azurecr.io/team/app": false, "acme.azurecr.io.evil.com/team/app": false, "acme.azurecr.io:8443/team/app": false,
	} {
		t.Run(repository, func(t *testing.T) {
			src := source(t, repository)
			src.Keychain = authn.DefaultKeychain
			var sent atomic.Bool
			src.Transport = wholeTransport(func(r *http.Request) (*http.Response, error) {
				if r.Header.Get("Authorization") != "" {
					sent.Store(true)
				}
				if r.URL.Path == "/v2/" {
					return answer(r, 401, http.Header{"Www-Authenticate": {`Basic realm="x"`}}, ""), nil
				}
				return answer(r, 404, nil, ""), nil
			})
			find(t, src, someDigest)
			if sent.Load() != want {
				t.Errorf("credentials sent: %t, want %t", sent.Load(), want)
			}
		})
	}
}

// One handshake for everything that one Find asks.
func TestOneTokenPerFind(t *testing.T) {
	reg := newRegistry(t, true)
	subject := reg.image(t)
	for n := range 5 {
		reg.writeBundle(t, subject, n)
	}
	var pings, tokens atomic.Int32
	reg.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.URL.Path == "/v2/":
			pings.Add(1)
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="s"`, r.Host))
			w.WriteHeader(401)
			return true
		case r.URL.Path == "/token":
			tokens.Add(1)
			if scope := r.URL.Query().Get("scope"); scope != "repository:team/app:pull" {
				t.Errorf("scope %q", scope)
			}
			io.WriteString(w, `{"token":"t"}`)
			return true
		}
		if r.Header.Get("Authorization") != "Bearer t" {
			w.WriteHeader(401)
			return true
		}
		return false
	})
	if got, errs := signatures(find(t, reg.src, subject.Digest)); len(got) != 5 || errs != nil {
		t.Errorf("found %v, %v", got, errs)
	}
	if pings.Load() != 1 || tokens.Load() != 1 {
		t.Errorf("%d pings, %d tokens, want one of each", pings.Load(), tokens.Load())
	}
}

func TestTokenServerRefuses(t *testing.T) {
	reg := newRegistry(t, true)
	reg.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/v2/" {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token?a=secret",service="s"`, r.Host))
		}
		w.WriteHeader(401)
		return true
	})
	_, err := attach.Find(t.Context(), reg.src, someDigest)
	checkLookupError(t, err, 401, reg.URL+"/token")
	if le := (*attach.LookupError)(nil); errors.As(err, &le) && strings.Contains(le.URL, "secret") {
		t.Errorf("URL %q has a query", le.URL)
	}
}
