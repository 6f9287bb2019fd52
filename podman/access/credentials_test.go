package access_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/touchmark/touchmark/podman"
	"github.com/touchmark/touchmark/podman/access"
)

// auth is an entry of an auth file.
func auth(user string) string {
	return fmt.Sprintf(`{"auth": %q}`, base64.StdEncoding.EncodeToString([]byte(user+":of "+user)))
}

// resolve is who one is to a repository: "" is nobody.
func resolve(t *testing.T, a *access.Access, repository string) (authn.AuthConfig, error) {
	t.Helper()
	source, err := a.Source(repository, true)
	if err != nil {
		t.Fatal(err)
	}
	found, err := authn.Resolve(t.Context(), source.Keychain, source.Repository)
	if err != nil {
		return authn.AuthConfig{}, err
	}
	config, err := authn.Authorization(t.Context(), found)
	if err != nil {
		t.Fatal(err)
	}
	return *config, nil
}

// TestCredentials: whose credentials are found, file by file and key by key, as podman login and its users write them.
func TestCredentials(t *testing.T) {
	user := podman.Host{Root: t.TempDir(), Home: "/home/alice", UID: 1000}
	at := func(path string) string { return filepath.Join(user.Root, path) }
	runtime, config, docker := at("run/user/1000/containers/auth.json"), at("home/alice/.config/containers/auth.json"), at("home/alice/.docker/config.json")
	for _, tt := range []struct {
		name       string
		files      map[string]string
		repository string
		want       string // user's name
	}{
		{"no file", nil, "quay.io/acme/app", ""},
		{"login", map[string]string{runtime: `{"auths": {"quay.io": ` + auth("alice") + `}}`}, "quay.io/acme/app", "alice"},
		{"another registry", map[string]string{runtime: `{"auths": {"quay.io": ` + auth("alice") + `}}`}, "ghcr.io/acme/app", ""},
		{"a registry that begins so", map[string]string{runtime: `{"auths": {"quay.io": ` + auth("alice") + `}}`}, "quay.io.evil.example/acme/app", ""},
		{"a port", map[string]string{runtime: `{"auths": {"quay.io:5000": ` + auth("alice") + `}}`}, "quay.io:5000/acme/app", "alice"},
		{"another port", map[string]string{runtime: `{"auths": {"quay.io:5000": ` + auth("alice") + `}}`}, "quay.io/acme/app", ""},
		{"a namespace", map[string]string{runtime: `{"auths": {"quay.io/acme": ` + auth("acme") + `, "quay.io": ` + auth("alice") + `}}`}, "quay.io/acme/app", "acme"},
		{"beside the namespace", map[string]string{runtime: `{"auths": {"quay.io/acme": ` + auth("acme") + `, "quay.io": ` + auth("alice") + `}}`}, "quay.io/acme-evil/app", "alice"},
		{"a repository", map[string]string{runtime: `{"auths": {"quay.io/acme/app": ` + auth("app") + `, "quay.io/acme": ` + auth("acme") + `}}`}, "quay.io/acme/app", "app"},
		{"only another namespace", map[string]string{runtime: `{"auths": {"quay.io/acme": ` + auth("acme") + `}}`}, "quay.io/other/app", ""},
		{"Docker Hub", map[string]string{runtime: `{"auths": {"docker.io": ` + auth("alice") + `}}`}, "docker.io/library/busybox", "alice"},
		{"Docker Hub as docker login writes it", map[string]string{docker: `{"auths": {"https://index.docker.io/v1/": ` + auth("alice") + `}}`}, "docker.io/acme/app", "alice"},
		{"a namespace of Docker Hub", map[string]string{runtime: `{"auths": {"docker.io/acme": ` + auth("acme") + `}}`}, "docker.io/acme/app", "acme"},
		{"the first file", map[string]string{runtime: `{"auths": {"quay.io": ` + auth("alice") + `}}`, config: `{"auths": {"quay.io": ` + auth("config") + `}}`}, "quay.io/acme/app", "alice"},
		{"a later file", map[string]string{runtime: `{"auths": {"ghcr.io": ` + auth("alice") + `}}`, config: `{"auths": {"quay.io": ` + auth("config") + `}}`}, "quay.io/acme/app", "config"},
		{"Docker's file", map[string]string{runtime: `{}`, docker: `{"auths": {"quay.io": ` + auth("docker") + `}, "detachKeys": "x"}`}, "quay.io/acme/app", "docker"},
		{"an empty entry", map[string]string{runtime: `{"auths": {"quay.io": {}}}`, docker: `{"auths": {"quay.io": ` + auth("docker") + `}}`}, "quay.io/acme/app", "docker"},
		{"root's are not a user's", map[string]string{at("root/.docker/config.json"): `{"auths": {"quay.io": ` + auth("root") + `}}`, at("run/containers/0/auth.json"): `{"auths": {"quay.io": ` + auth("root") + `}}`}, "quay.io/acme/app", ""},
	} {
		for _, dir := range []string{"run", "home", "root"} {
			if err := os.RemoveAll(at(dir)); err != nil {
				t.Fatal(err)
			}
		}
		for path, text := range tt.files {
			write(t, path, text)
		}
		got, err := resolve(t, load(t, user), tt.repository)
		if err != nil || got.Username != tt.want || tt.want != "" && got.Password != "of "+tt.want {
			t.Errorf("%s: %q, %v, want %q", tt.name, got.Username, err, tt.want)
		}
	}
}

