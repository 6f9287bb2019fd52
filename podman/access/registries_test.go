package access_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/touchmark/touchmark/core/coretest"
)

// TestDockerRegistry: Debian's registry, which asks for a certificate and a password.
func TestDockerRegistry(t *testing.T) {
	program := coretest.RequireTool(t, "docker-registry")
	dir := t.TempDir()
	ca, clients := newAuthority(t), newAuthority(t)
	certPEM, keyPEM := ca.issue(t)
	hash, err := bcrypt.GenerateFromPassword([]byte("of alice"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "cert.pem"), certPEM)
	write(t, filepath.Join(dir, "key.pem"), keyPEM)
	write(t, filepath.Join(dir, "clients.pem"), clients.pem())
	write(t, filepath.Join(dir, "htpasswd"), "alice:"+string(hash)+"\n")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host := listener.Addr().String()
	listener.Close()
	write(t, filepath.Join(dir, "config.yml"), fmt.Sprintf(`version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: %[1]s/data}}
auth: {htpasswd: {realm: test, path: %[1]s/htpasswd}}
http:
  addr: %[2]s
  tls: {certificate: %[1]s/cert.pem, key: %[1]s/key.pem, clientcas: [%[1]s/clients.pem]}
`, dir, host))
	var said bytes.Buffer
	cmd := exec.CommandContext(t.Context(), program, "serve", filepath.Join(dir, "config.yml"))
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for deadline := time.Now().Add(20 * time.Second); ; {
		conn, err := net.DialTimeout("tcp", host, time.Second)
		if err == nil {
			conn.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("docker-registry does not answer: %v", err)
		}
	}

	h, file := newHost(t, nil), filepath.Join(dir, "auth.json")
	repository := host + "/acme/app"
	login := func(user string) { write(t, file, fmt.Sprintf(`{"auths": {%q: %s}}`, host, auth(user))) }
	clientCert, clientKey := clients.issue(t)
	certsD(t, h, host, map[string]string{"ca.crt": ca.pem(), "client.cert": clientCert, "client.key": clientKey})
	login("alice")
	a := load(t, h, file)
	digest := publish(t, a, repository)
	admitted(t, "alice", a, repository, true, digest)
	refused(t, "nobody", a, repository, false, digest, "tls")
	login("mallory")
	refused(t, "mallory", a, repository, true, digest, "status 401")
	write(t, file, fmt.Sprintf(`{"auths": {%q: %s}}`, host+"/other", auth("alice")))
	refused(t, "alice, in another namespace", a, repository, true, digest, "status 401")
	write(t, file, fmt.Sprintf(`{"auths": {%q: %s, %q: %s}}`, host, auth("mallory"), host+"/acme", auth("alice")))
	admitted(t, "alice, in this namespace", a, repository, true, digest)
	write(t, file, "{")
	refused(t, "a broken file", a, repository, true, digest, file)
	login("alice")
	admitted(t, "alice again", a, repository, true, digest)

	mallory := newAuthority(t)
	wrongCert, wrongKey := mallory.issue(t)
	certsD(t, h, host, map[string]string{"client.cert": wrongCert, "client.key": wrongKey})
	refused(t, "another client's certificate", a, repository, true, digest, "tls")
	certsD(t, h, host, map[string]string{"client.cert": clientCert, "client.key": clientKey})
	admitted(t, "the client's certificate again", a, repository, true, digest)
}

