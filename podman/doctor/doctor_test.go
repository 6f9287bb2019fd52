package doctor_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/doctor"
	"github.com/touchmark/touchmark/podman"
	podmandoctor "github.com/touchmark/touchmark/podman/doctor"
)

// host is a directory in the place of a host's root, with files.
func host(t *testing.T, files map[string]string) podman.Host {
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
	// Whoever runs the tests stands for root.
	return podman.Host{Root: root, UID: os.Getuid()}
}

func examine(t *testing.T, c podmandoctor.Config) *doctor.Report {
	t.Helper()
	if c.Now.IsZero() {
		c.Now = time.Now()
	}
	r, err := podmandoctor.Examine(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Distributions ship some ninety aliases, and they are one finding: the cause is not lost among them.
func TestAliasesAreOneFinding(t *testing.T) {
	for policy, want := range map[string]int{`{"default":[{"type":"insecureAcceptAnything"}]}`: 1, `{"default":[{"type":"reject"}]}`: 0} {
		h := host(t, map[string]string{
			"/etc/containers/policy.json":                           policy,
			"/etc/containers/registries.conf.d/000-shortnames.conf": "[aliases]\n\"a\" = \"quay.io/a/a\"\n\"b\" = \"quay.io/b/b\"\n\"c\" = \"quay.io/c/c\"\n",
		})
		var got []string
		for _, f := range examine(t, podmandoctor.Config{Host: h, Intent: garbageIntent}).Findings {
			if f.Code == "alias-unjudged" {
				got = append(got, f.Message)
			}
		}
		if len(got) != want || want == 1 && got[0] != "a means quay.io/a/a, which nothing judges; 2 more do the same, up to c" {
			t.Errorf("%s: %q, want %d", policy, got, want)
		}
	}
}

// read are the files that some check reads.
var read = []string{
	"/etc/containers/policy.json", "/etc/containers/registries.conf", "/etc/containers/registries.conf.d/a.conf", "/etc/containers/registries.d/a.yaml",
	"/etc/containers/containers.conf", "/etc/containers/containers.conf.d/a.conf", "/etc/containers/storage.conf", "/etc/crio/crio.conf", "/etc/crio/crio.conf.d/a.conf",
	"/etc/crio/policies/a.json", "/etc/passwd", "/etc/environment", "/etc/profile.d/a.sh", "/etc/systemd/system/a.service", "/etc/containers/systemd/a.container",
	"/etc/cron.d/a", "/usr/bin/podman", "/usr/local/bin/skopeo", "/etc/touchmark/config.yaml", "/etc/touchmark/policy.d/a.yaml", "/etc/touchmark/podman/countersign.gpg",
	"/etc/touchmark/podman/countersign.key", "/var/lib/containers/storage/overlay-images/images.json", "/var/cache/containers/short-name-aliases.conf",
	"/root/.config/containers/policy.json", "/root/.config/containers/registries.conf", "/root/.config/containers/registries.d/a.yaml",
}

// TestGarbage: whatever is in a file, no check panics or waits, and the answer is never yes when policy.json is not one.
func TestGarbage(t *testing.T) {
	texts := map[string]string{
		"empty": "", "zeros": strings.Repeat("\x00", 4096), "brackets": strings.Repeat("[", 100_000), "braces": strings.Repeat(`{"a":`, 10_000), "null": "null", "text": "\xff\xfe = [[\n--policy=\n--insecure-policy",
		"json":   `{"default":[{"type":"signedBy","keyType":"GPGKeys","keyPath":"/"}],"transports":{"docker":{"":[{"type":"reject"}],":":[{"type":"insecureAcceptAnything"}],"*.":[{"type":"reject"}]}}}`,
		"colons": ":::::::\n:\n::x:-1::/root/../..:\nx:x:99999999999999999999:0::/:\n", "lines": strings.Repeat("podman --policy $x \\\n", 5000),
		"keyring": "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nxsBN\n-----END PGP PUBLIC KEY BLOCK-----\n", "pem": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
	}
	for name, text := range texts {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{}
			for _, path := range read {
				files[path] = text
			}
			h := host(t, files)
			r := examine(t, podmandoctor.Config{Host: h, Intent: garbageIntent})
			if r.Enforcing == doctor.Yes {
				t.Errorf("enforcing: %s", r.Enforcing)
			}
		})
	}
	for name, make := range map[string]func(path string) error{
		"directories": func(path string) error { return os.MkdirAll(path, 0o755) },
		"links in a circle": func(path string) error {
			return errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.Symlink(filepath.Base(path), path))
		},
		"links to nowhere": func(path string) error {
			return errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.Symlink("/none/../../none", path))
		},
		"FIFOs": func(path string) error { return errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), mkfifo(path)) },
	} {
		t.Run(name, func(t *testing.T) {
			h := host(t, nil)
			for _, path := range read {
				if err := make(filepath.Join(h.Root, path)); err != nil {
					t.Fatal(err)
				}
			}
			if r := examine(t, podmandoctor.Config{Host: h, Intent: garbageIntent}); r.Enforcing == doctor.Yes {
				t.Errorf("enforcing: %s", r.Enforcing)
			}
		})
	}
}

