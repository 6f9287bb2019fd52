package podmandoctor_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/doctor"
	podmandoctor "github.com/touchmark/touchmark/podman/doctor"
)

// broken is a cause that keeps the signed image out, or that leaves nobody able to tell.
type broken struct {
	code  string
	spoil func(*testing.T, *world)
	// pulls says that the signed image still gets in: the doctor can't tell all the same.
	pulls bool
	ask   func(*world, *podmandoctor.Config)
	// open says that it also lets something in.
	open bool
	// fails says why no client is asked.
	fails string
}

func remove(path string) func(*testing.T, *world) {
	return func(t *testing.T, w *world) { w.Root().Must(t, 0, "rm", "-r", path) }
}

func edit(path, old, new string) func(*testing.T, *world) {
	return func(t *testing.T, w *world) {
		t.Helper()
		text := string(w.read(t, path))
		if !strings.Contains(text, old) {
			t.Fatalf("%s does not hold %q", path, old)
		}
		w.Write(t, path, strings.Replace(text, old, new, 1))
	}
}

const (
	policyJSON = "/etc/containers/policy.json"
	keyring    = "/etc/touchmark/podman/countersign.gpg"
	ours       = "/etc/containers/registries.d/touchmark.yaml"
)

var brokens = []broken{
	{code: "policy-missing", spoil: remove(policyJSON)},
	{code: "policy-unparsable", spoil: edit(policyJSON, `"default"`, `"defaults": [], "default"`)},
	{code: "scope-missing", spoil: inPolicy("", nil)},
	{code: "identity-exact", spoil: edit(policyJSON, "matchRepository", "matchRepoDigestOrExact")},
	{code: "keyring-missing", spoil: edit(policyJSON, keyring, "/etc/touchmark/podman/gone.gpg")},
	{code: "keyring-unusable", spoil: func(t *testing.T, w *world) {
		w.Write(t, "/etc/pki/empty.gpg", "not a keyring\n")
		edit(policyJSON, keyring, "/etc/pki/empty.gpg")(t, w)
	}},
	{code: "keyring-other", open: true, spoil: write(keyring, string(foreign.public))},
	{code: "sigstore-compiled-out", spoil: func(t *testing.T, w *world) {
		w.Write(t, "/etc/pki/key.pub", "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEFS1ZJnpNP2quo/tYAitjLALcnNnJ\nQOkMGbdif0kjPrOAdX8GiCm1PraYQl4Rhk7u7qLXWbRnNPBapw/Zu+QJkg==\n-----END PUBLIC KEY-----\n")
		inPolicy(`[{"type": "sigstoreSigned", "keyPath": "/etc/pki/key.pub", "signedIdentity": {"type": "matchRepository"}}]`, nil)(t, w)
	}, ask: func(_ *world, c *podmandoctor.Config) { c.Intent.Form = podmandoctor.Native }},
	{code: "attachments-off", spoil: func(t *testing.T, w *world) {
		w.Write(t, "/etc/pki/key.pub", "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEFS1ZJnpNP2quo/tYAitjLALcnNnJ\nQOkMGbdif0kjPrOAdX8GiCm1PraYQl4Rhk7u7qLXWbRnNPBapw/Zu+QJkg==\n-----END PUBLIC KEY-----\n")
		inPolicy(`[{"type": "sigstoreSigned", "keyPath": "/etc/pki/key.pub", "signedIdentity": {"type": "matchRepository"}}]`, nil)(t, w)
	}, ask: func(_ *world, c *podmandoctor.Config) { c.Intent.Form = podmandoctor.Native }},
	{code: "registriesd-unparsable", spoil: write("/etc/containers/registries.d/other.yaml", "docker: [\n")},
	{code: "registriesd-clash", spoil: func(t *testing.T, w *world) {
		w.Write(t, "/etc/containers/registries.d/other.yaml", "docker: {\""+w.registry+"\": {lookaside: \"file:///tmp\"}}\n")
	}},
	{code: "lookaside-missing", spoil: remove(ours)},
	{code: "lookaside-overridden", spoil: func(t *testing.T, w *world) {
		w.Write(t, "/etc/containers/registries.d/other.yaml", "docker: {\""+w.registry+"/app\": {lookaside: \"file:///var/lib/signatures\"}}\n")
	}},
	{code: "lookaside-elsewhere", spoil: func(t *testing.T, w *world) { edit(ours, w.agent.URL, "http://127.0.0.1:1")(t, w) }},
	{code: "lookaside-other-registry", spoil: func(t *testing.T, w *world) {
		edit(ours, "lookaside/"+w.registry, "lookaside/registry.other.example")(t, w)
	}},
	{code: "registries-unparsable", spoil: write("/etc/containers/registries.conf.d/other.conf", "[[registry]\n")},
	{code: "rewrite-ambiguous", spoil: func(t *testing.T, w *world) {
		w.registries(t, fmt.Sprintf("[[registry]]\nprefix = \"*.acme.example\"\nlocation = %q\ninsecure = true\n", w.registry))
	}},
	{code: "signatures-extension", spoil: func(_ *testing.T, w *world) { w.evil.Store(true) }, ask: func(_ *world, c *podmandoctor.Config) { c.Network = true }},
	{code: "agent-down", spoil: func(_ *testing.T, w *world) { w.agent.Close(); w.down = errors.New("connection refused") }},
	{code: "agent-not-listening", spoil: func(_ *testing.T, w *world) { w.agent.Close(); w.status.UID = 0 }},
	{code: "agent-port-taken", spoil: func(t *testing.T, w *world) {
		w.agent.Close()
		w.status.UID = 0
		w.Alice().Serve(t, w.agent.URL+"/healthz", "up", "--data", "/home/alice/sigstore", "--listen", strings.TrimPrefix(w.agent.URL, "http://"), "--insecure-dev-issuer")
	}, fails: "what listens there says that there are no signatures"},
	{code: "clock-behind", spoil: func(*testing.T, *world) {}, ask: func(_ *world, c *podmandoctor.Config) { c.Now = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC) },
		fails: "the machine's clock stays as it is"},
	{code: "agent-reload-failing", spoil: func(_ *testing.T, w *world) { w.status.Reload = "policy.d/release.yaml:3: unknown field" }, pulls: true},
	{code: "trust-stale", spoil: func(_ *testing.T, w *world) { w.status.Stale = []string{"acme ended"} }, pulls: true},
	{code: "policies-missing", spoil: remove("/etc/touchmark/policy.d/release.yaml"), fails: "the tests' gate knows its rules"},
	{code: "key-missing", spoil: remove("/etc/touchmark/podman/countersign.key"), pulls: true},
	{code: "config-missing", spoil: func(*testing.T, *world) {}, pulls: true, ask: func(_ *world, c *podmandoctor.Config) {
		c.Intent.Problem = errors.New("reading configuration: config.yaml: not a directory")
	}},
	{code: "config-unusable", spoil: func(*testing.T, *world) {}, pulls: true, ask: func(_ *world, c *podmandoctor.Config) { c.Intent.Problem = errors.New("config.yaml:2: unknown field") }},
	{code: "scope-undeclared", spoil: func(*testing.T, *world) {}, pulls: true, ask: func(_ *world, c *podmandoctor.Config) { c.Intent.Scopes = nil }},
	{code: "user-lookaside", spoil: func(t *testing.T, w *world) {
		w.Alice().Write(t, "/home/alice/.config/containers/registries.d/mine.yaml", "docker: {}\n")
	}, fails: "it is alice who gets nothing"},
	{code: "unreadable", spoil: func(t *testing.T, w *world) { w.Root().Must(t, 0, "mkfifo", "/etc/profile.d/fifo.sh") }, pulls: true},
}

