package access

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	resolver "github.com/containerd/containerd/v2/core/remotes/docker/config"
	"github.com/google/go-cmp/cmp"

	"github.com/touchmark/touchmark/core/location"
	"github.com/touchmark/touchmark/core/location/locationtest"
)

// asked is how a host is asked, in the words of this test.
type asked struct {
	Scheme, Host, Path string
	Header             http.Header
	SkipVerify         bool
	Certificates       int
	Roots              bool // besides the system's
}

// byContainerd are the hosts of a registry as containerd itself reads them.
func byContainerd(t *testing.T, root, registry string) []asked {
	t.Helper()
	hosts, err := resolver.ConfigureHosts(t.Context(), resolver.HostOptions{HostDir: resolver.HostDirFromRoot(root)})(registry)
	if err != nil {
		t.Fatalf("containerd itself: %v", err)
	}
	var out []asked
	for _, h := range hosts {
		if !h.Capabilities.Has(docker.HostCapabilityPull) {
			continue
		}
		a := asked{Scheme: h.Scheme, Host: h.Host, Path: path.Join("/", h.Path), Header: h.Header}
		inner := h.Client.Transport
		transport, ok := inner.(*http.Transport)
		if !ok { // one that tries HTTP after HTTPS
			a.Scheme = ""
			transport = (*http.Transport)(reflect.ValueOf(inner).Elem().FieldByName("super").Elem().UnsafePointer())
		}
		out = append(out, a.withTLS(transport))
	}
	return out
}

func (a asked) withTLS(t *http.Transport) asked {
	if c := t.TLSClientConfig; c != nil {
		a.SkipVerify, a.Certificates, a.Roots = c.InsecureSkipVerify, len(c.Certificates), c.RootCAs != nil
	}
	if len(a.Header) == 0 {
		a.Header = nil
	}
	return a
}

// byUs are the hosts as this package reads them.
func byUs(root, registry string) ([]asked, error) {
	hosts, err := New(Config{Hosts: []string{root}}).hosts(registry)
	if err != nil {
		return nil, err
	}
	var out []asked
	for _, h := range hosts {
		transport, err := h.transport()
		if err != nil {
			return nil, err
		}
		out = append(out, asked{Scheme: h.scheme, Host: h.host, Path: h.path, Header: h.header}.withTLS(transport))
	}
	return out, nil
}

// root makes a directory with a registry's hosts.toml, beside certificates.
func root(t *testing.T, dir, text string) string {
	t.Helper()
	at := t.TempDir()
	put(t, filepath.Join(at, dir, "hosts.toml"), text)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certificate := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	secret := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
	put(t, filepath.Join(at, dir, "ca.pem"), certificate)
	put(t, filepath.Join(at, dir, "key.pem"), secret)
	put(t, filepath.Join(at, dir, "both.pem"), certificate+secret)
	return at
}

