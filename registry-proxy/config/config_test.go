package config_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	registryproxy "github.com/touchmark/touchmark/registry-proxy"
	"github.com/touchmark/touchmark/registry-proxy/auth"
	"github.com/touchmark/touchmark/registry-proxy/config"
)

const whole = `listen: 0.0.0.0:5443
names: [proxy.acme.example]
tls: {cert: proxy.pem, key: /keys/proxy.key, clientCA: clients.pem}
policy: policy.d
trust:
- {name: acme, file: trusted_root.json}
- {name: public-good}
registries:
- name: docker.io
  upstream: https://registry-1.docker.io
  hosts: [hub.example]
  prefix: hub
  credentials: {dockerConfig: auth.json}
- name: registry.acme.example
  upstream: https://10.0.0.5:5000
  ca: acme-ca.pem
  tokenHosts: [login.acme.example]
  hosts: [acme.example]
  passThrough: true
  policy: acme.d
  trust: [{name: own, file: own.json}, {name: west, mirror: "https://sigstore.west.example/tuf", root: root.json, ca: west-ca.pem, maxStale: 10d}, {name: public-good, mirror: public-good}]
  mode: observe
  limits: {fetches: 8, rate: 50.5}
auth:
  htpasswd: users
  oidc:
  - {issuer: "https://login.acme.example", audience: touchmark-proxy, claim: email, claims: {hd: acme.example}}
  anonymous: true
  access:
  - {subjects: [anonymous], repositories: [docker.io/library/*]}
  - {subjects: ["user:*", "oidc:*@acme.example"], repositories: ["**"], page: true}
metrics: {listen: 127.0.0.1:9465}
decisions: {file: decisions.jsonl}
page: true
cache: {dir: cache, size: 50GiB}
offline: 168h
peers: {listen: 0.0.0.0:5444, dns: "proxies.example:5444", secretFile: peers.secret}
countersign: {key: countersign.key, authority: countersign.pem, names: [proxy.example], validity: 5m}
tracing: {endpoint: "https://collector.example:4318"}
state: /srv/state
balancers: [10.0.0.0/8, 192.0.2.7, "2001:db8::/32"]
`

