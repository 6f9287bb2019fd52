package access_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/countersign"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/podman/lookaside"
)

// names admits images by their logical names alone, whatever they hold.
type names map[string]bool

func (n names) Admit(_ context.Context, req gate.Request) gate.Verdict {
	v := gate.Verdict{Outcome: gate.OutcomeRefused, Reason: "the policy admits nothing under " + req.Repository, Repository: req.Repository, Digest: req.Digest.String()}
	if n[req.Repository] {
		v.Outcome = gate.OutcomeAdmitted
	}
	return v
}

// hostOfSkopeo is a host with Debian's skopeo, whose policy.json demands countersignatures of everything, and a lookaside of its own.
type hostOfSkopeo struct {
	skopeo, dir, registry string
	mu                    sync.Mutex
	asked                 []string // paths; guarded by mu
}

// newHostOfSkopeo writes the host's files. REG in conf stands for the registry's host and port, PORT for its port.
func newHostOfSkopeo(t *testing.T, registry, conf string, keys countersign.Config, admitted names) *hostOfSkopeo {
	t.Helper()
	h := &hostOfSkopeo{skopeo: coretest.RequireTool(t, "skopeo"), dir: t.TempDir(), registry: registry}
	host := newHost(t, map[string]string{"registries.conf": h.expand(conf)})
	a := load(t, host)
	key, err := countersign.Open(t.Context(), keys)
	if err != nil {
		t.Fatal(err)
	}
	handler, err := lookaside.New(lookaside.Config{Admitter: admitted, Key: key, Logical: a.Table().Logical, Source: a.Source})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		h.asked = append(h.asked, r.URL.Path)
		h.mu.Unlock()
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	write(t, filepath.Join(h.dir, "registries.conf"), h.expand(conf))
	write(t, filepath.Join(h.dir, "registries.d/touchmark.yaml"), fmt.Sprintf("docker:\n  %s:\n    lookaside: %s/lookaside/%[1]s\n", registry, server.URL))
	write(t, filepath.Join(h.dir, "policy.json"), fmt.Sprintf(`{"default": [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": %q, "signedIdentity": {"type": "matchRepository"}}]}`, keys.Public))
	return h
}

func (h *hostOfSkopeo) expand(s string) string {
	_, port, _ := strings.Cut(h.registry, ":")
	return strings.NewReplacer("REG", h.registry, "PORT", port).Replace(s)
}

// pull copies an image to a directory, and says what skopeo said if it failed.
func (h *hostOfSkopeo) pull(t *testing.T, image string) (complaint string, asked []string) {
	t.Helper()
	h.mu.Lock()
	h.asked = nil
	h.mu.Unlock()
	cmd := exec.CommandContext(t.Context(), h.skopeo, "--policy", filepath.Join(h.dir, "policy.json"), "--registries.d", filepath.Join(h.dir, "registries.d"),
		"--registries-conf", filepath.Join(h.dir, "registries.conf"),
		"copy", "docker://"+image, "dir:"+filepath.Join(t.TempDir(), "image"))
	cmd.Env = append(os.Environ(), "REGISTRY_AUTH_FILE="+filepath.Join(h.dir, "none.json"),
		"HOME="+h.dir, "XDG_RUNTIME_DIR="+h.dir)
	out, err := cmd.CombinedOutput()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, path := range h.asked {
		path, _, _ = strings.Cut(strings.TrimPrefix(path, "/lookaside/"), "@")
		if !slices.Contains(asked, path) {
			asked = append(asked, path)
		}
	}
	if err == nil {
		return "", asked
	}
	return string(out), asked
}