// tokens is a registry that wants a token of its own server, which gives those to alice for what lies in alice/, and to acme for what lies in acme/.
func tokens(seen *[]string) func(http.Handler) http.Handler {
	var mu sync.Mutex // a client asks several things at once
	return func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/token" {
				user, password, ok := r.BasicAuth()
				scope := r.URL.Query().Get("scope")
				mu.Lock()
				*seen = append(*seen, user+" "+scope)
				mu.Unlock()
				if ok && password != "of "+user || ok && !strings.HasPrefix(scope, "repository:"+user+"/") {
					w.WriteHeader(http.StatusUnauthorized)
					return
				}
				if !ok {
					user = "nobody"
				}
				fmt.Fprintf(w, `{"token": %q}`, base64.RawURLEncoding.EncodeToString([]byte(user)))
				return
			}
			user, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
			if err == nil && len(user) > 0 && (r.URL.Path == "/v2/" || strings.HasPrefix(r.URL.Path, "/v2/"+string(user)+"/")) {
				h.ServeHTTP(w, r)
				return
			}
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="https://%s/token",service="test"`, r.Host))
			w.WriteHeader(http.StatusUnauthorized)
		})
	}
}

// TestTokens: a registry with tokens, and credentials by namespace.
func TestTokens(t *testing.T) {
	var seen []string
	ca := newAuthority(t)
	host := serve(t, tokens(&seen), ca, nil)
	h, file := newHost(t, nil), filepath.Join(t.TempDir(), "auth.json")
	certsD(t, h, host, map[string]string{"ca.crt": ca.pem()})
	write(t, file, fmt.Sprintf(`{"auths": {%q: %s, %q: %s}}`, host+"/acme", auth("acme"), host, auth("alice")))
	a := load(t, h, file)
	digest := publish(t, a, host+"/acme/app")
	if publish(t, a, host+"/alice/app") != digest {
		t.Fatal("two images")
	}
	admitted(t, "acme's", a, host+"/acme/app", true, digest)
	admitted(t, "alice's", a, host+"/alice/app", true, digest)
	refused(t, "acme's, anonymously", a, host+"/acme/app", false, digest, "status 401")
	refused(t, "another's", a, host+"/other/app", true, digest, "status 401")
	if i := slices.IndexFunc(seen, func(s string) bool { return strings.HasPrefix(s, "alice repository:acme/") }); i >= 0 {
		t.Errorf("alice's password was sent for %s", seen[i])
	}
}

// TestPOD13_ClientCertificate: whom a registry knows by a certificate may see more than a stranger, so strangers are not lent it.
func TestPOD13_ClientCertificate(t *testing.T) {
	ca, clients := newAuthority(t), newAuthority(t)
	host := serve(t, open, ca, clients)
	cert, key := clients.issue(t)
	h := newHost(t, nil)
	certsD(t, h, host, map[string]string{"ca.crt": ca.pem(), "client.cert": cert, "client.key": key})
	a := load(t, h)
	digest := publish(t, a, host+"/acme/app")
	admitted(t, "the host", a, host+"/acme/app", true, digest)
	refused(t, "a stranger", a, host+"/acme/app", false, digest, "tls")
	admitted(t, "the host again", a, host+"/acme/app", true, digest)
}

// TestIdentityToken: what "docker login" leaves with some clouds, by a helper and by a file. It is exchanged for a token, and is no password.
func TestIdentityToken(t *testing.T) {
	helpers(t, map[string]string{"cloud": `printf '{"ServerURL": "x", "Username": "<token>", "Secret": "identity"}'`})
	ca := newAuthority(t)
	host := serve(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.URL.Path == "/token" && r.PostFormValue("grant_type") == "refresh_token" && r.PostFormValue("refresh_token") == "identity":
				fmt.Fprint(w, `{"access_token": "short"}`)
			case r.URL.Path != "/token" && r.Header.Get("Authorization") == "Bearer short":
				h.ServeHTTP(w, r)
			default:
				w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="https://%s/token",service="test"`, r.Host))
				w.WriteHeader(http.StatusUnauthorized)
			}
		})
	}, ca, nil)
	h, file := newHost(t, nil), filepath.Join(t.TempDir(), "auth.json")
	certsD(t, h, host, map[string]string{"ca.crt": ca.pem()})
	repository := host + "/acme/app"
	write(t, file, fmt.Sprintf(`{"credHelpers": {%q: "cloud"}}`, host))
	a := load(t, h, file)
	digest := publish(t, a, repository)
	admitted(t, "by a helper", a, repository, true, digest)
	write(t, file, fmt.Sprintf(`{"auths": {%q: {"auth": "PHRva2VuPjo=", "identitytoken": "identity"}}}`, host))
	admitted(t, "by a file", a, repository, true, digest)
	write(t, file, fmt.Sprintf(`{"auths": {%q: {"auth": "PHRva2VuPjo=", "identitytoken": "expired"}}}`, host))
	refused(t, "an expired one", a, repository, true, digest, "status 401")
}

