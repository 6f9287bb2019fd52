package hostconfig_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/touchmark/touchmark/core/hostconfig"
)

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const whole = `policy: rules
trust:
  dir: /srv/roots
  maxStale: 36h
  tuf:
  - {name: acme, mirror: "https://sigstore.acme.example/tuf", root: tuf/root.json}
  - {name: sigstore, mirror: public-good}
agent:
  listen: "[::1]:7999"
  socket: run/agent.sock
  state: state
podman:
  key: awskms:///alias/host
  form: sigstore
  validity: 5m
  scopes: [registry.example/acme, "*.example.com"]
`

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	path := write(t, filepath.Join(dir, "config.yaml"), whole)
	got, err := hostconfig.Load(path, hostconfig.System("/"))
	if err != nil {
		t.Fatal(err)
	}
	want := &hostconfig.Config{
		File: path, Policy: filepath.Join(dir, "rules"),
		Trust: hostconfig.Trust{Dir: "/srv/roots", MaxStale: 36 * time.Hour, TUF: []hostconfig.TUF{
			{Name: "acme", Mirror: "https://sigstore.acme.example/tuf", Root: filepath.Join(dir, "tuf/root.json")},
			{Name: "sigstore", Mirror: hostconfig.PublicGood},
		}},
		Agent:      hostconfig.Agent{Listen: "[::1]:7999", Socket: filepath.Join(dir, "run/agent.sock"), State: filepath.Join(dir, "state")},
		Podman:     hostconfig.Podman{Key: "awskms:///alias/host", Form: hostconfig.Sigstore, Validity: 5 * time.Minute, Scopes: []string{"registry.example/acme", "*.example.com"}},
		Containerd: hostconfig.Containerd{Config: "/etc/containerd/config.toml", Credentials: filepath.Join(dir, "containerd/auth.json"), Standalone: true, VerifierTimeout: 10 * time.Second, Socket: "/run/containerd/containerd.sock", NRISocket: "/run/nri/nri.sock"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	files := []string{filepath.Join(dir, "rules"), "/srv/roots", filepath.Join(dir, "tuf/root.json"), filepath.Join(dir, "state/tuf/acme"), filepath.Join(dir, "state/tuf/sigstore")}
	if diff := cmp.Diff(files, got.Files()); diff != "" {
		t.Error(diff)
	}
}

// What a file leaves out has a default; one that says nothing is all defaults.
func TestDefaults(t *testing.T) {
	user, err := hostconfig.User(func(name string) string {
		return map[string]string{"HOME": "/home/alice", "XDG_CONFIG_HOME": "/cfg", "XDG_STATE_HOME": "relative/is/ignored"}[name]
	}, 1000)
	if err != nil {
		t.Fatal(err)
	}
	want := hostconfig.Defaults{File: "/cfg/touchmark/config.yaml", Socket: "/run/user/1000/touchmark/agent.sock", State: "/home/alice/.local/state/touchmark", Containerd: "/cfg/containerd/config.toml", ContainerdSocket: "/run/user/1000/containerd/containerd.sock", NRISocket: "/run/user/1000/nri/nri.sock"}
	if diff := cmp.Diff(want, user); diff != "" {
		t.Error(diff)
	}
	system := hostconfig.Defaults{File: "/mnt/etc/touchmark/config.yaml", Listen: "127.0.0.1:7467", Socket: "/mnt/run/touchmark/agent.sock", State: "/mnt/var/lib/touchmark", Containerd: "/mnt/etc/containerd/config.toml", ContainerdSocket: "/mnt/run/containerd/containerd.sock", NRISocket: "/mnt/run/nri/nri.sock"}
	if diff := cmp.Diff(system, hostconfig.System("/mnt")); diff != "" {
		t.Error(diff)
	}
	if _, err := hostconfig.User(func(string) string { return "" }, 1000); err == nil {
		t.Error("a user without a home has defaults")
	}
	for _, text := range []string{"", "# nothing\n", "{}\n", "---\n"} {
		c, err := hostconfig.Parse([]byte(text), "/etc/touchmark/config.yaml", hostconfig.System("/"))
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		want := &hostconfig.Config{
			File: "/etc/touchmark/config.yaml", Policy: "/etc/touchmark/policy.d",
			Trust:      hostconfig.Trust{Dir: "/etc/touchmark/trust", MaxStale: hostconfig.DefaultMaxStale},
			Agent:      hostconfig.Agent{Listen: "127.0.0.1:7467", Socket: "/run/touchmark/agent.sock", State: "/var/lib/touchmark"},
			Podman:     hostconfig.Podman{Key: "/etc/touchmark/podman/countersign.key", Form: hostconfig.OpenPGP, Validity: 10 * time.Minute},
			Containerd: hostconfig.Containerd{Config: "/etc/containerd/config.toml", Credentials: "/etc/touchmark/containerd/auth.json", Standalone: true, VerifierTimeout: 10 * time.Second, Socket: "/run/containerd/containerd.sock", NRISocket: "/run/nri/nri.sock"},
		}
		if diff := cmp.Diff(want, c); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	}
	if c, err := hostconfig.Parse([]byte("trust: {maxStale: 0d}\n"), "/c.yaml", hostconfig.System("/")); err != nil || c.Trust.MaxStale != 0 {
		t.Errorf("0d, strict, is not read: %+v, %v", c, err)
	}
}

// Every mistake is named with its file, line and field.
func TestMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"polcy: x\n":                        "/c.yaml:1: polcy: unknown field",
		"policy: x\nagent:\n  listn: x\n":   "/c.yaml:3: listn: unknown field",
		"policy: x\npolicy: y\n":            "/c.yaml:2: ",
		"Policy: x\n":                       "/c.yaml:1: Policy: unknown field",
		"policy:\n":                         "/c.yaml:1: policy: is ",
		"policy: null\n":                    "/c.yaml:1: policy: is null",
		"policy: [a]\n":                     "/c.yaml:1: ",
		"agent: x\n":                        "/c.yaml:1: ",
		"a: &a {}\npolicy: *a\n":            "/c.yaml:1: a: anchors and aliases",
		"policy: !!str x\n":                 "/c.yaml:1: policy: the tag",
		"<<: {policy: x}\n":                 "merge keys",
		"policy: x\n---\npolicy: y\n":       "/c.yaml: holds more than one document",
		"policy: [\n":                       "/c.yaml:",
		"agent:\n  listen: 0.0.0.0:7467\n":  "/c.yaml:2: agent.listen: \"0.0.0.0:7467\" is not a loopback address",
		"agent: {listen: \"localhost:1\"}":  "agent.listen: \"localhost:1\" is not a loopback address",
		"agent: {listen: 7467}\n":           "/c.yaml:1: agent.listen: ",
		"agent: {listen: \"127.0.0.1:0\"}":  "agent.listen: ",
		"trust: {maxStale: 3 weeks}\n":      "/c.yaml:1: trust.maxStale: ",
		"trust: {maxStale: -1h}\n":          "trust.maxStale: ",
		"trust: {tuf: [{name: a/b}]}\n":     "trust.tuf[0].name: ",
		"trust: {tuf: [{name: ..}]}\n":      "trust.tuf[0].name: ",
		"trust: {tuf: [{mirror: \"x\"}]}\n": "trust.tuf[0].name: ",
		"trust:\n  tuf:\n  - {name: a, mirror: \"https://m.example\"}\n":                           "/c.yaml:3: trust.tuf[0].root: is missing",
		"trust:\n  tuf:\n  - {name: a, mirror: public-good}\n  - {name: a, mirror: public-good}\n": "/c.yaml:4: trust.tuf[1].name: \"a\" stands twice",
		"trust:\n  tuf:\n  - {name: a, root: r, mirror: \"https://user:secret@m.example\"}\n":      "trust.tuf[0].mirror: ",
		"trust:\n  tuf:\n  - {name: a, root: r, mirror: \"ftp://m.example\"}\n":                    "trust.tuf[0].mirror: ",
		"podman: {form: pgp}\n":                                    "/c.yaml:1: podman.form: \"pgp\" is neither openpgp nor sigstore",
		"containerd: {namespaces: [a/b]}\n":                        "/c.yaml:1: containerd.namespaces[0]: \"a/b\" is not",
		"containerd: {nri: perhaps}\n":                             "true or false",
		"containerd: {socket: " + strings.Repeat("x", 120) + "}\n": "containerd.socket: ",
		"podman: {validity: 11m}\n":                                "podman.validity: ",
		"containerd: {verifierTimeout: 999ms}\n":                   "containerd.verifierTimeout: ",
		"containerd: {verifierTimeout: 1h}\n":                      "containerd.verifierTimeout: ",
		"containerd: {credentialProviders: {bin: /b}}\n":           "containerd.credentialProviders.config: ",
		"containerd: {credentialProviders: {config: /c}}\n":        "containerd.credentialProviders.bin: ",
		"podman: {validity: 10}\n":                                 "podman.validity: ",
		"agent: {socket: " + strings.Repeat("x", 120) + "}\n":      "agent.socket: ",
	} {
		_, err := hostconfig.Parse([]byte(text), "/c.yaml", hostconfig.System("/"))
		if err == nil || !strings.HasPrefix(err.Error(), "/c.yaml") || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v\nwant %q", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("a secret is repeated: %v", err)
		}
	}
}