var garbageIntent = podmandoctor.Intent{
	Scopes: []string{"registry.example", "docker.io", "*.example.com"}, SecretKey: "/etc/touchmark/podman/countersign.key", Public: "/etc/touchmark/podman/countersign.gpg",
	Lookaside: "http://127.0.0.1:7467", State: "/var/lib/touchmark", Policies: "/etc/touchmark/policy.d", Files: []string{"/etc/touchmark/policy.d"}, Proxies: []string{"proxy.example"},
}

// status is an agent's answer.
type status doctor.AgentStatus

func (s status) Status(context.Context) (doctor.AgentStatus, error) {
	return doctor.AgentStatus(s), nil
}

// TestWarnings: each is named where it holds, and none of them changes the answer.
func TestWarnings(t *testing.T) {
	reject := `{"default":[{"type":"reject"}]}`
	for _, c := range []struct {
		code  string
		files map[string]string
		spoil func(root string) error
		ask   func(*podmandoctor.Config)
	}{
		{code: "registriesd-writable", files: map[string]string{"/etc/containers/registries.d/a.yaml": "docker: {}\n"}, spoil: chmod("/etc/containers/registries.d/a.yaml")},
		{code: "registries-writable", files: map[string]string{"/etc/containers/registries.conf": ""}, spoil: chmod("/etc/containers/registries.conf")},
		{code: "lookaside-for-everything", files: map[string]string{"/etc/containers/registries.d/a.yaml": "default-docker: {lookaside: \"http://127.0.0.1:7467/lookaside/x\"}\n"},
			ask: func(c *podmandoctor.Config) { c.Intent.Lookaside = "http://127.0.0.1:7467" }},
		{code: "registry-insecure", files: map[string]string{"/etc/containers/registries.conf": "[[registry]]\nlocation = \"registry.example\"\ninsecure = true\n"}},
		{code: "registry-blocked", files: map[string]string{"/etc/containers/registries.conf": "[[registry]]\nlocation = \"registry.example\"\nblocked = true\n"}},
		{code: "agent-refresh-failing", ask: func(c *podmandoctor.Config) { c.Agent = status{Enforcing: true, Refresh: []string{"acme: timeout"}} }},
		{code: "agent-store-failing", ask: func(c *podmandoctor.Config) { c.Agent = status{Enforcing: true, Store: "disk full"} }},
		{code: "notice", ask: func(c *podmandoctor.Config) {
			c.Agent = status{Enforcing: true, Notices: []string{"the exception for x ends in 7 days"}}
		}},
		{code: "clock-unsynchronised", ask: func(c *podmandoctor.Config) { c.Clock = func() (bool, error) { return false, nil } }},
		{code: "remote-service", files: map[string]string{"/etc/containers/containers.conf": "[engine]\nremote = true\n"}},
		{code: "remote-service", ask: func(c *podmandoctor.Config) { c.Environment = []string{"CONTAINER_HOST=ssh://core@host.example"} }},
		{code: "user-policy-own", files: map[string]string{"/root/.config/containers/policy.json": reject}},
		{code: "store-additional", files: map[string]string{
			"/etc/containers/storage.conf":           "[storage.options]\nadditionalimagestores = [\"/srv/images\"]\n",
			"/srv/images/overlay-images/images.json": `[{"id": "aa"}]`,
		}},
		{code: "images-unjudged", files: map[string]string{
			"/var/lib/containers/storage/overlay-images/images.json": `[{"id": "aa"}]`, "/var/lib/containers/storage/overlay-images/aa/manifest": "{}",
			"/etc/touchmark/podman/countersign.gpg": "",
		}, spoil: func(root string) error {
			old := time.Now().Add(-time.Hour)
			return os.Chtimes(root+"/var/lib/containers/storage/overlay-images/aa", old, old)
		}, ask: func(c *podmandoctor.Config) { c.Intent.Public = "/etc/touchmark/podman/countersign.gpg" }},
		{code: "state-writable", files: map[string]string{"/var/lib/touchmark/agent.db": ""}, spoil: func(root string) error { return os.Chmod(root+"/var/lib/touchmark", 0o777) },
			ask: func(c *podmandoctor.Config) { c.Intent.State = "/var/lib/touchmark" }},
		{code: "docker-present", files: map[string]string{"/usr/bin/dockerd": ""}},
		{code: "client-missing", spoil: func(root string) error { return os.Remove(root + "/usr/bin/podman") }},
	} {
		t.Run(c.code, func(t *testing.T) {
			files := map[string]string{"/etc/containers/policy.json": reject, "/usr/bin/podman": "\x7fELF"}
			for path, text := range c.files {
				files[path] = text
			}
			h := host(t, files)
			config := podmandoctor.Config{Host: h, Intent: podmandoctor.Intent{Scopes: []string{"registry.example"}}, Now: time.Now()}
			bare := examine(t, config)
			if c.ask != nil {
				c.ask(&config)
			}
			if c.spoil != nil {
				if err := c.spoil(h.Root); err != nil {
					t.Fatal(err)
				}
			}
			r := examine(t, config)
			if !r.Has(c.code) {
				t.Errorf("%v", r.Findings)
			}
			if (c.ask != nil || c.spoil != nil) && len(c.files) == 0 && bare.Has(c.code) {
				t.Errorf("without the cause: %v", bare.Findings)
			}
			if r.Enforcing == doctor.No {
				t.Errorf("enforcing: %s", r.Enforcing)
			}
		})
	}
}

