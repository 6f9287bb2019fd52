package doctor_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/crypto/bcrypt"

	"github.com/touchmark/touchmark/core/coretest"
	core "github.com/touchmark/touchmark/core/doctor"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/registry-proxy/config"
	"github.com/touchmark/touchmark/registry-proxy/doctor"
	"github.com/touchmark/touchmark/registry-proxy/peers"
	"github.com/touchmark/touchmark/registry-proxy/service"
	"github.com/touchmark/touchmark/services/trustroot"
)

// demand is a policy that names who signs, and another for images that need no signature.
const demand = `apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata: {name: release}
spec:
  images: [{glob: "registry.acme.example/app"}]
  authorities:
  - keyless: {trustRootRef: acme, identities: [{issuer: "https://login.acme.example", subject: release@acme.example}]}
---
apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata: {name: free}
spec:
  images: [{glob: "registry.acme.example/free"}]
  authorities: [{static: {action: pass}}]
`

// place is a directory with the files of a proxy with which nothing is wrong, and a registry.
type place struct {
	t    *testing.T
	dir  string
	host string // of the registry
	// lines are those of proxy.yaml, by their fields; registry are more of the only registry's.
	lines    map[string]string
	registry string
	trust    string // trust roots
	// mirror is the TUF repository of the one that is followed.
	mirror *httptest.Server
	until  time.Time // when it is not used any more
	config doctor.Config
}

func newPlace(t *testing.T) *place {
	t.Helper()
	p := &place{t: t, dir: t.TempDir(), host: coretest.NewRegistry(t, true), lines: map[string]string{}, trust: "{name: acme, file: root.json}"}
	coretest.Push(t, p.host+"/app:v1", coretest.Image(t, 1))
	coretest.Push(t, p.host+"/free:v1", coretest.Image(t, 2))
	p.write("policy.d/policy.yaml", demand)
	p.write("root.json", string(coretest.New(t).TrustedRootJSON(t)))
	p.lines["policy"] = "policy.d"
	p.lines["listen"] = "127.0.0.1:0"
	p.lines["metrics"] = `{listen: "127.0.0.1:0"}`
	p.configure()
	p.config = doctor.Config{
		File: p.path("proxy.yaml"), Now: time.Now(), Load: load, UID: os.Getuid(),
		Clock: func() (bool, error) { return true, nil },
		Free:  func(string) (uint64, error) { return 1 << 40, nil },
	}
	return p
}

func load(ctx context.Context, file string, roots []*trust.Root) (*policy.Set, []*trust.Root, error) {
	set, err := policy.Load(ctx, file, policy.Options{})
	return set, roots, err
}

// configure writes proxy.yaml.
func (p *place) configure() {
	p.t.Helper()
	text := "trust: [" + p.trust + "]\nregistries:\n- name: registry.acme.example\n  upstream: http://" + p.host + "\n" + p.registry
	for field, value := range p.lines {
		text += field + ": " + value + "\n"
	}
	p.write("proxy.yaml", text)
}

// set changes a field of proxy.yaml.
func (p *place) set(field, value string) {
	p.t.Helper()
	p.lines[field] = value
	p.configure()
}

// about adds to the registry's section.
func (p *place) about(line string) {
	p.t.Helper()
	p.registry += "  " + line + "\n"
	p.configure()
}

func (p *place) path(name string) string { return filepath.Join(p.dir, name) }