// TestUser: a user's own registries.conf, certificates and credentials come before the system's.
func TestUser(t *testing.T) {
	ca := newAuthority(t)
	var seen []string
	host := serve(t, tokens(&seen), ca, nil)
	system := newHost(t, map[string]string{
		"registries.conf":                  "[[registry]]\nprefix = \"quay.io\"\nlocation = \"system.example\"\n",
		"registries.conf.d/1.conf":         "[[registry]]\nprefix = \"ghcr.io\"\nlocation = \"system.example\"\n",
		"certs.d/" + host + "/ca.crt":      newAuthority(t).pem() + "\n",
		"registries.rootful.conf.d/2.conf": "[[registry]]\nprefix = \"root.example\"\nlocation = \"system.example\"\n",
	})
	user := system
	user.Home, user.UID = "/home/alice", 1000
	home := filepath.Join(system.Root, user.Home)
	write(t, filepath.Join(home, ".config/containers/registries.conf"), "[[registry]]\nprefix = \"quay.io\"\nlocation = \"user.example\"\n")
	write(t, filepath.Join(home, ".config/containers/certs.d", host, "ca.crt"), ca.pem())
	write(t, filepath.Join(home, ".config/containers/auth.json"), fmt.Sprintf(`{"auths": {%q: %s}}`, host, auth("alice")))
	a := load(t, user)
	for logical, want := range map[string]string{"quay.io/app": "user.example/app", "ghcr.io/app": "system.example/app", "root.example/app": "root.example/app"} {
		if places, err := a.Table().Places(logical); err != nil || places[0].Repository != want {
			t.Errorf("%s: %v, %v, want %s", logical, places, err, want)
		}
	}
	digest := publish(t, a, host+"/alice/app")
	admitted(t, "the user", a, host+"/alice/app", true, digest)
	refused(t, "the system", load(t, system), host+"/alice/app", true, digest, "unknown authority")
}

// TestCertificates: whose certificates are taken, and that they are read anew when they change.
func TestCertificates(t *testing.T) {
	ca := newAuthority(t)
	host := serve(t, open, ca, nil)
	h := newHost(t, nil)
	dir := filepath.Join(h.Root, "etc/containers/certs.d", host)
	a := load(t, h)
	repository := host + "/acme/app"
	certsD(t, h, host, map[string]string{"ca.crt": ca.pem()})
	digest := publish(t, a, repository)
	admitted(t, "its CA", a, repository, false, digest)

	certsD(t, h, host, map[string]string{"ca.crt": newAuthority(t).pem() + "\n"})
	refused(t, "another CA", a, repository, false, digest, "unknown authority")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	refused(t, "no CA", a, repository, false, digest, "unknown authority")
	write(t, filepath.Join(h.Root, "etc/docker/certs.d", host, "ca.crt"), ca.pem())
	admitted(t, "Docker's directory", a, repository, false, digest)
	certsD(t, h, host, map[string]string{"README": "nothing"})
	refused(t, "a directory that hides Docker's", a, repository, false, digest, "unknown authority")
	certsD(t, h, host, map[string]string{"ca.crt": ca.pem()})
	admitted(t, "its CA again", a, repository, false, digest)
	for name, content := range map[string]string{"client.cert": "alone", "other.key": "alone"} {
		certsD(t, h, host, map[string]string{name: content})
		refused(t, name+" alone", a, repository, false, digest, dir)
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		admitted(t, "without "+name, a, repository, false, digest)
	}
	certsD(t, h, host, map[string]string{"big.crt": strings.Repeat("x", 3<<20)})
	refused(t, "too large", a, repository, false, digest, "big.crt")
}