func TestOPS01_ConfigurationFile(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		fifo: "not a regular file", dir: "not a regular file", filepath.Join(dir, "none"): "touchmark install",
		write(t, filepath.Join(dir, "large"), strings.Repeat("# x\n", 100_000)): "larger than",
	} {
		if _, err := hostconfig.Load(path, hostconfig.System("/")); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
}

func TestRootFiles(t *testing.T) {
	dir := t.TempDir()
	c := hostconfig.New(filepath.Join(dir, "config.yaml"), hostconfig.System("/"))
	if files, err := c.RootFiles(); err != nil || len(files) != 0 {
		t.Errorf("no directory: %v, %v", files, err)
	}
	for _, name := range []string{"b.json", "a.jsonl", ".hidden.json", "README", ".json"} {
		write(t, filepath.Join(c.Trust.Dir, name), "{}")
	}
	want := []hostconfig.RootFile{{Name: "a", Path: filepath.Join(c.Trust.Dir, "a.jsonl")}, {Name: "b", Path: filepath.Join(c.Trust.Dir, "b.json")}}
	got, err := c.RootFiles()
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	c.Trust.TUF = []hostconfig.TUF{{Name: "b"}}
	if _, err := c.RootFiles(); err == nil || !strings.Contains(err.Error(), "b.json") {
		t.Errorf("a name that TUF has, too: %v", err)
	}
	c.Trust.TUF = nil
	write(t, filepath.Join(c.Trust.Dir, "a.json"), "{}")
	if _, err := c.RootFiles(); err == nil || !strings.Contains(err.Error(), `"a"`) {
		t.Errorf("a name that stands twice: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte("a: &a [*a]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := hostconfig.Parse(data, "/etc/c.yaml", hostconfig.System("/"))
		if err == nil && (!filepath.IsAbs(c.Policy) || !filepath.IsAbs(c.Agent.Socket) || !strings.Contains(c.Agent.Listen, ":")) {
			t.Errorf("%+v", c)
		}
		if err != nil && !strings.HasPrefix(err.Error(), "/etc/c.yaml") {
			t.Errorf("the error does not name the file: %v", err)
		}
	})
}