// write puts a file that nobody else can read in the place of another at once.
func (p *place) write(name, text string) {
	p.t.Helper()
	if err := os.MkdirAll(filepath.Dir(p.path(name)), 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(p.path(name)+".new", []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
	if err := os.Rename(p.path(name)+".new", p.path(name)); err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) mode(name string, mode os.FileMode) {
	p.t.Helper()
	if err := os.Chmod(p.path(name), mode); err != nil {
		p.t.Fatal(err)
	}
}

// edit replaces a text of a file.
func (p *place) edit(name, before, after string) {
	p.t.Helper()
	data, err := os.ReadFile(p.path(name))
	if err != nil || !strings.Contains(string(data), before) {
		p.t.Fatalf("%s: no %q: %v", name, before, err)
	}
	p.write(name, strings.Replace(string(data), before, after, 1))
}

// tls gives the proxy a certificate that ends after some time.
func (p *place) tls(ends time.Duration, names ...string) {
	p.t.Helper()
	cert, key := certificate(p.t, time.Now().Add(ends), names...)
	p.write("proxy.pem", cert)
	p.write("proxy.key", key)
	p.set("tls", "{cert: proxy.pem, key: proxy.key}")
}

// follow has the trust root followed by TUF, and seen once.
func (p *place) follow() {
	p.t.Helper()
	repository, err := trustroot.CreateRepository(trustroot.RepositoryConfig{
		Dir: p.t.TempDir(), Keys: trustroot.RepositoryKeys{Root: []crypto.Signer{coretest.NewKey(p.t)}, Targets: coretest.NewKey(p.t), Online: coretest.NewKey(p.t)},
		Targets: map[string][]byte{trustroot.TrustedRootFile: coretest.New(p.t).TrustedRootJSON(p.t)}, Clock: time.Now, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = repository.Close() })
	p.mirror = httptest.NewServer(repository.Handler())
	p.t.Cleanup(p.mirror.Close)
	p.write("tuf.json", string(repository.Root()))
	p.trust = fmt.Sprintf("{name: acme, mirror: %q, root: tuf.json}", p.mirror.URL)
	p.set("state", "state")
	conf, err := config.Load(p.path("proxy.yaml"))
	if err != nil {
		p.t.Fatal(err)
	}
	f, err := service.Follower(conf.Followed()[0], conf.TUFDir(conf.Followed()[0]))
	if err != nil {
		p.t.Fatal(err)
	}
	root, err := f.Load(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	p.until = root.Until
}

// elsewhere has the proxy listen where others reach it, as one may: with a certificate, for those who log in.
func (p *place) elsewhere() {
	p.t.Helper()
	p.tls(1000*time.Hour, "proxy.example")
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		p.t.Fatal(err)
	}
	p.write("users", "ci:"+string(hash)+"\n")
	p.set("auth", "{htpasswd: users}")
	p.set("listen", "0.0.0.0:5443")
}

// peers has it ask another replica, which is there, and answer.
func (p *place) peers() {
	p.t.Helper()
	p.write("peers.secret", strings.Repeat("s", 32))
	p.set("peers", fmt.Sprintf("{listen: %q, urls: [%q], secretFile: peers.secret}", p.replica("s"), "http://"+p.replica("s")))
}

// replica is the address of one that has a secret of a letter.
func (p *place) replica(letter string) string {
	p.t.Helper()
	handler, err := peers.Handler([]byte(strings.Repeat(letter, 32)), nil, func(string, v1.Hash) []v1.Hash { return nil })
	if err != nil {
		p.t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	p.t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// closed is an address at which nothing does.
func closed(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// run runs the proxy until the test ends, and has the doctor ask it.
func (p *place) run() {
	p.t.Helper()
	s, err := service.New(p.t.Context(), service.Config{Read: func() (*config.Config, error) { return config.Load(p.path("proxy.yaml")) }, Load: load})
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	p.t.Cleanup(sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			p.t.Error(err)
		}
	}))
	p.config.Live, p.config.URL, p.config.Metrics = true, s.URL(), s.MetricsURL()
}

func (p *place) examine() *core.Report {
	p.t.Helper()
	report, err := doctor.Examine(p.t.Context(), p.config)
	if err != nil {
		p.t.Fatal(err)
	}
	return report
}

// certificate is one of nobody's authority, and its key, as PEM.
func certificate(t *testing.T, ends time.Time, names ...string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "proxy"}, DNSNames: names,
		NotBefore: ends.Add(-2000 * time.Hour), NotAfter: ends,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
}
