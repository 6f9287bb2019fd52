package access_test

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/containerd/access"
	"github.com/touchmark/touchmark/core/gate"
)

// host is the directory of a host's files.
type host struct{ dir string }

func newHost(t *testing.T) host { t.Helper(); return host{t.TempDir()} }

func (h host) path(rel string) string { return filepath.Join(h.dir, rel) }

func (h host) write(t *testing.T, rel, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(h.path(rel)), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(h.path(rel), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// access reads certs.d, config.toml and auth.json of the host.
func (h host) access(hosts ...string) *access.Access {
	return access.New(access.Config{Containerd: h.path("config.toml"), Hosts: hosts, Credentials: []string{h.path("auth.json")}})
}

func (h host) certsD() *access.Access { return h.access(h.path("certs.d")) }

// places are the URLs of the places' repositories.
func places(t *testing.T, a *access.Access, repository string) []string {
	t.Helper()
	found, err := a.Places(repository, true)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, p := range found {
		out = append(out, p.Source.Repository.Scheme()+"://"+p.Source.Repository.Name())
	}
	return out
}

func TestHosts(t *testing.T) {
	for what, c := range map[string]struct {
		dir, toml, repository string
		want                  []string
	}{
		"nothing is said":      {"other.example", "", "registry.example/app", []string{"https://registry.example/app"}},
		"Docker Hub":           {"other.example", "", "docker.io/library/busybox", []string{"https://registry-1.docker.io/library/busybox"}},
		"server":               {"registry.example", `server = "https://proxy.example"`, "registry.example/app", []string{"https://proxy.example/app"}},
		"server without a URL": {"registry.example", `server = "proxy.example:5000"`, "registry.example/app", []string{"https://proxy.example:5000/app"}},
		"mirrors in their order": {"registry.example", "[host.\"https://z.example\"]\n[host.\"https://a.example\"]\n", "registry.example/a/b",
			[]string{"https://z.example/a/b", "https://a.example/a/b", "https://registry.example/a/b"}},
		"a mirror of Docker Hub":              {"docker.io", `[host."https://m.example"]`, "docker.io/library/x", []string{"https://m.example/library/x", "https://registry-1.docker.io/library/x"}},
		"plain HTTP":                          {"registry.example", `server = "http://proxy.example"`, "registry.example/app", []string{"http://proxy.example/app"}},
		"a port":                              {"registry.example_5000_", `server = "https://proxy.example"`, "registry.example:5000/app", []string{"https://proxy.example/app"}},
		"a port as it is":                     {"registry.example:5000", `server = "https://proxy.example"`, "registry.example:5000/app", []string{"https://proxy.example/app"}},
		"any registry":                        {"_default", `server = "https://proxy.example"`, "registry.example/app", []string{"https://proxy.example/app"}},
		"override_path":                       {"quay.io", "server = \"https://h.example/v2/quay\"\noverride_path = true", "quay.io/a/b", []string{"https://h.example/quay/a/b"}},
		"a path outside of /v2":               {"quay.io", "server = \"https://h.example/api/quay\"\noverride_path = true", "quay.io/a/b", []string{"https://h.example/api/quay/a/b"}},
		"a path of its own":                   {"quay.io", "server = \"https://h.example/proxy\"", "quay.io/a/b", []string{"https://h.example/proxy/v2/a/b"}},
		"what the root says without a server": {"registry.example", "capabilities = [\"push\"]", "registry.example/app", []string{"https://registry.example/app"}},
		"a mirror to push to":                 {"registry.example", "[host.\"https://m.example\"]\ncapabilities = [\"push\"]", "registry.example/app", []string{"https://registry.example/app"}},
		"a table below a host":                {"registry.example", "[host.\"https://m.example\".header]\nx = \"y\"", "registry.example/app", []string{"https://m.example/app", "https://registry.example/app"}},
	} {
		h := newHost(t)
		h.write(t, "certs.d/"+c.dir+"/hosts.toml", c.toml)
		if diff := cmp.Diff(c.want, places(t, h.certsD(), c.repository)); diff != "" {
			t.Errorf("%s:\n%s", what, diff)
		}
	}
}

func TestHostsAreReadStrictly(t *testing.T) {
	for text, says := range map[string]string{
		"server = ":                          "hosts.toml",
		"servers = \"x\"":                    "servers: unknown field",
		"[host.\"https://m\"]\nskip = true":  "unknown field",
		"capabilities = [\"all\"]":           `"all" is none`,
		"dial_timeout = \"soon\"":            "dial_timeout",
		"ca = 1":                             "ca: is neither",
		"ca = \"missing.pem\"":               "missing.pem",
		"client = [[1]]":                     "client: is neither",
		"server = \"https://u:p@h.example\"": "is not the URL of a registry",
		"server = \"https://h.example\"\ncapabilities = [\"push\"]": "no host has the capability pull",
		"[header]\nx = 1": "header.x",
	} {
		h := newHost(t)
		h.write(t, "certs.d/registry.example/hosts.toml", text)
		_, err := h.certsD().Places("registry.example/app", true)
		if err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "hosts.toml") || strings.Contains(err.Error(), "u:p") {
			t.Errorf("%s: %v, want an error with %q", text, err, says)
		}
	}
}

// config.toml of each version says where hosts.toml is, imports included.
func TestConfigPath(t *testing.T) {
	for what, section := range map[string]string{
		"version 2": "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = %q\n",
		"version 3": "version = 3\n[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = %q\n",
		"version 4": "version = 4\n[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = \"/nowhere:\" + %[1]q\n",
	} {
		h := newHost(t)
		text := fmt.Sprintf(section, h.path("certs.d"))
		text = strings.Replace(text, "\"/nowhere:\" + \"", "\"/nowhere:", 1)
		h.write(t, "conf.d/x.toml", text)
		h.write(t, "config.toml", "imports = [\"conf.d/*.toml\"]\n[plugins.\"io.containerd.snapshotter\"]\na = 1\n")
		h.write(t, "certs.d/registry.example/hosts.toml", `server = "https://proxy.example"`)
		if got := places(t, h.access(), "registry.example/app"); len(got) != 1 || got[0] != "https://proxy.example/app" {
			t.Errorf("%s: %q", what, got)
		}
	}
	h := newHost(t)
	h.write(t, "config.toml", "[plugins.\"io.containerd.grpc.v1.cri\".registry.configs.\"r.example\".auth]\npassword = secret\n")
	if _, err := h.access().Places("r.example/app", true); err == nil || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "config.toml:2") {
		t.Errorf("%v", err)
	}
}