// TestPOD03_POD11_Skopeo: a real client asks the lookaside under the places that the table says, gets an image under the names that are admitted, and under no other
// that leads to the same place.
func TestPOD03_POD11_Skopeo(t *testing.T) {
	registry := serve(t, open, nil, nil)
	insecure := load(t, newHost(t, map[string]string{"registries.conf": fmt.Sprintf("[[registry]]\nlocation = %q\ninsecure = true\n", registry)}))
	for _, repository := range []string{"store/app", "store/team/app", "a/app", "b/app", "mirror/app", "primary/app", "hub/library/busybox", "hub/acme/app", "upper/app", "app"} {
		publish(t, insecure, registry+"/"+repository)
	}
	dir := t.TempDir()
	keys := countersign.Config{Key: filepath.Join(dir, "key"), Public: filepath.Join(dir, "public")}
	if _, err := countersign.Generate(t.Context(), keys); err != nil {
		t.Fatal(err)
	}
	rule := func(prefix, location string) string {
		return fmt.Sprintf("[[registry]]\nprefix = %q\nlocation = %q\ninsecure = true\n", prefix, location)
	}
	direct := rule("REG", "REG")
	for _, tt := range []struct {
		name     string
		conf     string
		admitted []string
		pulls    map[string]string // name -> "", or what is said
	}{
		{"the name itself", direct, []string{"REG/store/app"}, map[string]string{"REG/store/app": "", "REG/a/app": "admits nothing"}},
		{"two names of one place", direct + rule("good.example/team", "REG/store") + rule("other.example/team", "REG/store"), []string{"good.example/team/app"},
			map[string]string{"good.example/team/app": "", "other.example/team/app": "rejected", "REG/store/app": "rejected"}},
		{"two names of one place, both admitted", rule("good.example", "REG/store") + rule("other.example", "REG/store"), []string{"good.example/app", "other.example/app"},
			map[string]string{"good.example/app": "", "other.example/app": ""}},
		{"names within names", rule("good.example", "REG/store") + rule("good.example/team", "REG/a"), []string{"good.example/team/app"},
			map[string]string{"good.example/team/app": "", "good.example/app": "admits nothing"}},
		{"exchanged names", rule("a.example", "REG/b") + rule("b.example", "REG/a"), []string{"a.example/app"}, map[string]string{"a.example/app": "", "b.example/app": "admits nothing"}},
		{"a wildcard with a location", rule("*.example.com", "REG/store"), []string{"x.example.com/app", "y.example.com/app"},
			map[string]string{"x.example.com/app": "*.example.com", "y.example.com/app": "*.example.com"}},
		{"hosts beside a wildcard", rule("*.example.com", "REG/store") + rule("x.example.com/app", "REG/a/app") + rule("yy.example.com", "REG/b"), []string{"x.example.com/app"},
			map[string]string{"x.example.com/app": "", "yy.example.com/app": "admits nothing"}},
		{"a mirror", rule("quay.example", "REG/primary") + "[[registry.mirror]]\nlocation = \"REG/mirror\"\ninsecure = true\n", []string{"quay.example/app"}, map[string]string{"quay.example/app": ""}},
		{"a mirror that has it not", rule("quay.example", "REG/primary") + "[[registry.mirror]]\nlocation = \"REG/nothing\"\ninsecure = true\n", []string{"quay.example/app"}, map[string]string{"quay.example/app": ""}},
		{"a mirror for tags alone", rule("quay.example", "REG/primary") + "mirror-by-digest-only = true\n[[registry.mirror]]\nlocation = \"REG/mirror\"\ninsecure = true\n", []string{"quay.example/app"},
			map[string]string{"quay.example/app": ""}},
		{"a mirror is admitted, not what it mirrors", direct + rule("quay.example", "REG/primary") + "[[registry.mirror]]\nlocation = \"REG/mirror\"\ninsecure = true\n", []string{"REG/mirror/app"},
			map[string]string{"quay.example/app": "rejected", "REG/mirror/app": ""}},
		{"ports", rule("port.example", "127.0.0.1"), []string{"port.example:PORT/app"}, map[string]string{"port.example:PORT/app": ""}},
		{"Docker Hub", rule("docker.io", "REG/hub"), []string{"docker.io/library/busybox"},
			map[string]string{"busybox": "", "docker.io/busybox": "", "index.docker.io/library/busybox": "", "acme/app": "admits nothing", "docker.io/acme/app": "admits nothing"}},
		{"Docker Hub by another name", rule("registry-1.docker.io", "REG/hub"), []string{"docker.io/library/busybox"},
			map[string]string{"registry-1.docker.io/library/busybox": "", "registry-1.docker.io/acme/app": "admits nothing"}},
		{"a name that leads to Docker Hub's place", rule("docker.io", "REG/hub") + rule("evil.example", "REG/hub/library"), []string{"docker.io/library/busybox"},
			map[string]string{"busybox": "", "evil.example/busybox": "rejected"}},
		{"a default port", rule("quay.example:443", "REG/store"), []string{"quay.example/app"}, map[string]string{"quay.example:443/app": ""}},
		{"upper case", rule("QUAY.example", "REG/upper"), []string{"quay.example/app"}, map[string]string{"QUAY.example/app": ""}},
		{"blocked", direct + rule("good.example", "REG/store") + "blocked = true\n", []string{"good.example/app", "REG/store/app"},
			map[string]string{"good.example/app": "rejected", "REG/store/app": ""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			admitted := names{}
			for _, name := range tt.admitted {
				admitted[strings.NewReplacer("REG", registry, "PORT", registry[strings.Index(registry, ":")+1:]).Replace(name)] = true
			}
			h := newHostOfSkopeo(t, registry, tt.conf, keys, admitted)
			table := load(t, newHost(t, map[string]string{"registries.conf": h.expand(tt.conf)})).Table()
			for name, want := range tt.pulls {
				name = h.expand(name)
				complaint, asked := h.pull(t, name+":1")
				if (complaint == "") != (want == "") || !strings.Contains(complaint, want) {
					t.Errorf("pulling %s: %q, want %q", name, complaint, want)
				}
				for _, place := range asked {
					if logical, err := table.Logical(place); err == nil && !slices.Contains(logical, fullName(name)) && tt.name != "blocked" {
						t.Errorf("pulling %s asked about %s, where only %q lead", name, place, logical)
					}
				}
				if len(asked) == 0 {
					t.Errorf("pulling %s asked for no signature", name)
				}
			}
		})
	}
}

// fullName is what containers/image makes of a name that somebody typed.
func fullName(name string) string {
	host, path, ok := strings.Cut(name, "/")
	switch {
	case !ok || !strings.ContainsAny(host, ".:"):
		host, path = "docker.io", name
	case host == "index.docker.io":
		host = "docker.io"
	}
	if host == "docker.io" && !strings.Contains(path, "/") {
		path = "library/" + path
	}
	return host + "/" + path
}
