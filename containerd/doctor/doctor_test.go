package doctor_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/touchmark/touchmark/containerd"
	containerddoctor "github.com/touchmark/touchmark/containerd/doctor"
	"github.com/touchmark/touchmark/containerd/node"
	"github.com/touchmark/touchmark/core/doctor"
)

// host is a directory in the place of a node's root, with files.
func host(t *testing.T, files map[string]string) containerd.Host {
	t.Helper()
	root := t.TempDir()
	for path, text := range files {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return containerd.Host{Root: root}
}

func examine(t *testing.T, c containerddoctor.Config) *doctor.Report {
	t.Helper()
	if c.Now.IsZero() {
		c.Now = time.Now()
	}
	r, err := containerddoctor.Examine(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func text(r *doctor.Report) string {
	var out []string
	for _, f := range r.Findings {
		out = append(out, f.String())
	}
	return strings.Join(out, "\n")
}

// daemon is a containerd of another release than the one that integration has.
type daemon struct {
	containerddoctor.Daemon // what is not asked
	version                 string
	plugins                 []node.Plugin
	err                     error
}

func (d daemon) Version(context.Context) (string, string, error)      { return d.version, "", d.err }
func (d daemon) Plugins(context.Context) ([]node.Plugin, error)       { return d.plugins, d.err }
func (d daemon) Namespaces(context.Context) ([]string, error)         { return nil, d.err }
func (d daemon) Images(context.Context, string) ([]node.Image, error) { return nil, d.err }

var bindir = node.Plugin{Type: "io.containerd.image-verifier.v1", ID: "bindir"}

// TestCTRD09_Releases: what a release cannot do is named, and with the proxy alone it is no cause.
func TestCTRD09_Releases(t *testing.T) {
	for version, c := range map[string]struct {
		plugins []node.Plugin
		nri     bool
		want    string
		not     string
	}{
		"1.7.28": {nil, false, "release-without-verifiers", "verifier-not-loaded: "},
		"v2.0.5": {[]node.Plugin{bindir}, false, "release-cri-local", "release-without-verifiers"},
		"v2.3.1": {[]node.Plugin{bindir}, true, "nri-release", "release-cri-local"},
		"v2.4.2": {[]node.Plugin{bindir}, true, "nri-not-enforced", "nri-release"},
		"v2.4.9": {nil, false, "verifier-not-loaded", "release-cri-local"},
	} {
		h := host(t, map[string]string{"/etc/containerd/config.toml": "version = 2\n"})
		config := containerddoctor.Config{Host: h, Daemon: daemon{version: version, plugins: c.plugins}, Intent: containerddoctor.Intent{NRI: c.nri}}
		r := examine(t, config)
		if !r.Has(c.want) || strings.Contains(text(r), " "+c.not) {
			t.Errorf("%s: want %s and not %s:\n%s", version, c.want, c.not, text(r))
		}
		config.Intent.ProxyOnly = true
		if r := examine(t, config); r.Has("release-without-verifiers") || r.Has("release-cri-local") || r.Has("verifier-not-loaded") || r.Has("bindir-missing") {
			t.Errorf("%s, the proxy alone: %s", version, text(r))
		}
	}
}

// A containerd that has Touchmark built in needs no bin_dir.
func TestBuiltIn(t *testing.T) {
	h := host(t, map[string]string{"/etc/containerd/config.toml": "version = 3\ndisabled_plugins = ['io.containerd.image-verifier.v1.bindir']\n"})
	c := containerddoctor.Config{Host: h, Daemon: daemon{version: "v2.4.2", plugins: []node.Plugin{{Type: "io.containerd.image-verifier.v1", ID: "touchmark"}}}}
	if r := examine(t, c); r.Enforcing != doctor.Yes {
		t.Errorf("enforcing: %s\n%s", r.Enforcing, text(r))
	}
	c.Daemon = daemon{version: "v2.4.2", plugins: []node.Plugin{{Type: "io.containerd.image-verifier.v1", ID: "touchmark", InitErr: "no agent"}}}
	if r := examine(t, c); r.Enforcing != doctor.No || !r.Has("verifier-disabled") {
		t.Errorf("enforcing: %s\n%s", r.Enforcing, text(r))
	}
}

// agent says how it is.
type agent struct {
	status doctor.AgentStatus
	err    error
}

func (a agent) Status(context.Context) (doctor.AgentStatus, error) { return a.status, a.err }

// What the agent says of itself becomes a finding each.
func TestAgent(t *testing.T) {
	for want, c := range map[string]struct {
		agent      agent
		standalone bool
	}{
		"trust-stale":           {agent{status: doctor.AgentStatus{Enforcing: true, Stale: []string{"acme ended"}}}, false},
		"agent-refresh-failing": {agent{status: doctor.AgentStatus{Enforcing: true, Refresh: []string{"acme: no route"}}}, false},
		"agent-store-failing":   {agent{status: doctor.AgentStatus{Enforcing: true, Store: "disk full"}}, false},
		"agent-reload-failing":  {agent{status: doctor.AgentStatus{Enforcing: true, Reload: "unknown field"}}, false},
		"notice":                {agent{status: doctor.AgentStatus{Enforcing: true, Notices: []string{"an exception ends"}}}, false},
		"nri-not-connected":     {agent{status: doctor.AgentStatus{Enforcing: true, Disconnected: []string{"containerd NRI: no socket"}}}, false},
		"agent-observing":       {agent{status: doctor.AgentStatus{Observing: []string{"policy release"}}}, false},
		"agent-down":            {agent{err: errors.New("connection refused")}, false},
		"agent-down-standalone": {agent{err: errors.New("connection refused")}, true},
	} {
		r := examine(t, containerddoctor.Config{Host: host(t, nil), Agent: c.agent, Intent: containerddoctor.Intent{Socket: "/run/touchmark/agent.sock", Standalone: c.standalone}})
		if !r.Has(want) {
			t.Errorf("%s is missing\n%s", want, text(r))
		}
	}
	// What decides about pulls without the agent decides about no container.
	r := examine(t, containerddoctor.Config{Host: host(t, nil), Agent: agent{err: errors.New("connection refused")}, Intent: containerddoctor.Intent{Socket: "/run/touchmark/agent.sock", Standalone: true, NRI: true}})
	if !r.Has("agent-down") || r.Has("agent-down-standalone") {
		t.Errorf("with NRI\n%s", text(r))
	}
}

// A daemon that is gone, or hangs up, is a finding and no error.
func TestDown(t *testing.T) {
	for what, c := range map[string]containerddoctor.Config{
		"nobody listens": {Live: true, Down: errors.New("nobody listens there")},
		"it hangs up":    {Daemon: daemon{err: errors.New("connection reset")}},
	} {
		c.Host = host(t, map[string]string{"/run/containerd/containerd.sock": ""})
		if r := examine(t, c); !r.Has("containerd-down") {
			t.Errorf("%s: %s", what, text(r))
		}
	}
	if _, err := containerddoctor.Examine(t.Context(), containerddoctor.Config{}); err == nil {
		t.Error("an examination without a time")
	}
}

// Whatever lies where a file should: no check waits, panics, or says yes for it.
func TestGarbage(t *testing.T) {
	intent := containerddoctor.Intent{
		File: "/etc/touchmark/config.yaml", Policies: "/etc/touchmark/policy.d", Trust: []string{"/etc/touchmark/trust"}, Credentials: "/etc/touchmark/auth.json",
		Socket: "/run/touchmark/agent.sock", State: "/var/lib/touchmark", Standalone: true, NRI: true, Proxies: []string{"127.0.0.1:1"}, Registries: []string{"r.example"},
	}
	paths := []string{
		"/etc/containerd/config.toml", "/etc/containerd/certs.d/r.example/hosts.toml", "/etc/containerd/conf.d/99-touchmark.toml", "/opt/containerd/image-verifier/bin/touchmark-containerd",
		"/opt/containerd/image-verifier/bin", "/etc/touchmark/auth.json", "/etc/touchmark/policy.d", "/etc/touchmark/trust", "/var/lib/kubelet/config.yaml", "/run/containerd/containerd.sock", "/var/lib/touchmark",
	}
	for what, put := range map[string]func(path string) error{
		"FIFO":      func(path string) error { return syscall.Mkfifo(path, 0o644) },
		"directory": func(path string) error { return os.Mkdir(path, 0o755) },
		"loop":      func(path string) error { return os.Symlink(path, path) },
		"dangling":  func(path string) error { return os.Symlink("/nowhere/at/all", path) },
		"zeros":     func(path string) error { return os.WriteFile(path, make([]byte, 4096), 0o666) },
		"TOML": func(path string) error {
			return os.WriteFile(path, []byte("version = 99\nplugins = 3\nimports = ['*', '../..', '/dev/zero']\n"), 0o000)
		},
	} {
		for _, path := range paths {
			h := host(t, nil)
			full := h.Path(path)
			if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := put(full); err != nil {
				t.Fatal(err)
			}
			if r := examine(t, containerddoctor.Config{Host: h, Intent: intent, Agent: agent{}, Daemon: daemon{version: what}}); r.Enforcing == doctor.Yes {
				t.Errorf("%s at %s: enforcing", what, path)
			}
		}
	}
}

// Where the installer cannot do its part, what blocked every pull is put back: an empty
// bin_dir would admit every image.
func TestFix_PutsBack(t *testing.T) {
	const dir = "/opt/containerd/image-verifier/bin/"
	h := host(t, map[string]string{"/usr/local/bin/touchmark-containerd": "\x7fELF", dir + "README": "verifiers\n"})
	link := filepath.Join(h.Root, dir, "touchmark-containerd")
	if err := os.Symlink("/usr/local/bin/touchmark-containerd", link); err != nil {
		t.Fatal(err)
	}
	entries := func() (names []string) {
		found, err := os.ReadDir(filepath.Dir(link))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range found {
			names = append(names, e.Name())
		}
		return names
	}
	for _, c := range []struct {
		install func(context.Context) error
		want    []string
	}{
		{func(context.Context) error { return errors.New("no program") }, []string{"README", "touchmark-containerd"}},
		{nil, []string{"README", "touchmark-containerd"}},
		{func(context.Context) error { return os.Symlink("/usr/local/bin/touchmark-containerd", link) }, []string{"touchmark-containerd"}},
	} {
		config := containerddoctor.Config{Host: h, Now: time.Now()}
		r := examine(t, config)
		if !r.Has("bindir-not-executable") {
			t.Fatal(text(r))
		}
		steps, _, err := containerddoctor.Fix(t.Context(), config, r, containerddoctor.Remedies{Install: c.install})
		if got := entries(); !slices.Equal(got, c.want) || (err == nil) != (len(c.want) == 1) || (len(steps) > 0) != (err == nil) {
			t.Errorf("bin_dir holds %q, want %q; steps %v, %v", got, c.want, steps, err)
		}
	}
}
