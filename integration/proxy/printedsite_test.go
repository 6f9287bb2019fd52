package proxy_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/integration/internal/lab"
)

// site is what a company has: a registry with HTTPS by its own authority, images that alice has signed, or mallory, or nobody, and a proxy on a host of its
// own. Both have names; whoever asks for an image by the registry's name and is not told otherwise gets it from there.
type site struct {
	dir        string             // of certificates and configuration; hosts see it, too
	registry   string             // NAME:PORT, as users and policies say
	proxy, hub string             // the proxy's names for it, and for Docker Hub; NAME:PORT
	start      func(t *testing.T) // starts the proxy, again if it was killed
	running    *lab.Process

	registryAddress, proxyAddress string // with the same ports
}

// hosts is the file /etc/hosts.
const hosts = "127.0.0.1 localhost registry.acme.example proxy.acme.example hub.acme.example registry-1.docker.io\n"

// tags are the images' in the repository "web", and what each user is told whom they are refused to.
var tags = map[string]string{"signed": "", "unsigned": "is not signed", "mallory": "mallory@acme.example"}

// newSite starts a site. The proxy's configuration says more, for which further files are written by prepare.
func newSite(t *testing.T, more string, prepare ...func(*site)) *site {
	t.Helper()
	w := lab.New(t, true)
	s := &site{dir: t.TempDir(), registryAddress: lab.FreeAddress(t), proxyAddress: lab.FreeAddress(t)}
	s.registry, s.proxy = "registry.acme.example:"+port(s.registryAddress), "proxy.acme.example:"+port(s.proxyAddress)
	s.hub = "hub.acme.example:" + port(s.proxyAddress)
	pool := s.certify(t)
	for _, f := range prepare {
		f(s)
	}
	s.serve(t)
	transport := remote.WithTransport(&http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}})
	sign := lab.Command{Program: lab.Program(), Env: []string{"SSL_CERT_FILE=" + s.path("ca.pem")}}
	for tag := range tags {
		image := s.registryAddress + "/library/web:" + tag
		ref, err := name.ParseReference(image)
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(ref, lab.Busybox(t, tag), transport); err != nil {
			t.Fatal(err)
		}
		signer := map[string]string{"signed": "alice", "mallory": "mallory"}[tag]
		if signer == "" {
			continue
		}
		if r := sign.Run(t, "sign", "--server", w.Stack.URL, "--as", signer+"@acme.example", image); r.Status != 0 {
			t.Fatal(r.Output())
		}
	}
	metrics := lab.FreeAddress(t)
	s.write(t, "policy.yaml", releasePolicy(w, s.registry, "docker.io"))
	// Its storage is Docker Hub's as well, for those who get there.
	s.write(t, "proxy.yaml", fmt.Sprintf(`listen: %s
tls: {cert: server.pem, key: server.key}
policy: policy.yaml
trust: [{name: acme, file: %q}]
metrics: {listen: %s}
registries:
- {name: "%s", upstream: "https://%[5]s", ca: ca.pem, hosts: [proxy.acme.example]}
- {name: docker.io, upstream: "https://%[5]s", ca: ca.pem, hosts: [hub.acme.example]}
`, s.proxyAddress, w.Root, metrics, s.registry, s.registryAddress)+more)
	host := lab.NewHost(t, lab.Debian13)
	s.start = func(t *testing.T) {
		s.running = host.Root().Serve(t, "http://"+metrics+"/readyz", "proxy", "--config", s.path("proxy.yaml"))
	}
	s.start(t)
	return s
}

// releasePolicy admits what alice has signed, in these registries.
func releasePolicy(w *lab.World, registries ...string) string {
	return fmt.Sprintf(`apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata: {name: release}
spec:
  images: [{glob: "%s/**"}]
  authorities:
  - name: alice
    keyless:
      identities: [{issuer: "%s", subject: alice@acme.example}]
`, strings.Join(registries, `/**"}, {glob: "`), w.Stack.URL)
}

func port(address string) string { return address[strings.LastIndex(address, ":")+1:] }

func (s *site) path(file string) string { return filepath.Join(s.dir, file) }

func (s *site) write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(s.path(file), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s *site) read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(s.path(file))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// certify makes ca.pem, server.pem and server.key.
func (s *site) certify(t *testing.T) *x509.CertPool {
	t.Helper()
	now, caKey, key := time.Now(), coretest.NewKey(t), coretest.NewKey(t)
	ca := coretest.Issue(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "acme"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil, caKey.Public(), caKey)
	server := coretest.Issue(t, &x509.Certificate{
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames: []string{"registry.acme.example", "proxy.acme.example", "hub.acme.example", "registry-1.docker.io"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}, ca, key.Public(), caKey)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		"ca.pem": {Type: "CERTIFICATE", Bytes: ca.Raw}, "server.pem": {Type: "CERTIFICATE", Bytes: server.Raw}, "server.key": {Type: "PRIVATE KEY", Bytes: der},
	} {
		s.write(t, file, string(pem.EncodeToMemory(block)))
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	return pool
}

// serve runs distribution's registry.
func (s *site) serve(t *testing.T) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), lab.Tool(t, "registry-v3.1.2"), "serve", s.registryFile(t, s.registryAddress))
	cmd.Env = append(lab.Environment(t), "OTEL_TRACES_EXPORTER=none")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if conn, err := net.Dial("tcp", s.registryAddress); err == nil {
			conn.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the registry does not answer")
		}
	}
}

// registryFile is the configuration of a registry with the site's images.
func (s *site) registryFile(t *testing.T, address string) string {
	t.Helper()
	file := "registry" + port(address) + ".yaml"
	s.write(t, file, fmt.Sprintf("version: 0.1\nstorage: {filesystem: {rootdirectory: %q}}\nhttp: {addr: %q, tls: {certificate: %q, key: %q}}\n",
		s.path("data"), address, s.path("server.pem"), s.path("server.key")))
	return s.path(file)
}

// install writes exactly what "touchmark client-config" prints to a host on which the site's names are known.
func (s *site) install(t *testing.T, h *lab.Host, client string) {
	t.Helper()
	h.Write(t, "/etc/hosts", hosts)
	out := lab.Touchmark(t, 0, "client-config", client, "--config", s.path("proxy.yaml"), "--url", "https://"+s.proxy, "--ca", s.path("ca.pem")).Stdout
	writePrinted(t, h, out)
}

// writePrinted writes the files that were printed, each after its path.
func writePrinted(t *testing.T, h *lab.Host, printed string) {
	t.Helper()
	var path string
	text := map[string]string{}
	for line := range strings.Lines(printed) {
		if strings.HasPrefix(line, "# /") {
			path = strings.TrimSpace(strings.TrimPrefix(line, "# "))
			continue
		}
		text[path] += line
	}
	for path, text := range text {
		h.Write(t, path, text)
	}
}
