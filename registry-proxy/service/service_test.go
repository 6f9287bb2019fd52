package service

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/coretest"
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
	t    *testing.T
	dir  string
	host string // of the registry
	log  *lines
}

func newPlace(t *testing.T) *place {
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
		Load: func(ctx context.Context, file string, _ []config.Root) (*policy.Set, []*trust.Root, error) {
			set, err := policy.Load(ctx, file, policy.Options{})
			return set, nil, err
		},
		Logger: slog.New(slog.NewJSONHandler(p.log, nil)),
	})
}

// run runs a service until the test ends, or stop is called, which returns what Run did.
func (p *place) run() (s *Service, stop func() error) {
	p.t.Helper()
	s, err := p.new()
	if err != nil {
		p.t.Fatal(err)
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
func get(t *testing.T, client *http.Client, url string) (int, string) {
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

// OPS-04: what cannot be used changes nothing; what can is in force at once; and no request is dropped meanwhile.
func TestOPS04_Reload(t *testing.T) {
	p := newPlace(t)
	s, _ := p.run()
	var stop atomic.Bool
	var pulls, broken atomic.Int64
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for !stop.Load() {
				resp, err := http.Get(s.URL() + "/v2/app/manifests/v1")
				if err != nil {
					broken.Add(1)
					continue
				}
				if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != 200 && resp.StatusCode != 403 {
					broken.Add(1)
				}
				resp.Body.Close()
				pulls.Add(1)
			}
		})
	}
	for _, step := range []struct {
		name, file, text string
		status           int
		problem          string // in the log; empty: it is in force
	}{
		{"refuse", "policy.yaml", fmt.Sprintf(static, "fail"), 403, ""},
		{"policy broken", "policy.yaml", "kind: [", 403, "policy.yaml"},
		{"policy mended", "policy.yaml", fmt.Sprintf(static, "pass"), 200, ""},
		{"configuration broken", "proxy.yaml", p.least() + "nonsense: 1\n", 200, "proxy.yaml:7: nonsense: unknown field"},
		{"another address", "proxy.yaml", strings.Replace(p.least(), "127.0.0.1:0", "127.0.0.1:1", 1), 200, "listen: takes a restart"},
		{"credentials missing", "proxy.yaml", p.least() + "  credentials: {dockerConfig: nowhere.json}\n", 200, "nowhere.json"},
		{"authority missing", "proxy.yaml", p.least() + "  ca: nowhere.pem\n", 200, "nowhere.pem"},
		{"users missing", "proxy.yaml", p.least() + "auth: {htpasswd: nowhere}\n", 200, "nowhere"},
		{"another policy", "proxy.yaml", p.least() + "  policy: other.yaml\n", 200, "other.yaml"},
		{"which is there now", "other.yaml", fmt.Sprintf(static, "fail"), 403, ""},
		{"observed", "proxy.yaml", p.least() + "  policy: other.yaml\n  mode: observe\n", 200, ""},
		{"as before", "proxy.yaml", p.least(), 200, ""},
	} {
		logged := len(p.log.String())
		p.write(step.file, step.text)
		s.reload(t.Context())
		if status, body := get(t, http.DefaultClient, s.URL()+"/v2/app/manifests/v1"); status != step.status {
			t.Errorf("%s: got %d %s, want %d", step.name, status, body, step.status)
		}
		said := p.log.String()[logged:]
		if cannot := strings.Contains(said, "cannot be used"); cannot != (step.problem != "") || !strings.Contains(said, step.problem) {
			t.Errorf("%s: the log says %s", step.name, said)
		}
		_, metrics := get(t, http.DefaultClient, s.MetricsURL()+"/metrics")
		if want := map[bool]string{true: "touchmark_reload_failed 1", false: "touchmark_reload_failed 0"}[step.problem != ""]; !strings.Contains(metrics, want) {
			t.Errorf("%s: the metrics have no %s", step.name, want)
		}
		if status, body := get(t, http.DefaultClient, s.MetricsURL()+"/readyz"); status != 200 {
			t.Errorf("%s: not ready: %s", step.name, body)
		}
	}
	stop.Store(true)
	group.Wait()
	if broken.Load() != 0 || pulls.Load() == 0 {
		t.Errorf("%d of %d requests were dropped", broken.Load(), pulls.Load())
	}
}

// A registry whose part of the configuration is as before keeps what it knows, and the gate its verdicts.
func TestReload_KeepsWhatHasNotChanged(t *testing.T) {
	p := newPlace(t)
	p.write("proxy.yaml", p.least()+"- name: other.example\n  upstream: http://"+p.host+"\n")
	s, _ := p.run()
	before := s.world.Load()
	p.write("proxy.yaml", p.least()+"- name: other.example\n  upstream: http://"+p.host+"\n  limits: {fetches: 3}\n")
	s.reload(t.Context())
	now := s.world.Load()
	if before == now {
		t.Fatal(p.log.String())
	}
	id := func(name string) string { return "http://" + p.host + " " + name }
	if before.proxies[id("registry.acme.example")].proxy != now.proxies[id("registry.acme.example")].proxy {
		t.Error("the registry that has not changed was made anew")
	}
	if before.proxies[id("other.example")].proxy == now.proxies[id("other.example")].proxy {
		t.Error("the registry that has changed was not")
	}
	for key := range now.rules {
		if before.rules[key] == nil || before.rules[key].gate != now.rules[key].gate {
			t.Errorf("the gate of %s was made anew", key)
		}
	}
}