func TestContainerd(t *testing.T) {
	d := hostconfig.System("/")
	c, err := hostconfig.Parse(nil, "/etc/touchmark/config.yaml", d)
	if err != nil {
		t.Fatal(err)
	}
	want := hostconfig.Containerd{Config: "/etc/containerd/config.toml", Credentials: "/etc/touchmark/containerd/auth.json", Standalone: true, VerifierTimeout: 10 * time.Second,
		Socket: "/run/containerd/containerd.sock", NRISocket: "/run/nri/nri.sock"}
	if diff := cmp.Diff(want, c.Containerd); diff != "" {
		t.Error(diff)
	}
	c, err = hostconfig.Parse([]byte(`containerd: {config: c.toml, hosts: [certs.d, /x], credentials: /a.json, standalone: false, observe: true,
  credentialProviders: {config: p.yaml, bin: /bin/p}, verifierTimeout: 4s,
  nri: true, nriSocket: /n.sock, socket: c.sock, namespaces: [k8s.io, default]}`), "/etc/touchmark/config.yaml", d)
	if err != nil {
		t.Fatal(err)
	}
	want = hostconfig.Containerd{Config: "/etc/touchmark/c.toml", Hosts: []string{"/etc/touchmark/certs.d", "/x"}, Credentials: "/a.json", Observe: true,
		CredentialProviders: hostconfig.CredentialProviders{Config: "/etc/touchmark/p.yaml", Bin: "/bin/p"}, VerifierTimeout: 4 * time.Second,
		NRI: true, NRISocket: "/n.sock", Socket: "/etc/touchmark/c.sock", Namespaces: []string{"k8s.io", "default"}}
	if diff := cmp.Diff(want, c.Containerd); diff != "" {
		t.Error(diff)
	}
	if _, err := hostconfig.Parse([]byte("containerd:\n  standalone: perhaps\n"), "/etc/touchmark/config.yaml", d); err == nil || !strings.Contains(err.Error(), "true or false") {
		t.Errorf("%v", err)
	}
}
