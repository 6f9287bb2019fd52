package access_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/containerd/access"
	"github.com/touchmark/touchmark/containerd/kubelet"
	"github.com/touchmark/touchmark/core/gate"
)

// user is whose credentials a repository is asked with.
func user(t *testing.T, a *access.Access, repository string, withCredentials bool) (string, error) {
	t.Helper()
	found, err := a.Places(repository, withCredentials)
	if err != nil || len(found) != 1 {
		t.Fatalf("%s: %v, %v", repository, found, err)
	}
	if (found[0].Source.As != "") != withCredentials {
		t.Errorf("%s: answers for one would be given to another", repository)
	}
	if found[0].Source.Keychain == nil {
		return "", nil
	}
	who, err := authn.Resolve(t.Context(), found[0].Source.Keychain, found[0].Source.Repository)
	if err != nil {
		return "", err
	}
	config, err := authn.Authorization(t.Context(), who)
	if err != nil {
		t.Fatal(err)
	}
	return config.Username + config.IdentityToken, nil
}

// programs builds testdata/credentials under each of the names, into PATH.
func programs(t *testing.T, names ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, "credentials"), "./testdata/credentials")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, name := range names {
		if err := os.Symlink("credentials", filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return dir
}

func auth(user string) string {
	return base64.StdEncoding.EncodeToString([]byte(user + ":s3cret"))
}

func TestCredentials(t *testing.T) {
	programs(t, "docker-credential-one", "docker-credential-all", "docker-credential-fails", "provider")
	h := newHost(t)
	h.write(t, "auth.json", fmt.Sprintf(`{"auths": {"https://index.docker.io/v1/": {"auth": %q}, "a.example": {"username": "a", "password": "p"},
		"a.example/team": {"auth": %q}, "b.example": {}, "helped.example": {"auth": %q}},
		"credHelpers": {"https://helped.example": "one", "broken.example": "fails", "both.example": "fails"}}`, auth("hub"), auth("team"), auth("file")))
	h.write(t, "docker.json", fmt.Sprintf(`{"auths": {"a.example": {"auth": %q}, "both.example": {"auth": %q}}}`, auth("second"), auth("second")))
	h.write(t, "config.toml", fmt.Sprintf("[plugins.'io.containerd.cri.v1.images'.registry.configs.\"b.example\".auth]\nauth = %q\n", auth("cri")))
	h.write(t, "providers.yaml", `{apiVersion: kubelet.config.k8s.io/v1, kind: CredentialProviderConfig, providers: [{name: provider, apiVersion: credentialprovider.kubelet.k8s.io/v1,
  matchImages: ["*.cloud.example", a.example], defaultCacheDuration: 1h}]}`)
	a := h.withProviders(t)
	for repository, want := range map[string]string{
		"docker.io/library/x": "hub", "a.example/x": "a", "a.example/team/x": "team", "a.example/teams": "a", "b.example/x": "cri", "c.example/x": "",
		"helped.example/x": "one of helped.example", "both.example/x": "second", "eu.cloud.example/x": "provider of eu.cloud.example/x",
	} {
		if got, err := user(t, a, repository, true); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", repository, got, err, want)
		}
		if got, err := user(t, a, repository, false); err != nil || got != "" {
			t.Errorf("%s, for somebody else: %q, %v", repository, got, err)
		}
	}
	// What a program says when it fails is told, but for what may be a secret.
	if _, err := user(t, a, "broken.example/x", true); err == nil || !strings.Contains(err.Error(), "docker-credential-fails for credentials for broken.example") || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("%v", err)
	}
	h.write(t, "docker.json", `{"credsStore": "all"}`)
	for repository, want := range map[string]string{"c.example/x": "all of c.example", "a.example/x": "a", "docker.io/library/x": "hub"} {
		if got, err := user(t, a, repository, true); err != nil || got != want {
			t.Errorf("with a credsStore: %s: %q, %v; want %q", repository, got, err, want)
		}
	}
}

// withProviders reads auth.json, docker.json, the providers and config.toml.
func (h host) withProviders(t *testing.T) *access.Access {
	t.Helper()
	return access.New(access.Config{
		Containerd: h.path("config.toml"), Hosts: []string{h.path("certs.d")}, Credentials: []string{h.path("auth.json"), h.path("docker.json")},
		Providers: kubelet.Config{File: h.path("providers.yaml"), Bin: filepath.Dir(must(exec.LookPath("provider")))},
	})
}

func must(path string, err error) string {
	if err != nil {
		return "none"
	}
	return path
}

// A file that is wrong is named, and nothing of it said. Places that are known need none of them.
func TestCredentialsErrors(t *testing.T) {
	for file, text := range map[string]string{
		"auth.json":      `{"auths": {"a.example": {"auth": "s3cret"}}}`,
		"docker.json":    `{"auths": "s3cret"}`,
		"providers.yaml": "s3cret",
		"config.toml":    "[plugins.\"io.containerd.grpc.v1.cri\".registry.configs.\"r.example\".auth]\npassword = s3cret\n",
	} {
		h := newHost(t)
		h.write(t, "providers.yaml", `{apiVersion: kubelet.config.k8s.io/v1, kind: CredentialProviderConfig}`)
		h.write(t, file, text)
		if _, err := user(t, h.withProviders(t), "a.example/x", true); err == nil || strings.Contains(err.Error(), "s3cret") || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", file, err)
		}
		if got, err := user(t, h.withProviders(t), "a.example/x", false); err != nil || got != "" {
			t.Errorf("%s: %q, %v", file, got, err)
		}
	}
	h := newHost(t)
	h.write(t, "auth.json", `{"credsStore": "../../bin/evil"}`)
	if _, err := user(t, h.certsD(), "a.example/x", true); err == nil || !strings.Contains(err.Error(), "not that of a program") {
		t.Errorf("%v", err)
	}
}

// A registry that shows nothing without credentials is never "unsigned", and the way out is named.
func TestNoCredentials(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer server.Close()
	registry := strings.TrimPrefix(server.URL, "http://")
	h := newHost(t)
	digest := v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("a", 64)}
	ask := func() gate.Verdict {
		forbidden := answers{registry: {Outcome: gate.OutcomeUndecided, Code: gate.CodeForbidden, Reason: "403"}}
		return h.certsD().Admit(t.Context(), forbidden, gate.Request{Repository: registry + "/app", Digest: digest}, registry+"/app", true)
	}
	if v := ask(); v.Admitted() || !strings.Contains(v.Reason, "no registry credentials on this node for "+registry+": put some into "+h.path("auth.json")) {
		t.Errorf("%+v", v)
	}
	h.write(t, "auth.json", fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, registry, auth("u")))
	if v := ask(); v.Admitted() || strings.Contains(v.Reason, "no registry credentials") {
		t.Errorf("%+v", v)
	}
}
