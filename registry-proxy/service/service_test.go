package service

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/countersign"
	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/registry-proxy/config"
)

const static = `apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata: {name: all}
spec:
  images: [{glob: "registry.acme.example/**"}]
  authorities: [{static: {action: %s}}]
`

// place is a directory with a proxy's files, and a registry.
type place struct {
	t    testing.TB
	dir  string
	host string // of the registry
	log  *lines
}

func newPlace(t testing.TB) *place {
	t.Helper()
	p := &place{t: t, dir: t.TempDir(), host: coretest.NewRegistry(t, true), log: &lines{}}
	coretest.Push(t, p.host+"/app:v1", coretest.Image(t, 1))
	p.write("policy.yaml", fmt.Sprintf(static, "pass"))
	p.write("proxy.yaml", p.least())
	return p
}

// least is a configuration in front of the registry.
func (p *place) least() string {
	return "listen: 127.0.0.1:0\npolicy: policy.yaml\nmetrics: {listen: \"127.0.0.1:0\"}\nregistries:\n- name: registry.acme.example\n  upstream: http://" + p.host + "\n"
}

func (p *place) path(name string) string { return filepath.Join(p.dir, name) }

// write puts a file in the place of another at once.
func (p *place) write(name, text string) {
	p.t.Helper()
	if err := os.WriteFile(p.path(name)+".new", []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
	if err := os.Rename(p.path(name)+".new", p.path(name)); err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) new() (*Service, error) {
	return New(p.t.Context(), Config{
		Read: func() (*config.Config, error) { return config.Load(p.path("proxy.yaml")) },
		Load: func(ctx context.Context, file string, roots []*trust.Root) (*policy.Set, []*trust.Root, error) {
			set, err := policy.Load(ctx, file, policy.Options{})
			return set, roots, err
		},
		Logger: slog.New(slog.NewJSONHandler(p.log, nil)),
	})
}

// run runs a service until the test ends, or stop is called, which returns what Run did.
func (p *place) run(changes ...func(*Service)) (s *Service, stop func() error) {
	p.t.Helper()
	s, err := p.new()
	if err != nil {
		p.t.Fatal(err)
	}
	for _, change := range changes {
		change(s)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stop = sync.OnceValue(func() error { cancel(); return <-ended })
	p.t.Cleanup(func() {
		if err := stop(); err != nil {
			p.t.Error(err)
		}
	})
	return s, stop
}

// get returns an answer's status and body.
func get(t testing.TB, client *http.Client, url string) (int, string) {
	t.Helper()
	resp, err := client.Get(url)
	if err != nil {
		t.Errorf("%s: %v", url, err)
		return 0, ""
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Errorf("%s: %v", url, err)
	}
	return resp.StatusCode, string(body)
}

type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// PX-34: metrics and health are nowhere but on their own listener, which has nothing else.
func TestPX34_MetricsApart(t *testing.T) {
	p := newPlace(t)
	s, _ := p.run()
	get(t, http.DefaultClient, s.URL()+"/v2/app/manifests/v1")
	_, metrics := get(t, http.DefaultClient, s.MetricsURL()+"/metrics")
	for _, want := range []string{
		`touchmark_proxy_decisions_total{code="admitted",outcome="admitted",registry="registry.acme.example",served="false"} 1`,
		`touchmark_proxy_requests_total{endpoint="manifests",status="200"} 1`,
		`touchmark_proxy_enforcing{registry="registry.acme.example"} 1`, "touchmark_proxy_ready 1",
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
	for _, path := range []string{"/metrics", "/healthz", "/readyz", "/debug/pprof/", "/debug/vars"} {
		if status, body := get(t, http.DefaultClient, s.URL()+path); status < 400 || strings.Contains(body, "touchmark_") {
			t.Errorf("%s on the registry's address: %d %s", path, status, body)
		}
		if strings.HasPrefix(path, "/debug") {
			if status, _ := get(t, http.DefaultClient, s.MetricsURL()+path); status != http.StatusNotFound {
				t.Errorf("%s: %d", path, status)
			}
		}
	}
	if status, _ := get(t, http.DefaultClient, s.MetricsURL()+"/v2/app/manifests/v1"); status != http.StatusNotFound {
		t.Errorf("the registry on the metrics' address: %d", status)
	}
}

// PX-27: connections that do nothing, or that send a byte at a time, take nothing from the others.
func TestPX27_IdleConnections(t *testing.T) {
	p := newPlace(t)
	s, _ := p.run()
	address := strings.TrimPrefix(s.URL(), "http://")
	const idle = 300 // a share: the bench has ten thousand
	for i := range idle {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if i%2 == 0 {
			io.WriteString(conn, "GET /v2/ HTTP/1.1\r\nHost: p\r\nX: ")
		}
	}
	client := &http.Client{Timeout: 10 * time.Second}
	for range 50 {
		if status, body := get(t, client, s.URL()+"/v2/app/manifests/v1"); status != 200 {
			t.Fatalf("got %d %s", status, body)
		}
	}
}

// The first start names what is wrong, and leaves nothing behind.
func TestNew_NamesWhatIsWrong(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, c := range []struct{ name, more, want string }{
		{"metrics where somebody listens", "", taken.Addr().String()},
		{"certificate", "tls: {cert: nowhere.pem, key: nowhere.key}\n", "nowhere.pem"},
		{"decision log", "decisions: {file: nowhere/d.jsonl}\n", "nowhere/d.jsonl"},
		{"password", "  credentials: {username: robot, passwordFile: nowhere.secret}\n", "registries[0]: credentials: "},
		{"name", "- name: library\n  upstream: https://a.example\n", "registries[1]"},
		{"name twice", "- name: registry.acme.example\n  upstream: https://a.example\n", "registries[1]: name registry.acme.example stands twice"},
	} {
		p := newPlace(t)
		text := p.least() + c.more
		if c.more == "" {
			text = strings.Replace(text, `metrics: {listen: "127.0.0.1:0"}`, `metrics: {listen: "`+taken.Addr().String()+`"}`, 1)
		}
		p.write("proxy.yaml", text)
		if s, err := p.new(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, %v", c.name, s, err)
		}
	}
}

// Credentials come from the file at each handshake, and no error repeats them.
func TestCredentials(t *testing.T) {
	p := newPlace(t)
	p.write("auth.json", `{"auths":{"registry.example":{"auth":"cm9ib3Q6c2VjcmV0"},"https://index.docker.io/v1/":{"username":"hub","password":"secret"}}}`)
	p.write("secret", "secret\n")
	p.write("broken.json", `{"auths": secret`)
	p.write("empty", "\n")
	for _, c := range []struct {
		credentials config.Credentials
		registry    string
		user        string // empty: anonymous
		broken      bool
	}{
		{config.Credentials{DockerConfig: p.path("auth.json")}, "registry.example", "robot", false},
		{config.Credentials{DockerConfig: p.path("auth.json")}, "other.example", "", false},
		{config.Credentials{DockerConfig: p.path("auth.json")}, "index.docker.io", "hub", false},
		{config.Credentials{Username: "robot", PasswordFile: p.path("secret")}, "registry.example", "robot", false},
		{config.Credentials{DockerConfig: p.path("broken.json")}, "registry.example", "", true},
		{config.Credentials{DockerConfig: p.dir}, "registry.example", "", true},
		{config.Credentials{Username: "robot", PasswordFile: p.path("empty")}, "registry.example", "", true},
		{config.Credentials{Username: "robot", PasswordFile: p.path("nowhere")}, "registry.example", "", true},
	} {
		k, err := keychain(c.credentials)
		if (err != nil) != c.broken || err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%+v: %v", c.credentials, err)
		}
		if err != nil {
			continue
		}
		found, err := k.Resolve(target(c.registry))
		if err != nil {
			t.Errorf("%+v: %v", c.credentials, err)
			continue
		}
		got, err := found.Authorization()
		if err != nil || got.Username != c.user || c.user != "" && got.Password != "secret" {
			t.Errorf("%+v: got %+v, %v", c.credentials, got, err)
		}
	}
}

type target string

func (t target) String() string      { return string(t) }
func (t target) RegistryStr() string { return string(t) }

// With a key, an admitted image has the proxy's signature at the tag of its signatures, and one that is refused has none.
func TestCountersign(t *testing.T) {
	p := newPlace(t)
	p.write("proxy.yaml", p.least()+"countersign: {key: countersign.key, authority: countersign.pem, names: [proxy.example]}\n")
	s, _ := p.run()
	image := coretest.Push(t, p.host+"/app:v1", coretest.Image(t, 1))
	path := s.URL() + "/v2/app/manifests/" + strings.Replace(image.DigestStr(), ":", "-", 1) + ".sig"
	if status, body := get(t, http.DefaultClient, path); status != 200 || strings.Count(body, "simplesigning") != 2 { // by both names
		t.Errorf("got %d %s", status, body)
	}
	if pem, err := os.ReadFile(p.path("countersign.pem")); err != nil || !strings.Contains(string(pem), "CERTIFICATE") {
		t.Errorf("the authority is %q, %v", pem, err)
	}
	p.write("policy.yaml", fmt.Sprintf(static, "fail"))
	s.reload(t.Context())
	if status, body := get(t, http.DefaultClient, path); status == 200 {
		t.Errorf("refused: got %s", body)
	}
}

// Replicas make no key each, of which clients would accept one alone: they start with the one that they are given.
func TestCountersign_ReplicasHaveOneKey(t *testing.T) {
	p := newPlace(t)
	p.write("proxy.yaml", p.least()+"countersign: {key: countersign.key, authority: countersign.pem, names: [proxy.example]}\npeers: {listen: \"127.0.0.1:0\", urls: [\"http://127.0.0.1:1\"], secretFile: peers.secret}\n")
	p.write("peers.secret", strings.Repeat("s", 32))
	if _, err := p.new(); err == nil || !strings.Contains(err.Error(), "countersign: ") || !strings.Contains(err.Error(), "touchmark proxy key make --config "+p.path("proxy.yaml")) {
		t.Errorf("without a key: %v", err)
	}
	c, err := config.Load(p.path("proxy.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := countersign.Generate(t.Context(), c.Countersign.Of(keys.Options{})); err != nil {
		t.Fatal(err)
	}
	p.run()
}