// The files are watched, those included that were not named at the start.
func TestReload_Watches(t *testing.T) {
	p := newPlace(t)
	s, _ := p.run()
	wait := func(status int) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
			got, _ := get(t, http.DefaultClient, s.URL()+"/v2/app/manifests/v1")
			if got == status {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("got %d, want %d; log:\n%s", got, status, p.log.String())
			}
		}
	}
	wait(200)
	p.write("other.yaml", fmt.Sprintf(static, "fail"))
	p.write("proxy.yaml", strings.Replace(p.least(), "policy.yaml", "other.yaml", 1))
	wait(403)
	p.write("other.yaml", fmt.Sprintf(static, "pass"))
	wait(200)
}

// OPS-04: the order to stop lets answers under way end, and is seen on the health page first.
func TestOPS04_Drain(t *testing.T) {
	p := newPlace(t)
	begun, more := make(chan struct{}), make(chan struct{})
	slow, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	upstream := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/" {
			return
		}
		close(begun)
		<-more
		http.NotFound(w, r)
	})}
	go upstream.Serve(slow)
	defer upstream.Close()
	p.host = slow.Addr().String()
	p.write("proxy.yaml", p.least())
	s, stop := p.run()
	answered := make(chan int)
	go func() {
		status, _ := get(t, http.DefaultClient, s.URL()+"/v2/app/manifests/v1")
		answered <- status
	}()
	<-begun
	stopped := make(chan error)
	go func() { stopped <- stop() }()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if status, body := get(t, http.DefaultClient, s.MetricsURL()+"/readyz"); status == http.StatusServiceUnavailable && body == "stopping\n" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("it is still ready")
		}
	}
	if status, _ := get(t, http.DefaultClient, s.MetricsURL()+"/healthz"); status != http.StatusOK {
		t.Errorf("it says that it is not alive: %d", status)
	}
	close(more)
	if status := <-answered; status != http.StatusNotFound {
		t.Errorf("the answer under way was %d", status)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
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

// certificate makes a certificate and its key as PEM, signed by another or by itself.
func certificate(t *testing.T, template *x509.Certificate, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (cert *x509.Certificate, key *ecdsa.PrivateKey, certPEM, keyPEM string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber, template.NotBefore, template.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	if parent == nil {
		template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign|x509.KeyUsageDigitalSignature
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		t.Fatal(err)
	}
	if cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))
}

// Over TLS there is HTTP/2 beside HTTP/1.1, and clients are known by certificates of the authority that is named.
func TestClientCertificates(t *testing.T) {
	p := newPlace(t)
	server, _, certPEM, keyPEM := certificate(t, &x509.Certificate{Subject: pkix.Name{CommonName: "proxy"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"}}, nil, nil)
	ca, caKey, caPEM, _ := certificate(t, &x509.Certificate{Subject: pkix.Name{CommonName: "clients"}}, nil, nil)
	other, otherKey, otherPEM, _ := certificate(t, &x509.Certificate{Subject: pkix.Name{CommonName: "others"}}, nil, nil)
	p.write("proxy.pem", certPEM)
	p.write("proxy.key", keyPEM)
	p.write("clients.pem", caPEM)
	p.write("proxy.yaml", p.least()+"tls: {cert: proxy.pem, key: proxy.key, clientCA: clients.pem}\nauth:\n  access: [{subjects: [\"cert:ci@acme.example\"], repositories: [\"**\"]}]\n")
	s, _ := p.run()
	client := func(http2 bool, email string, ca *x509.Certificate, caKey *ecdsa.PrivateKey) *http.Client {
		roots := x509.NewCertPool()
		roots.AddCert(server)
		c := &tls.Config{RootCAs: roots}
		if email != "" {
			leaf, key, _, _ := certificate(t, &x509.Certificate{EmailAddresses: []string{email}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, ca, caKey)
			c.Certificates = []tls.Certificate{{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}}
		}
		return &http.Client{Transport: &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: http2}}
	}
	path := s.URL() + "/v2/app/manifests/v1"
	for _, http2 := range []bool{false, true} {
		if status, body := get(t, client(http2, "ci@acme.example", ca, caKey), path); status != 200 {
			t.Errorf("ci: %d %s", status, body)
		}
		if status, _ := get(t, client(http2, "bob@acme.example", ca, caKey), path); status != 403 {
			t.Errorf("bob: %d", status)
		}
		if status, _ := get(t, client(http2, "", nil, nil), path); status != 401 {
			t.Errorf("nobody: %d", status)
		}
		if resp, err := client(http2, "ci@acme.example", other, otherKey).Get(path); err == nil && resp.StatusCode == 200 {
			t.Error("ci with a certificate of another authority was let in")
		}
	}
	p.write("clients.pem", otherPEM)
	s.reload(t.Context())
	if status, body := get(t, client(true, "ci@acme.example", other, otherKey), path); status != 200 {
		t.Errorf("ci of the new authority: %d %s", status, body)
	}
	if resp, err := client(true, "ci@acme.example", ca, caKey).Get(path); err == nil && resp.StatusCode == 200 {
		t.Error("ci of the former authority was let in")
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