// What is asked: with ?ns= and header where hosts.toml leads elsewhere, by TLS with
// its authority, and by nothing else.
func TestTransport(t *testing.T) {
	var got *http.Request
	server := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r }))
	defer server.Close()
	h := newHost(t)
	h.write(t, "certs.d/registry.example/ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	h.write(t, "certs.d/registry.example/hosts.toml", "server = \""+server.URL+"\"\nca = \"ca.pem\"\n[header]\nx-token = \"t\"\n")
	a := h.certsD()
	get := func(withCredentials bool, url string) error {
		found, err := a.Places("registry.example/app", withCredentials)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := (&http.Client{Transport: found[0].Source.Transport}).Get(url)
		if err == nil {
			_ = resp.Body.Close()
		}
		return err
	}
	if err := get(true, server.URL+"/v2/app/manifests/1?a=b"); err != nil {
		t.Fatal(err)
	}
	if got.URL.RawQuery != "a=b&ns=registry.example" || got.Header.Get("X-Token") != "t" {
		t.Errorf("%s, %v", got.URL, got.Header)
	}
	if err := get(false, server.URL+"/token"); err != nil {
		t.Fatal(err)
	}
	if got.URL.RawQuery != "" || got.Header.Get("X-Token") != "" {
		t.Errorf("%s, %v", got.URL, got.Header)
	}
	if err := get(true, strings.Replace(server.URL, "https", "http", 1)); err == nil || !strings.Contains(err.Error(), "hosts.toml has it by https") {
		t.Errorf("%v", err)
	}
	h.write(t, "certs.d/registry.example/hosts.toml", "server = \""+server.URL+"\"\n")
	if err := get(true, server.URL); err == nil {
		t.Error("an authority that nobody named is believed")
	}
	h.write(t, "certs.d/registry.example/hosts.toml", "server = \""+server.URL+"\"\nskip_verify = true\n")
	if err := get(true, server.URL); err != nil {
		t.Error(err)
	}
}

// answers is a gate whose verdicts are those of the places, by registry.
type answers map[string]gate.Verdict

func (a answers) Admit(_ context.Context, req gate.Request) gate.Verdict {
	v := a[req.Source.Repository.RegistryStr()]
	v.Repository, v.Digest = req.Repository, req.Digest.String()
	return v
}