func put(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// What may stand in a hosts.toml, a line of each or none.
var (
	urls = []string{
		"https://m.example", "m.example", "http://m.example:5000", "http://m.example:80", "http://10.0.0.1", "https://m.example/", "https://m.example/v2", "https://m.example/v2/",
		"https://m.example/v2/quay", "https://m.example/proxy", "https://m.example/proxy/v2", "https://m.example/a/../b/", "https://[::1]:5000/v2", "http://localhost:5000",
	}
	lines = [][]string{
		{"", "", "override_path = true"},
		{"", "", "capabilities = [\"pull\"]", "capabilities = [\"PULL\", \"Resolve\"]", "capabilities = [\"push\"]", "capabilities = []", "capabilities = [\"pull\", \"resolve\", \"push\", \"referrers\"]"},
		{"", "", "skip_verify = true", "skip_verify = false"},
		{"", "", "ca = \"ca.pem\"", "ca = [\"ca.pem\", \"both.pem\"]"},
		{"", "", "client = \"both.pem\"", "client = [\"both.pem\"]", "client = [[\"ca.pem\", \"key.pem\"], [\"ca.pem\", \"key.pem\"]]"},
		{"", "", "dial_timeout = \"2s\""},
	}
	headers = []string{"", "", "X-A = \"1\"", "x-a = [\"1\", \"2\"]\nX-B = \"3\""}
	names   = []string{"registry.example", "registry.example:5000", "docker.io", "registry-1.docker.io", "localhost", "localhost:80", "localhost:443", "127.0.0.1:5000", "[::1]:5000"}
)

// hostsTOML writes a file by chance.
func hostsTOML(r *mathrand.Rand) string {
	pick := func(of []string) string { return of[r.IntN(len(of))] }
	var b strings.Builder
	section := func(header string) {
		for _, of := range lines {
			fmt.Fprintln(&b, pick(of))
		}
		if h := pick(headers); h != "" {
			fmt.Fprintf(&b, "[%s]\n%s\n", header, h)
		}
	}
	if r.IntN(3) > 0 {
		fmt.Fprintf(&b, "server = %q\n", pick(urls))
	}
	section("header")
	mirrors := slices.Clone(urls)
	r.Shuffle(len(mirrors), func(i, j int) { mirrors[i], mirrors[j] = mirrors[j], mirrors[i] })
	for _, m := range mirrors[:r.IntN(4)] {
		fmt.Fprintf(&b, "[host.%q]\n", m)
		section(fmt.Sprintf("host.%q.header", m))
	}
	return b.String()
}

// Hosts, paths, TLS and order are containerd's own, for whatever hosts.toml says.
func TestHostsAsContainerdReadsThem(t *testing.T) {
	r := mathrand.New(mathrand.NewPCG(1, 2))
	empty := 0
	for range 400 {
		name, text := names[r.IntN(len(names))], hostsTOML(r)
		dir := name
		if i := strings.LastIndexByte(name, ':'); i > 0 && r.IntN(2) == 0 {
			dir = name[:i] + "_" + name[i+1:] + "_"
		} else if r.IntN(4) == 0 {
			dir = "_default"
		}
		at := root(t, dir, text)
		want := byContainerd(t, at, name)
		got, err := byUs(at, name)
		if len(want) == 0 { // a registry that is asked for nothing: an error, here and there
			empty++
			if err == nil {
				t.Errorf("%s in %s:\n%s\nit is asked at %v", name, dir, text, got)
			}
			continue
		}
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s in %s:\n%s\n%v\n(-containerd +ours)\n%s", name, dir, bytes.TrimSpace([]byte(text)), err, diff)
		}
	}
	t.Logf("%d without a host to pull from", empty)
}

// Without a file, and with Docker's certificates.
func TestDirectoriesAsContainerdReadsThem(t *testing.T) {
	for _, name := range names {
		for _, files := range [][]string{nil, {"ca.crt"}, {"a.cert"}, {"a.cert", "a.key"}, {"ca.crt", "a.cert"}, {"README"}} {
			at := root(t, "other.example", "")
			for _, f := range files {
				from := map[string]string{".crt": "ca.pem", ".cert": "both.pem", ".key": "key.pem"}[filepath.Ext(f)]
				text, _ := os.ReadFile(filepath.Join(at, "other.example", from)) // a README is empty
				put(t, filepath.Join(at, name, f), string(text))
			}
			if len(files) == 2 && files[1] == "a.key" { // the pair is of one key
				text, err := os.ReadFile(filepath.Join(at, "other.example", "ca.pem"))
				if err != nil {
					t.Fatal(err)
				}
				put(t, filepath.Join(at, name, "a.cert"), string(text))
			}
			got, err := byUs(at, name)
			if diff := cmp.Diff(byContainerd(t, at, name), got); err != nil || diff != "" {
				t.Errorf("%s with %v: %v\n%s", name, files, err, diff)
			}
		}
	}
}

