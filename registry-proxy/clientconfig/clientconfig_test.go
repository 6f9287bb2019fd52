package clientconfig_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/google/go-cmp/cmp"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/registry-proxy/clientconfig"
	"github.com/touchmark/touchmark/registry-proxy/config"
)

var proxy = clientconfig.Proxy{URL: "https://proxy.example:5443", CA: []byte("the authority\n"), Registries: []config.Registry{
	{Upstream: "https://registry-1.docker.io", Prefix: "hub"},
	{Name: "registry.acme.example", Upstream: "https://robot:secret@10.0.0.5:5000", Hosts: []string{"acme.example"}},
}}

// The proxy takes the registry's place in every file, is a mirror in none, and signers are told where to go.
func TestNeverAMirror(t *testing.T) {
	for name, write := range map[string]func() ([]clientconfig.File, error){"containerd": proxy.Containerd, "podman": proxy.Podman, "docker": proxy.Docker} {
		files, err := write()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			var read map[string]any
			switch {
			case strings.HasSuffix(f.Path, ".json"):
				err = json.Unmarshal([]byte(f.Content), &read)
			case strings.HasSuffix(f.Path, ".crt"), strings.HasSuffix(f.Path, ".pem"):
				if f.Content != string(proxy.CA) {
					t.Errorf("%s: %s: %s", name, f.Path, f.Content)
				}
				continue
			default:
				_, err = toml.Decode(f.Content, &read)
				if !strings.Contains(f.Content, "read-only") || !strings.Contains(f.Content, "https://10.0.0.5:5000") && !strings.Contains(f.Content, "https://registry-1.docker.io") {
					t.Errorf("%s: %s does not say how to sign", name, f.Path)
				}
			}
			if err != nil {
				t.Errorf("%s: %s: %v\n%s", name, f.Path, err, f.Content)
			}
			if _, mirror := read["host"]; mirror || read["registry-mirrors"] != nil || strings.Contains(f.Content, "secret") {
				t.Errorf("%s: %s:\n%s", name, f.Path, f.Content)
			}
		}
	}
}

func TestContainerd(t *testing.T) {
	files, err := proxy.Containerd()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]map[string]any{}
	for _, f := range files {
		if f.Path == "/etc/touchmark/proxy-ca.pem" && f.Content == string(proxy.CA) {
			continue
		}
		var read map[string]any
		if _, err := toml.Decode(f.Content, &read); err != nil {
			t.Fatal(err)
		}
		got[f.Path] = read
	}
	hosts := func(server string) map[string]any {
		return map[string]any{"server": server, "capabilities": []any{"pull", "resolve"}, "ca": "/etc/touchmark/proxy-ca.pem"}
	}
	want := map[string]map[string]any{
		"/etc/containerd/certs.d/docker.io/hosts.toml":             hosts("https://proxy.example:5443"),
		"/etc/containerd/certs.d/registry.acme.example/hosts.toml": hosts("https://acme.example:5443"),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestPodman(t *testing.T) {
	files, err := proxy.Podman()
	if err != nil {
		t.Fatal(err)
	}
	var read struct {
		Registry []struct {
			Prefix, Location string
			Insecure         bool
			Mirror           []any
		}
	}
	if _, err := toml.Decode(files[0].Content, &read); err != nil {
		t.Fatal(err)
	}
	if r := read.Registry; len(r) != 2 || r[0].Prefix != "docker.io" || r[0].Location != "proxy.example:5443/hub" || r[1].Location != "acme.example:5443" || r[0].Insecure || len(r[0].Mirror) > 0 {
		t.Errorf("got %+v", r)
	}
	bare := proxy
	bare.Registries = []config.Registry{{Upstream: "https://a.example"}, {Upstream: "https://b.example"}}
	if _, err := bare.Podman(); err == nil || !strings.Contains(err.Error(), "registries[0]: a.example has neither hosts nor a prefix") {
		t.Errorf("got %v", err)
	}
	bare.URL, bare.Registries = "http://127.0.0.1:5000", bare.Registries[:1]
	if files, err := bare.Podman(); err != nil || !strings.Contains(files[0].Content, "location = \"127.0.0.1:5000\"\ninsecure = true") {
		t.Errorf("got %v, %v", files, err)
	}
}

func TestAddress(t *testing.T) {
	for _, u := range []string{"", "proxy.example", "ftp://proxy.example", "https://u:p@proxy.example", "https://proxy.example/hub", "https://proxy.example?x", "https://a\"b"} {
		p := proxy
		p.URL = u
		if _, err := p.Containerd(); err == nil {
			t.Errorf("%q: no error", u)
		}
	}
}

// Files with which every pull would be refused, or lead to another registry, are not written.
func TestWhatTheProxyGoesBy(t *testing.T) {
	without := []config.Registry{{Upstream: "https://registry-1.docker.io", Prefix: "hub"}, {Upstream: "https://10.0.0.5:5000", Hosts: []string{"acme.example", "ports.example:5443"}}}
	names := []string{"proxy.example:5443", "pull.example"}
	for _, c := range []struct {
		url        string
		names      []string
		registries []config.Registry
		want       string
	}{
		{"https://proxy.example:5443", names, without, ""},
		{"https://Proxy.example", names, without, ""}, // no port counts
		{"https://10.0.0.9:5443", names, without, ""},
		{"http://hub.localhost:5443", names, without, ""},
		{"https://other.example", names, without, "does not go by other.example"},
		{"https://other.example", nil, without, ""},
		{"https://other.example:6443", names, without[1:], ""}, // the registry has a host of its own
		{"https://acme.example", names, without, "acme.example stands for registries[1] alone, and registries[0] has no hosts"},
		{"https://Acme.example:5443", nil, without, "stands for registries[1] alone"},
		{"https://ports.example:5443", names, without, "stands for registries[1] alone"},
		{"https://ports.example:6443", names, without, ""},
	} {
		p := clientconfig.Proxy{URL: c.url, Names: c.names, Registries: c.registries}
		for client, write := range map[string]func() ([]clientconfig.File, error){"containerd": p.Containerd, "podman": p.Podman, "docker": p.Docker} {
			_, err := write()
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s, %s, names %v: %v, want %q", client, c.url, c.names, err, c.want)
			}
		}
	}
}