// TestPOD13_Anonymous: without credentials nothing is looked up, and answers are kept apart from those with.
func TestPOD13_Anonymous(t *testing.T) {
	file := filepath.Join(t.TempDir(), "auth.json")
	write(t, file, "broken")
	a := load(t, newHost(t, nil), file)
	anonymous, err := a.Source("quay.io/acme/app", false)
	if err != nil || anonymous.Keychain != nil || anonymous.As != "" {
		t.Errorf("anonymous: %+v, %v", anonymous, err)
	}
	with, err := a.Source("quay.io/acme/app", true)
	if err != nil || with.Keychain == nil || with.As == "" {
		t.Errorf("with credentials: %+v, %v", with, err)
	}
}

// TestCredentialsAnew: a login while the agent runs counts at once, as does a logout.
func TestCredentialsAnew(t *testing.T) {
	file := filepath.Join(t.TempDir(), "auth.json")
	a := load(t, newHost(t, nil), file)
	source, err := a.Source("quay.io/acme/app", true)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"", "alice", "bob", ""} {
		text := `{"auths": {"quay.io": ` + auth(want) + `}}`
		if want == "" {
			text = "{}"
		}
		write(t, file, text)
		found, err := authn.Resolve(t.Context(), source.Keychain, source.Repository)
		if err != nil {
			t.Fatal(err)
		}
		config, err := authn.Authorization(t.Context(), found)
		if err != nil || config.Username != want {
			t.Errorf("%q, %v, want %q", config.Username, err, want)
		}
	}
}

// TestCredentialsBroken: a file that can't be read is an error that names it and has no secret, whatever a later file says.
func TestCredentialsBroken(t *testing.T) {
	good := `{"auths": {"quay.io": ` + auth("alice") + `}}`
	for what, text := range map[string]string{
		"empty": "", "not JSON": `{"auths": {"quay.io": s3cret`, "another type": `{"auths": "s3cret"}`, "another type of helper": `{"credHelpers": {"quay.io": ["s3cret"]}}`,
		"not base64": `{"auths": {"quay.io": {"auth": "s3cret!"}}}`, "too large": strings.Repeat(" ", 2<<20) + good,
	} {
		dir := t.TempDir()
		first, second := filepath.Join(dir, "auth.json"), filepath.Join(dir, "config.json")
		write(t, first, text)
		write(t, second, good)
		_, err := resolve(t, load(t, newHost(t, nil), first, second), "quay.io/acme/app")
		if err == nil || !strings.Contains(err.Error(), first) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", what, err)
		}
		write(t, first, good)
		if got, err := resolve(t, load(t, newHost(t, nil), first, second), "quay.io/acme/app"); err != nil || got.Username != "alice" {
			t.Errorf("%s, mended: %q, %v", what, got.Username, err)
		}
	}
	dir := t.TempDir() // not a file
	if _, err := resolve(t, load(t, newHost(t, nil), dir), "quay.io/acme/app"); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("a directory: %v", err)
	}
}