func TestParse(t *testing.T) {
	got, err := config.Parse([]byte(whole), "/etc/touchmark/proxy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return "/etc/touchmark/" + name }
	want := &config.Config{
		File: at("proxy.yaml"), Listen: "0.0.0.0:5443", Names: []string{"proxy.acme.example"}, TLS: config.TLS{Cert: at("proxy.pem"), Key: "/keys/proxy.key", ClientCA: at("clients.pem")},
		Registries: []config.Registry{
			{Name: "docker.io", Upstream: "https://registry-1.docker.io", Hosts: []string{"hub.example"}, Prefix: "hub",
				Credentials: config.Credentials{DockerConfig: at("auth.json")}, Policy: at("policy.d"),
				Trust: []config.Root{{Name: "acme", File: at("trusted_root.json")}, {Name: "public-good"}}},
			{Name: "registry.acme.example", Upstream: "https://10.0.0.5:5000", CA: at("acme-ca.pem"), TokenHosts: []string{"login.acme.example"},
				Hosts: []string{"acme.example"}, PassThrough: true, Policy: at("acme.d"), Trust: []config.Root{
					{Name: "own", File: at("own.json")},
					{Name: "west", TUF: config.TUF{Mirror: "https://sigstore.west.example/tuf", Root: at("root.json"), CA: at("west-ca.pem"), MaxStale: 240 * time.Hour}},
					{Name: "public-good", TUF: config.TUF{Mirror: "public-good", MaxStale: 720 * time.Hour}},
				},
				Observe: true, Limits: config.Limits{Fetches: 8, Rate: 50.5}},
		},
		Auth: auth.Config{
			Htpasswd:     at("users"),
			Issuers:      []auth.Issuer{{URL: "https://login.acme.example", Audience: "touchmark-proxy", Claim: "email", Claims: map[string]string{"hd": "acme.example"}}},
			Certificates: true, Anonymous: true,
			Access: []auth.Rule{
				{Subjects: []string{"anonymous"}, Repositories: []string{"docker.io/library/*"}},
				{Subjects: []string{"user:*", "oidc:*@acme.example"}, Repositories: []string{"**"}, Page: true},
			},
		},
		Metrics: "127.0.0.1:9465", Decisions: at("decisions.jsonl"), Page: true, Tracing: "https://collector.example:4318",
		Balancers: registryproxy.Balancers{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.7/32"), netip.MustParsePrefix("2001:db8::/32")},
		State:     "/srv/state", Cache: config.Cache{Dir: at("cache"), Size: 50 << 30}, Offline: 168 * time.Hour,
		Peers:       config.Peers{Listen: "0.0.0.0:5444", DNS: "proxies.example:5444", SecretFile: at("peers.secret")},
		Countersign: config.Countersign{Key: at("countersign.key"), Authority: at("countersign.pem"), Names: []string{"proxy.example"}, Validity: 5 * time.Minute},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Error(diff)
	}
	files := strings.Join(got.Files(), " ")
	for _, name := range []string{"proxy.yaml", "clients.pem", "policy.d", "acme.d", "trusted_root.json", "own.json", "auth.json", "acme-ca.pem", "users", "peers.secret", "root.json", "west-ca.pem", "../../srv/state/tuf/west", "../../srv/state/tuf/public-good"} {
		if !strings.Contains(files, filepath.Join("/etc/touchmark", name)) {
			t.Errorf("%s is not among the files that are watched: %s", name, files)
		}
	}
}

const least = "policy: p.yaml\nregistries:\n- upstream: https://registry.example\n"

// Whoever only this machine can reach may read; everybody else has to be said.
func TestDefaults(t *testing.T) {
	c, err := config.Parse([]byte(least), "/p/proxy.yaml")
	if err != nil || c.Listen != config.DefaultListen || c.State != config.DefaultState || !c.Auth.Anonymous || !c.Auth.AnonymousDetails {
		t.Errorf("got %+v, %v", c, err)
	}
	c, err = config.Parse([]byte(least+"auth: {htpasswd: users}\n"), "/p/proxy.yaml")
	if err != nil || c.Auth.Anonymous {
		t.Errorf("with users: got %+v, %v", c, err)
	}
	c, err = config.Parse([]byte(least+"balancers: [127.0.0.1]\nauth: {anonymous: true}\n"), "/p/proxy.yaml")
	if err != nil || !c.Auth.Anonymous || c.Auth.AnonymousDetails {
		t.Errorf("by a balancer on this machine: got %+v, %v", c, err)
	}
	c, err = config.Parse([]byte(least+"listen: :5443\ninsecureHTTP: true\nauth: {anonymous: true}\n"), "/p/proxy.yaml")
	if err != nil || !c.Auth.Anonymous || c.Auth.AnonymousDetails {
		t.Errorf("elsewhere: got %+v, %v", c, err)
	}
}

// A web page that is looked at on this machine must not get what the proxy gives to those without a name: DNS rebinding.
func TestPX16_OwnNames(t *testing.T) {
	const users, tls = "auth: {htpasswd: users}\n", "tls: {cert: a, key: b}\n"
	for more, want := range map[string]bool{
		"":                          true,
		"auth: {anonymous: true}\n": true,
		"auth: {htpasswd: users, anonymous: true}\n": true,
		users:                            false,
		users + "  passThrough: true\n":  true,
		tls:                              false,
		tls + "names: [proxy.example]\n": true,
		"listen: 0.0.0.0:80\ninsecureHTTP: true\nauth: {anonymous: true}\n":                         false,
		"listen: 0.0.0.0:80\ninsecureHTTP: true\nauth: {anonymous: true}\nnames: [proxy.example]\n": true,
		"listen: '[::1]:80'\n": true,
		"countersign: {key: k, authority: a, names: [proxy.example]}\n": true,
	} {
		text := more + least
		if through, ok := strings.CutSuffix(more, "  passThrough: true\n"); ok {
			text = through + least + "  passThrough: true\n"
		}
		c, err := config.Parse([]byte(text), "/p/proxy.yaml")
		if err != nil {
			t.Fatal(err)
		}
		names, only := c.OwnNames()
		if only != want || strings.Contains(more, "names:") != slices.Contains(names, "proxy.example") {
			t.Errorf("%s: got %q, %v", more, names, only)
		}
	}
}

// A broken file is refused, with the line and the field. Each is whole or least with one change.
func TestBroken(t *testing.T) {
	for _, c := range []struct{ from, old, replacement, want string }{
		{whole, "listen: 0.0.0.0:5443", "listen: proxy.example:5443", `:1: listen: "proxy.example": want an IP address`},
		{whole, "listen: 0.0.0.0:5443", "listen: 5443", `:1: listen: "5443" is not HOST:PORT`},
		{whole, "listen: 0.0.0.0:5443", "lissen: 0.0.0.0:5443", ":1: lissen: unknown field"},
		{whole, "[proxy.acme.example]", "[https://proxy.acme.example]", `:2: names[0]: "https://proxy.acme.example" is not HOST`},
		{whole, "[proxy.acme.example]", "[Proxy]", `:2: names[0]: "Proxy" is not HOST`},
		{whole, "cert: proxy.pem, ", "", ":3: tls: cert and key go together"},
		{whole, "{name: acme, file: trusted_root.json}", "{name: acme}", ":6: trust[0].file: is missing"},
		{whole, "{name: acme, file: trusted_root.json}", "{name: a/b, file: x}", `:6: trust[0].name: "a/b" is not a name`},
		{whole, "{name: public-good}", "{name: acme, file: x}", `:7: trust[1].name: "acme" stands twice`},
		{whole, "{name: public-good, mirror", "{name: acme, file: x, mirror", ":21: registries[1].trust[2]: want either file or mirror"},
		{whole, ", root: root.json", "", ":21: registries[1].trust[1].root: is missing: the root.json"},
		{whole, "https://sigstore.west.example/tuf", "https://robot:secret@sigstore.west.example/tuf", ":21: registries[1].trust[1].mirror: want the URL"},
		{whole, "https://sigstore.west.example/tuf", "ftp://sigstore.west.example/tuf", ":21: registries[1].trust[1].mirror: want the URL"},
		{whole, `mirror: "https://sigstore.west.example/tuf", `, "", ":21: registries[1].trust[1].mirror: is missing"},
		{whole, "maxStale: 10d", "maxStale: long", `:21: registries[1].trust[1].maxStale: "long" is not a time`},
		{whole, "{name: acme, file: trusted_root.json}", "{name: west, mirror: public-good}", `:21: registries[1].trust[1].name: "west" is followed elsewhere`},
		{whole, "https://registry-1.docker.io", "registry-1.docker.io", ":10: registries[0].upstream: is not a URL"},
		{whole, "https://registry-1.docker.io", "http://registry-1.docker.io", ":10: registries[0].upstream: is plain HTTP"},
		{whole, "{dockerConfig: auth.json}", "{username: a}", ":13: registries[0].credentials: username and passwordFile go together"},
		{whole, "{dockerConfig: auth.json}", "{username: a, password: secret}", ":13: password: unknown field"},
		{whole, "{dockerConfig: auth.json}", "{dockerConfig: a, username: b, passwordFile: c}", ":13: registries[0].credentials: want either"},
		{whole, "  passThrough: true", "  passThrough: true\n  credentials: {dockerConfig: a}", ":20: registries[1].credentials: are never used with passThrough"},
		{whole, "passThrough: true", "passThrough: yes please", ":19: is of another type; want true or false"},
		{whole, "mode: observe", "mode: audit", `:22: registries[1].mode: "audit" is neither enforce nor observe`},
		{whole, "fetches: 8", "fetches: 100000", ":23: registries[1].limits.fetches: is not a number of 1 to 4096"},
		{whole, "fetches: 8", "fetches: many", ":23: is of another type; want a number"},
		{whole, "audience: touchmark-proxy, ", "", ":27: auth.oidc[0].audience: is missing"},
		{whole, `issuer: "https://login.acme.example"`, `issuer: "http://login.acme.example"`, ":27: auth.oidc[0].issuer: want an https URL"},
		{whole, "claims: {hd: acme.example}}", "claims: {hd: acme.example}}\n  - {issuer: 'https://login.other.example', audience: a, name: other}", ":27: auth.oidc[0].name: is missing: with several issuers"},
		{whole, "{issuer:", "{name: acme, issuer:", `:31: auth.access[1].subjects[1]: "oidc:*@acme.example" names no issuer`},
		{whole, "subjects: [anonymous]", "subjects: [everybody]", `:30: auth.access[0].subjects[0]: "everybody" is neither`},
		{whole, "docker.io/library/*]", "library]", `:30: auth.access[0].repositories[0]: "library" is not a glob`},
		{whole, "docker.io/library/*]", "docker.io/library/a@sha256]", `:30: auth.access[0].repositories[0]`},
		{whole, "name: registry.acme.example", "name: docker.io", ":14: registries[1]: name docker.io stands twice"},
		{whole, "hosts: [acme.example]", "hosts: [hub.example]", ":14: registries[1]: host hub.example stands twice"},
		{whole, "hosts: [acme.example]", "hosts: [acme.example]\n  prefix: hub", ":14: registries[1]: prefix hub stands twice"},
		{whole, "hosts: [acme.example]", "hosts: [docker.io]", ":18: registries[1].hosts: docker.io is another registry's name"},
		{whole, "  hosts: [acme.example]\n", "", "registries[1].hosts: is missing: clients are passed through"},
		{whole, "127.0.0.1:9465", "9465", ":32: metrics.listen"},
		{whole, "size: 50GiB", "size: 50GB", `:35: cache.size: "50GB" is not a size`},
		{whole, ", size: 50GiB", "", ":35: cache: dir and size go together"},
		{whole, "168h", "a week", `:36: offline: "a week" is not a time`},
		{whole, ", secretFile: peers.secret", "", ":37: peers.secretFile: is missing"},
		{whole, "cache: {dir: cache, size: 50GiB}\n", "", ":35: offline: needs a cache"},
		{whole, ", authority: countersign.pem", "", ":38: countersign: key and authority go together"},
		{whole, "[proxy.example]", "[proxy.example/hub]", ":38: countersign.names[0]"},
		{whole, "[proxy.example]", "[proxy.example, acme.example]", `:38: countersign.names[1]: "acme.example" stands for registries[1] alone`},
		{whole, "[proxy.example]", "[acme.example:5443]", `:38: countersign.names[0]: "acme.example:5443" stands for registries[1] alone`},
		{whole, "[proxy.example]", "[docker.io]", `:38: countersign.names[0]: "docker.io" stands for registries[0] alone`},
		{whole, "  hosts: [acme.example]\n", "  hosts: [acme.example]\n  prefix: hub/acme\n", `registries[1].prefix: "hub/acme" could be a repository of registries[0]`},
		{whole, "validity: 5m", "validity: 1h", ":38: countersign.validity"},
		{whole, "https://collector.example:4318", "grpc://collector.example:4317", ":39: tracing.endpoint: is not a URL"},
		{whole, "192.0.2.7", "192.0.2.7:80", `:41: balancers[1]: "192.0.2.7:80" is neither an IP address`},
		{whole, "192.0.2.7", "0.0.0.0/0", `:41: balancers[1]: "0.0.0.0/0" is everybody`},
		{whole, `"2001:db8::/32"`, "'::/0'", `:41: balancers[2]: "::/0" is everybody`},
		{whole, "10.0.0.0/8", "10.0.0.1/8", `:41: balancers[0]: "10.0.0.1/8" is an address in a network: write 10.0.0.0/8`},
		{whole, "10.0.0.0/8", strings.Repeat("10.0.0.0/8, ", 62) + "10.0.0.0/8", ":41: balancers: has 65 entries, above 64"},
		{least, "policy: p.yaml\n", "policy: p.yaml\nbalancers: [127.0.0.1]\n", "auth: is missing: others than this machine reach 127.0.0.1:5000 by the balancers"},
		{least, "policy: p.yaml\n", "", ":2: registries[0].policy: is missing"},
		{least, "registries:\n- upstream: https://registry.example\n", "", "registries: is missing"},
		{least, "policy: p.yaml\n", "policy: p.yaml\nlisten: 0.0.0.0:80\n", "auth: is missing: others than this machine reach 0.0.0.0:80"},
		{least, "policy: p.yaml\n", "policy: p.yaml\nlisten: 0.0.0.0:80\nauth: {anonymous: true}\n", "tls: is missing"},
		{least, "policy: p.yaml\n", "policy: p.yaml\npolicy: q.yaml\n", `mapping key "policy" already defined`},
	} {
		if !strings.Contains(c.from, c.old) {
			t.Fatalf("there is no %q to change", c.old)
		}
		_, err := config.Parse([]byte(strings.Replace(c.from, c.old, c.replacement, 1)), "/etc/touchmark/proxy.yaml")
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "/etc/touchmark/proxy.yaml") {
			t.Errorf("%q in the place of %q:\n got %v\nwant %s", c.replacement, c.old, err, c.want)
		}
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "proxy.yaml")
	if _, err := config.Load(file); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a missing file: %v", err)
	}
	if err := os.WriteFile(file, []byte(least), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := config.Load(file); err != nil || c.Registries[0].Policy != filepath.Join(dir, "p.yaml") {
		t.Errorf("got %+v, %v", c, err)
	}
}

// No input makes the parser panic, and no error repeats an upstream's URL, which may hold a password.
func FuzzParse(f *testing.F) {
	f.Add(whole)
	f.Add(least)
	f.Fuzz(func(t *testing.T, text string) {
		c, err := config.Parse([]byte(text), "/p/proxy.yaml")
		if (c == nil) == (err == nil) {
			t.Errorf("got %v and %v", c, err)
		}
	})
}