// Where containerd passes over what is wrong, and asks the registry itself or a host
// fewer, this is an error that names the file.
func TestStricterThanContainerd(t *testing.T) {
	for what, text := range map[string]string{
		"no TOML":                  "server = \n",
		"a capability":             "server = \"https://m.example\"\ncapabilities = [\"all\"]\n",
		"an unknown field":         "server = \"https://m.example\"\nskip = true\n",
		"hosts as dotted keys":     "host.\"https://m.example\".skip_verify = true\n",
		"hosts as an inline table": "host = {\"https://m.example\" = {skip_verify = true}}\n",
		"a URL without a host":     "server = \"httpbin\"\n",
		"another scheme":           "[host.\"httpx://m.example\"]\n",
	} {
		at := root(t, "registry.example", text)
		byContainerd(t, at, "registry.example") // does not fail
		if got, err := byUs(at, "registry.example"); err == nil || !strings.Contains(err.Error(), "hosts.toml") {
			t.Errorf("%s: %v, %v", what, got, err)
		}
	}
}

// The shapes of configurations that hosts.toml can express.
func TestShapes(t *testing.T) {
	shapes, checked := 0, 0
	for _, s := range locationtest.Shapes(t) {
		if slices.ContainsFunc(s.Rules, func(r locationtest.Rule) bool { return r.Blocked || strings.HasPrefix(r.Prefix, "*") }) {
			continue // hosts.toml has neither
		}
		at := t.TempDir()
		rules := make(map[string]locationtest.Rule)
		for _, rule := range s.Rules {
			if text, ok := asHosts(rule); ok {
				rules[rule.Prefix] = rule
				put(t, filepath.Join(at, rule.Prefix, "hosts.toml"), text)
			}
		}
		before := checked
		for logical, want := range s.Places {
			registry, _, _ := strings.Cut(logical, "/")
			if _, ok := rules[registry]; !ok || slices.ContainsFunc(s.Rules, func(r locationtest.Rule) bool { return strings.HasPrefix(r.Prefix, registry+"/") }) {
				continue
			}
			table, err := New(Config{Hosts: []string{at}}).Table(registry)
			if err != nil {
				t.Errorf("%s: %v", s.Name, err)
				continue
			}
			places, err := table.Places(logical)
			if err != nil {
				t.Errorf("%s: %s: %v", s.Name, logical, err)
			}
			var got []string
			for _, p := range places {
				got = append(got, p.String())
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: %s:\n%s", s.Name, logical, diff)
			}
			checked++
		}
		if checked > before {
			shapes++
		}
	}
	if shapes < 8 {
		t.Errorf("only %d shapes, with %d names, can be written as hosts.toml", shapes, checked)
	}
	t.Logf("%d shapes, %d names", shapes, checked)
}

// asHosts is a rule as hosts.toml, if it can be one: about one whole registry, and
// for all pulls.
func asHosts(r locationtest.Rule) (string, bool) {
	if strings.Contains(r.Prefix, "/") {
		return "", false
	}
	var b strings.Builder
	line := func(at string, insecure bool) {
		if insecure {
			fmt.Fprintln(&b, "skip_verify = true")
		}
		if strings.Contains(at, "/") {
			fmt.Fprintln(&b, "override_path = true")
		}
	}
	url := func(at string) string {
		host, rest, below := strings.Cut(at, "/")
		if below {
			return "https://" + host + "/v2/" + rest
		}
		return "https://" + host
	}
	if r.Location != "" {
		fmt.Fprintf(&b, "server = %q\n", url(r.Location))
	}
	line(r.Location, r.Insecure)
	for _, m := range r.Mirrors {
		if m.Pull != location.Always {
			return "", false
		}
		fmt.Fprintf(&b, "[host.%q]\n", url(m.Location))
		line(m.Location, m.Insecure)
	}
	return b.String(), true
}
