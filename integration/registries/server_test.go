package registries

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/integration/internal/lab"
)

const (
	user     = "robot"
	password = "secret"
	// htpasswd is user:password by bcrypt.
	htpasswd = "robot:$2a$04$xPs7x1zQaAX0vX0iXS30F.viZPzHfF1amoHWbwUM8z1ZoKYMz9inW\n"
)

// kind is a registry program.
type kind struct {
	name      string
	referrers bool // it has the referrers API
	asks      bool // it can ask who one is
	start     func(t *testing.T, auth string) (baseURL string)
}

var kinds = []kind{
	{"go-containerregistry", true, false, inProcess(true)},
	{"go-containerregistry without referrers API", false, false, inProcess(false)},
	{"distribution 3", false, true, process(func(t *testing.T) string { return lab.Tool(t, "registry-v3.1.2") })},
	{"docker-registry of Debian", false, true, process(func(t *testing.T) string { return coretest.RequireTool(t, "docker-registry") })},
}

func inProcess(referrers bool) func(*testing.T, string) string {
	return func(t *testing.T, _ string) string {
		server := httptest.NewServer(registry.New(registry.WithReferrersSupport(referrers), registry.Logger(log.New(io.Discard, "", 0))))
		t.Cleanup(server.Close)
		return server.URL
	}
}

var listening = regexp.MustCompile(`listening on (127\.0\.0\.1:[0-9]+)`)

// process starts a registry whose configuration file is distribution's, with an auth section.
func process(program func(*testing.T) string) func(*testing.T, string) string {
	return func(t *testing.T, auth string) string {
		path, dir := program(t), t.TempDir()
		config := filepath.Join(dir, "config.yml")
		text := fmt.Sprintf("version: 0.1\nstorage: {filesystem: {rootdirectory: %q}}\nhttp: {addr: \"127.0.0.1:0\", secret: x}\n%s", filepath.Join(dir, "data"), auth)
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(path, "serve", config)
		cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
		stderr, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		address, ended := make(chan string, 1), make(chan string, 1)
		go func() {
			var last string
			for lines := bufio.NewScanner(stderr); lines.Scan(); {
				last = lines.Text()
				if m := listening.FindStringSubmatch(last); m != nil {
					address <- m[1]
				}
			}
			io.Copy(io.Discard, stderr)
			cmd.Wait()
			ended <- last
		}()
		t.Cleanup(func() { cmd.Process.Kill(); <-ended })
		select {
		case a := <-address:
			return "http://" + a
		case last := <-ended:
			ended <- last
			t.Fatalf("%s ended: %s", path, last)
		case <-time.After(20 * time.Second):
			t.Fatalf("%s does not say where it listens", path)
		}
		return ""
	}
}

// access is a way in.
type access struct {
	name string
	tls  bool
	auth func(t *testing.T, front string) (section string, tokens http.Handler) // of the configuration; nil for anybody
}

var accesses = []access{
	{"HTTP", false, nil},
	{"TLS", true, nil},
	{"TLS and password", true, func(t *testing.T, _ string) (string, http.Handler) {
		file := filepath.Join(t.TempDir(), "htpasswd")
		if err := os.WriteFile(file, []byte(htpasswd), 0o600); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("auth: {htpasswd: {realm: test, path: %q}}\n", file), nil
	}},
	{"TLS and token", true, func(t *testing.T, front string) (string, http.Handler) {
		s := lab.NewTokens(t, map[string]string{user: password}, func(string, string) bool { return true })
		return s.Section(front+"/token", "test"), s
	}},
}

// open starts a registry behind this way in, and gives a repository in it.
func (a access) open(t *testing.T, k kind) attach.Source {
	t.Helper()
	if !a.tls {
		return source(t, k.start(t, ""))
	}
	front := httptest.NewUnstartedServer(nil)
	front.Config.ErrorLog = log.New(io.Discard, "", 0) // of plain HTTP, which clients try first on this machine
	front.StartTLS()
	t.Cleanup(front.Close)
	section, tokens := "", http.Handler(nil)
	if a.auth != nil {
		section, tokens = a.auth(t, front.URL)
	}
	inner, err := url.Parse(k.start(t, section))
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(inner)
		r.SetXForwarded()
		r.Out.Host = r.In.Host
	}}
	front.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if tokens != nil && r.URL.Path == "/token" {
			tokens.ServeHTTP(w, r)
			return
		}
		proxy.ServeHTTP(w, r)
	})
	src := source(t, front.URL)
	src.Transport = front.Client().Transport
	if a.auth != nil {
		src.Keychain = keychain{user, password}
	}
	return src
}

func source(t *testing.T, baseURL string) attach.Source {
	t.Helper()
	_, host, _ := strings.Cut(baseURL, "://")
	repo, err := name.NewRepository(host + "/team/app")
	if err != nil {
		t.Fatal(err)
	}
	return attach.Source{Repository: repo}
}

// keychain has one name and password for every registry.
type keychain struct{ user, password string }

func (k keychain) Resolve(authn.Resource) (authn.Authenticator, error) {
	return authn.FromConfig(authn.AuthConfig{Username: k.user, Password: k.password}), nil
}