// helpers puts credential helpers, shell scripts by their names, into PATH.
func helpers(t *testing.T, scripts map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, script := range scripts {
		write(t, filepath.Join(dir, "docker-credential-"+name), "#!/bin/sh\n"+script)
		if err := os.Chmod(filepath.Join(dir, "docker-credential-"+name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

const answers = `[ "$1" = get ] || exit 2; read -r registry; printf '{"ServerURL": "%s", "Username": "helper", "Secret": "of %s"}' "$registry" "$registry"`

// TestHelpers: the programs that keep credentials, of one registry and of all.
func TestHelpers(t *testing.T) {
	helpers(t, map[string]string{
		"good":  answers,
		"token": `printf '{"ServerURL": "x", "Username": "<token>", "Secret": "identity"}'`,
		"none":  `echo "credentials not found in native keychain"; exit 1`,
		"fails": `echo "the keyring is locked"; exit 1`,
		"leaks": `echo '{"Secret": "s3cret"}'; exit 1`,
		"talks": `while :; do echo "talk talk talk talk talk talk talk talk talk talk talk talk talk talk"; done`,
		"wrong": `echo "Hello"`,
	})
	perRegistry := func(helper string) string {
		return fmt.Sprintf(`{"credHelpers": {"quay.io": %q}, "auths": {"quay.io": %s, "ghcr.io": %s}}`, helper, auth("file"), auth("file"))
	}
	for _, tt := range []struct {
		name, conf, file, repository string
		user, token                  string
		err                          string
	}{
		{name: "of the file", file: perRegistry("good"), user: "helper"},
		{name: "of the file, for another registry", file: perRegistry("good"), repository: "ghcr.io/acme/app", user: "file"},
		{name: "an identity token", file: perRegistry("token"), token: "identity"},
		{name: "has none", file: perRegistry("none")},
		{name: "fails", file: perRegistry("fails"), err: "the keyring is locked"},
		{name: "fails and says too much", file: perRegistry("leaks"), err: "docker-credential-leaks"},
		{name: "without end", file: perRegistry("talks"), err: "docker-credential-talks"},
		{name: "what is no answer", file: perRegistry("wrong"), err: "docker-credential-wrong"},
		{name: "is not there", file: perRegistry("missing"), err: "docker-credential-missing"},
		{name: "of registries.conf", conf: `credential-helpers = ["good"]`, file: perRegistry("fails"), user: "helper"},
		{name: "of registries.conf, then files", conf: `credential-helpers = ["none", "containers-auth.json"]`, file: perRegistry("good"), repository: "ghcr.io/acme/app", user: "file"},
		{name: "of registries.conf, the first fails", conf: `credential-helpers = ["fails", "containers-auth.json"]`, file: perRegistry("good"), repository: "ghcr.io/acme/app", user: "file"},
		{name: "of registries.conf, the first fails, the others have none", conf: `credential-helpers = ["fails", "containers-auth.json"]`, file: "{}", err: "the keyring is locked"},
		{name: "of registries.conf, no files", conf: `credential-helpers = ["none"]`, file: perRegistry("good")},
	} {
		if tt.repository == "" {
			tt.repository = "quay.io/acme/app"
		}
		file := filepath.Join(t.TempDir(), "auth.json")
		write(t, file, tt.file)
		got, err := resolve(t, load(t, newHost(t, map[string]string{"registries.conf": tt.conf}), file), tt.repository)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "s3cret") || len(err.Error()) > 1000 {
				t.Errorf("%s: %.2000v, want %q", tt.name, err, tt.err)
			}
			continue
		}
		if err != nil || got.Username != tt.user || got.IdentityToken != tt.token {
			t.Errorf("%s: %q, %q, %v", tt.name, got.Username, got.IdentityToken, err)
		}
	}
}

// TestHelperHangs: a helper that waits for a person is killed, and whoever asked is told; so is one whose child holds its output.
func TestHelperHangs(t *testing.T) {
	helpers(t, map[string]string{"hangs": "exec sleep 600", "child": "sleep 600 & wait", "good": answers})
	for helper, hangs := range map[string]bool{"hangs": true, "child": true, "good": false} {
		file := filepath.Join(t.TempDir(), "auth.json")
		write(t, file, fmt.Sprintf(`{"credHelpers": {"quay.io": %q}}`, helper))
		a := load(t, newHost(t, nil), file)
		if hangs {
			a.SetHelperTimeout(100 * time.Millisecond)
		}
		begun := time.Now()
		_, err := resolve(t, a, "quay.io/acme/app")
		if hangs != errors.Is(err, context.DeadlineExceeded) || hangs && !strings.Contains(err.Error(), "docker-credential-"+helper) {
			t.Errorf("%s: %v", helper, err)
		}
		if took := time.Since(begun); took > 30*time.Second {
			t.Errorf("%s: took %s", helper, took)
		}
	}
}

// TestKeychainOfRegistry: a keychain may also be asked about a registry.
func TestKeychainOfRegistry(t *testing.T) {
	file := filepath.Join(t.TempDir(), "auth.json")
	write(t, file, `{"auths": {"quay.io": `+auth("alice")+`, "docker.io": `+auth("hub")+`}}`)
	source, err := load(t, newHost(t, nil), file).Source("quay.io/acme/app", true)
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]string{"quay.io": "alice", "docker.io": "hub", "ghcr.io": ""} {
		registry, err := name.NewRegistry(host)
		if err != nil {
			t.Fatal(err)
		}
		found, err := source.Keychain.Resolve(registry)
		if err != nil {
			t.Fatal(err)
		}
		config, err := authn.Authorization(t.Context(), found)
		if err != nil || config.Username != want {
			t.Errorf("%s: %q, %v, want %q", host, config.Username, err, want)
		}
	}
}