func chmod(path string) func(string) error {
	return func(root string) error { return os.Chmod(root+path, 0o666) }
}

// TestPOD08_MountedRoot: the links of a mounted root lead within it, and not to the files of the machine that examines it.
func TestPOD08_MountedRoot(t *testing.T) {
	h := host(t, map[string]string{"/srv/policy.json": `{"default":[{"type":"insecureAcceptAnything"}]}`, "/usr/bin/podman": ""})
	if err := errors.Join(os.MkdirAll(h.Root+"/etc/containers", 0o755), os.Symlink("/srv/policy.json", h.Root+"/etc/containers/policy.json")); err != nil {
		t.Fatal(err)
	}
	r := examine(t, podmandoctor.Config{Host: h, Intent: podmandoctor.Intent{Scopes: []string{"registry.example"}}})
	if !r.Has("default-accepts") || strings.Contains(fmt.Sprint(r.Findings), h.Root) {
		t.Errorf("%v", r.Findings)
	}
}

// TestPrometheus: each code has a series, present or not.
func TestPrometheus(t *testing.T) {
	h := host(t, map[string]string{"/etc/containers/policy.json": `{"default":[{"type":"insecureAcceptAnything"}]}`})
	r := examine(t, podmandoctor.Config{Host: h, Intent: podmandoctor.Intent{Scopes: []string{"registry.example"}}})
	var out strings.Builder
	if err := r.Prometheus(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"touchmark_enforcing 0\n", "touchmark_enforcing_unknown 0\n", `touchmark_doctor_findings{code="default-accepts",severity="open"} 1` + "\n", `touchmark_doctor_findings{code="agent-down",severity="broken"} 0` + "\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}