// TestBroken: each cause keeps the signed image out, or leaves it open what the host does, and is named.
func TestBroken(t *testing.T) {
	for _, c := range brokens {
		t.Run(c.code, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			c.spoil(t, w)
			if c.fails == "" {
				if got := w.Root().Run(t, "skopeo", "copy", "--quiet", source(good), "dir:"+w.out(t)); (got.Status == 0) != c.pulls {
					t.Errorf("skopeo: exit status %d\n%s", got.Status, got.Output())
				}
			}
			if c.code == "user-lookaside" && w.gets(t, w.Alice(), "skopeo", "copy", "--quiet", source(good), "dir:"+w.out(t)) {
				t.Error("alice gets the image")
			}
			r := w.examine(t, func(config *podmandoctor.Config) {
				if c.ask != nil {
					c.ask(w, config)
				}
			})
			want := doctor.Unknown
			if c.open {
				want = doctor.No
			}
			if !r.Has(c.code) || r.Enforcing != want {
				t.Errorf("enforcing: %s, want %s by %s\n%s", r.Enforcing, want, c.code, codes(r))
			}
		})
	}
}

// TestEveryBrokenCauseIsShown: there is a test for each.
func TestEveryBrokenCauseIsShown(t *testing.T) {
	shown := map[string]bool{"probe-failed": true, "probe-refused": true}
	for _, c := range brokens {
		shown[c.code] = true
	}
	for _, subject := range podmandoctor.Catalog() {
		for _, c := range subject.Causes {
			if c.Severity == doctor.Broken && !shown[c.Code] {
				t.Errorf("%s: no test shows it", c.Code)
			}
		}
	}
}