// Where the proxy countersigns, podman is made to demand it, at the places where images really come from.
func TestPodman_Countersigned(t *testing.T) {
	signing := proxy
	signing.Countersigner = []byte("its authority\n")
	files, err := signing.Podman()
	if err != nil {
		t.Fatal(err)
	}
	var policy, places, authority string
	for _, f := range files {
		switch f.Path {
		case "/etc/containers/policy.json":
			policy = f.Content
		case "/etc/containers/registries.d/touchmark-proxy.yaml":
			places = f.Content
		case clientconfig.Authority:
			authority = f.Content
		}
	}
	var read struct {
		Default    []struct{ Type string }
		Transports map[string]map[string][]struct {
			Type string
			PKI  struct{ CARootsPath, SubjectEmail string }
		}
	}
	if err := json.Unmarshal([]byte(policy), &read); err != nil {
		t.Fatal(err)
	}
	if authority != "its authority\n" {
		t.Errorf("got the authority %q", authority)
	}
	for _, name := range []string{"docker.io", "registry.acme.example"} {
		if r := read.Transports["docker"][name]; len(r) != 1 || r[0].Type != "sigstoreSigned" || r[0].PKI.CARootsPath != clientconfig.Authority {
			t.Errorf("%s: %s", name, policy)
		}
	}
	if len(read.Default) != 1 || read.Default[0].Type != "reject" || !strings.Contains(places, `"proxy.example:5443"`) || !strings.Contains(places, `"acme.example:5443"`) {
		t.Errorf("got %s\n%s", policy, places)
	}
}

// Of a file only certificates are printed: never the key that may stand beside them.
func TestCertificates(t *testing.T) {
	key := coretest.NewKey(t)
	one := coretest.Issue(t, &x509.Certificate{Subject: pkix.Name{CommonName: "acme"}}, nil, key.Public(), key)
	cert := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: one.Raw}))
	secret := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("secret")}))
	broken := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("broken")}))
	for file, want := range map[string]string{cert: cert, "# acme\n" + cert + secret + cert: cert + cert, secret: "", "": "", cert + broken: ""} {
		got, err := clientconfig.Certificates([]byte(file))
		if string(got) != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, %v", file, got, err)
		}
	}
}

// Docker is told to use plain HTTP for each name of a proxy that has no certificate, but for loopback addresses, where it does so anyway.
func TestDocker_PlainHTTP(t *testing.T) {
	for url, want := range map[string][]any{
		"http://proxy.example:5000": {"proxy.example:5000", "acme.example:5000"}, "http://127.0.0.1:5000": {"acme.example:5000"}, "https://proxy.example": nil,
	} {
		p := proxy
		p.URL = url
		files, err := p.Docker()
		if err != nil {
			t.Fatal(err)
		}
		var daemon map[string]any
		if err := json.Unmarshal([]byte(files[0].Content), &daemon); err != nil {
			t.Fatal(err)
		}
		got, _ := daemon["insecure-registries"].([]any)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", url, diff)
		}
	}
}