// One place that admits is enough; an outage of one is no refusal.
func TestCTRD05_Places(t *testing.T) {
	var lacks bool // the mirror lacks the image; otherwise it is down
	mirror := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !lacks:
			w.WriteHeader(http.StatusBadRequest)
		case r.URL.Path != "/v2/":
			http.NotFound(w, r)
		}
	}))
	defer mirror.Close()
	h := newHost(t)
	h.write(t, "certs.d/registry.example/hosts.toml", "server = \"https://s.invalid\"\n[host.\""+mirror.URL+"\"]\n")
	a := h.certsD()
	digest := v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("a", 64)}
	verdict := func(o gate.Outcome, c gate.Code) gate.Verdict {
		return gate.Verdict{Outcome: o, Code: c, Reason: "because"}
	}
	yes, no := verdict(gate.OutcomeAdmitted, gate.CodeAdmitted), verdict(gate.OutcomeRefused, gate.CodeUnsigned)
	down, forbidden := verdict(gate.OutcomeUndecided, gate.CodeLookupFailed), verdict(gate.OutcomeUndecided, gate.CodeForbidden)
	for what, c := range map[string]struct {
		lacks          bool
		mirror, server gate.Verdict
		code           gate.Code
		says           string
	}{
		"the mirror has the signature": {false, yes, no, gate.CodeAdmitted, ""},
		"the server has the signature": {false, no, yes, gate.CodeAdmitted, ""},
		"the mirror is down":           {false, down, yes, gate.CodeAdmitted, ""},
		"neither has it":               {false, no, no, gate.CodeUnsigned, "because"},
		"the mirror lacks the image":   {true, down, no, gate.CodeUnsigned, "because"},
		"unsigned, and a mirror down":  {false, down, no, gate.CodeLookupFailed, "because"},
		"unsigned, and the server is":  {false, no, down, gate.CodeLookupFailed, "because"},
		"no credentials":               {true, down, forbidden, gate.CodeForbidden, "no registry credentials on this node for s.invalid"},
	} {
		lacks = c.lacks
		v := a.Admit(t.Context(), answers{strings.TrimPrefix(mirror.URL, "http://"): c.mirror, "s.invalid": c.server}, gate.Request{Repository: "registry.example/app", Digest: digest}, "registry.example/app", true)
		if v.Code != c.code || v.Admitted() != (c.code == gate.CodeAdmitted) || !strings.Contains(v.Reason, c.says) {
			t.Errorf("%s: %s, %s (%s), want %s", what, v.Outcome, v.Code, v.Reason, c.code)
		}
	}
	h.write(t, "certs.d/registry.example/hosts.toml", "broken")
	if v := a.Admit(t.Context(), answers{}, gate.Request{Repository: "registry.example/app", Digest: digest}, "registry.example/app", true); v.Code != gate.CodeLookupFailed || v.Admitted() {
		t.Errorf("%+v", v)
	}
}

// An API outside of /v2 is asked where it lies, and only its ping may be missing.
func TestOverridePath(t *testing.T) {
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.String())
		if r.URL.Path == "/api/quay/" || strings.HasSuffix(r.URL.Path, "none") {
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	h := newHost(t)
	h.write(t, "certs.d/quay.io/hosts.toml", "server = \""+server.URL+"/api/quay\"\noverride_path = true\n")
	found, err := h.certsD().Places("quay.io/a/b", true)
	if err != nil {
		t.Fatal(err)
	}
	for path, status := range map[string]int{
		"/v2/": 200, "/v2/api/quay/a/b/manifests/1": 200, "/v2/api/quay/a/b/manifests/none": 404, "/api/quay/a/b/referrers/x?n=2": 200, "/token": 200,
	} {
		resp, err := (&http.Client{Transport: found[0].Source.Transport}).Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != status {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
	slices.Sort(asked)
	want := []string{"/api/quay/?ns=quay.io", "/api/quay/a/b/manifests/1?ns=quay.io", "/api/quay/a/b/manifests/none?ns=quay.io", "/api/quay/a/b/referrers/x?n=2&ns=quay.io", "/token"}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Error(diff)
	}
}

// A place that does not answer is named before who asks gives up (CTRD-04).
func TestCTRD04_SlowRegistry(t *testing.T) {
	h := newHost(t)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	slow := admitter(func(ctx context.Context, req gate.Request) gate.Verdict {
		<-ctx.Done()
		return gate.Undecided(req, gate.CodeCancelled, ctx.Err())
	})
	digest := v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("a", 64)}
	v := h.certsD().Admit(ctx, slow, gate.Request{Repository: "registry.example/app", Digest: digest}, "registry.example/app", true)
	if ctx.Err() != nil || v.Code != gate.CodeTimeout || !strings.Contains(v.Reason, "no answer from registry.example within ") {
		t.Errorf("%+v, %v", v, ctx.Err())
	}
}

// A mirror that does not even say whether it has the image takes no more than its
// share of the time: the server is asked, too.
func TestCTRD04_SlowMirror(t *testing.T) {
	stalls := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer stalls.Close()
	h := newHost(t)
	h.write(t, "certs.d/registry.example/hosts.toml", "server = \"https://s.invalid\"\n[host.\""+stalls.URL+"\"]\n")
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	digest := v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("a", 64)}
	next := admitter(func(ctx context.Context, req gate.Request) gate.Verdict {
		if req.Source.Repository.RegistryStr() == "s.invalid" && ctx.Err() == nil {
			return gate.Verdict{Outcome: gate.OutcomeAdmitted, Code: gate.CodeAdmitted, Reason: "because"}
		}
		return gate.Undecided(req, gate.CodeLookupFailed, errors.New("503"))
	})
	if v := h.certsD().Admit(ctx, next, gate.Request{Repository: "registry.example/app", Digest: digest}, "registry.example/app", true); !v.Admitted() {
		t.Errorf("%+v", v)
	}
}

// admitter answers by a function.
type admitter func(context.Context, gate.Request) gate.Verdict

func (a admitter) Admit(ctx context.Context, req gate.Request) gate.Verdict { return a(ctx, req) }