// TestInsecureRegistry: without TLS, or without knowing whom one talks to, where registries.conf has insecure = true and nowhere else, although all of this is on loopback.
func TestInsecureRegistry(t *testing.T) {
	plain, unknown := serve(t, open, nil, nil), serve(t, open, newAuthority(t), nil)
	for _, host := range []string{plain, unknown} {
		conf := func(text string) string { return strings.ReplaceAll(text, "HOST", host) }
		insecure := load(t, newHost(t, map[string]string{"registries.conf": conf("[[registry]]\nlocation = \"HOST\"\ninsecure = true\n")}))
		repository := host + "/acme/app"
		digest := publish(t, insecure, repository)
		for what, text := range map[string]string{
			"insecure":               "[[registry]]\nlocation = \"HOST\"\ninsecure = true\n",
			"an insecure namespace":  "[[registry]]\nlocation = \"HOST/acme\"\ninsecure = true\n",
			"an insecure rewrite":    "[[registry]]\nprefix = \"quay.io\"\nlocation = \"HOST\"\ninsecure = true\n",
			"an insecure mirror":     "[[registry]]\nlocation = \"quay.io\"\n[[registry.mirror]]\nlocation = \"HOST\"\ninsecure = true\n",
			"insecure, in a drop-in": "",
		} {
			files := map[string]string{"registries.conf": conf(text)}
			if text == "" {
				files["registries.conf.d/1.conf"] = conf("[[registry]]\nlocation = \"HOST\"\ninsecure = true\n")
			}
			admitted(t, what, load(t, newHost(t, files)), repository, false, digest)
		}
		want := "without TLS"
		if host == unknown {
			want = "unknown authority"
		}
		for what, text := range map[string]string{
			"no rule":              "",
			"a rule":               "[[registry]]\nlocation = \"HOST\"\n",
			"another namespace":    "[[registry]]\nlocation = \"HOST/acme-other\"\ninsecure = true\n",
			"the mirror is secure": "[[registry]]\nlocation = \"quay.io\"\ninsecure = true\n[[registry.mirror]]\nlocation = \"HOST\"\n",
			"rules that disagree":  "[[registry]]\nprefix = \"quay.io\"\nlocation = \"HOST/acme\"\ninsecure = true\n[[registry]]\nlocation = \"HOST\"\n",
		} {
			refused(t, what, load(t, newHost(t, map[string]string{"registries.conf": conf(text)})), repository, false, digest, want)
		}
	}
}

// TestPOD12_SupportsSignatures: a registry that keeps signatures itself is asked in the place of the lookaside.
func TestPOD12_SupportsSignatures(t *testing.T) {
	for header, want := range map[string]bool{"": false, "0": false, "true": false, "1": true} {
		for _, status := range []int{http.StatusOK, http.StatusUnauthorized} {
			host := serve(t, func(http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					if header != "" {
						w.Header().Set("X-Registry-Supports-Signatures", header)
					}
					w.WriteHeader(status)
				})
			}, nil, nil)
			a := load(t, newHost(t, map[string]string{"registries.conf": fmt.Sprintf("[[registry]]\nlocation = %q\ninsecure = true\n", host)}))
			if got, err := a.SupportsSignatures(t.Context(), host+"/acme/app"); err != nil || got != want {
				t.Errorf("header %q, status %d: %v, %v", header, status, got, err)
			}
		}
	}
	host := serve(t, func(http.Handler) http.Handler { return http.NotFoundHandler() }, nil, nil)
	if got, err := load(t, newHost(t, nil)).SupportsSignatures(t.Context(), host+"/acme/app"); err == nil {
		t.Errorf("a registry that can't be asked: %v", got)
	}
}

// TestSource: what is no repository's full name, and what can't be asked.
func TestSource(t *testing.T) {
	a := load(t, newHost(t, map[string]string{"registries.conf": `
[[registry]]
prefix = "quay.io"
location = "proxy.example/all"
namespace-proxy = "quay.io"
[[registry]]
prefix = "*.example.org"
namespace-proxy = "quay.io"
`}))
	for repository, want := range map[string]string{
		"ghcr.io/acme/app": "", "docker.io/library/busybox": "", "proxy.example/alles/app": "", "proxy.example/app": "", "example.org/app": "",
		"busybox": "full name", "docker.io/busybox": "full name", "ghcr.io/acme/app:1": "full name", "ghcr.io": "full name", "ghcr.io/../app": "full name",
		"proxy.example/all/acme/app": "namespace-proxy", "a.example.org/app": "namespace-proxy", "a.example.org:5000/app": "namespace-proxy",
	} {
		source, err := a.Source(repository, true)
		if want == "" && (err != nil || !strings.HasSuffix(source.Repository.Name(), repository)) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %s, %v, want %q", repository, source.Repository, err, want)
		}
	}
}

// TestTransports: one registry's connections are kept, those of another are others, and their number is bounded.
func TestTransports(t *testing.T) {
	a := load(t, newHost(t, nil))
	of := func(repository string) http.RoundTripper {
		source, err := a.Source(repository, false)
		if err != nil {
			t.Fatal(err)
		}
		return source.Transport
	}
	first := of("quay.io/acme/app")
	if of("quay.io/acme/tool") != first || of("ghcr.io/acme/app") == first || of("quay.io:443/acme/app") == first {
		t.Error("transports are not one for each registry")
	}
	for i := range 200 {
		of(fmt.Sprintf("r%d.example/app", i))
	}
	if of("quay.io/acme/app") == first {
		t.Error("all transports are kept")
	}
}
