package agentcmd

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/touchmark/touchmark/podman"
	"github.com/touchmark/touchmark/podman/install"
)

// TestPOD03_WithinScopes: the names of which policy.json demands our signature, in each spelling that the installer writes.
func TestPOD03_WithinScopes(t *testing.T) {
	scopes := []string{"docker.io/acme", "quay.io", "registry.example:5000/team"}
	for name, want := range map[string]bool{
		"quay.io/acme/app":                    true,
		"quay.io:443/acme/app":                true,
		"docker.io/acme/app":                  true,
		"registry-1.docker.io/acme/app":       true,
		"registry-1.docker.io:443/acme/app":   true,
		"registry.example:5000/team/app":      true,
		"docker.io/other/app":                 false,
		"docker.io/acme-evil/app":             false,
		"quay.io.evil.example/acme/app":       false,
		"quay.io:5000/acme/app":               false,
		"evil.example/quay.io/acme/app":       false,
		"registry.example/team/app":           false,
		"registry.example:5000/team-evil/app": false,
	} {
		if got := withinScopes(scopes, name); got != want {
			t.Errorf("%s: %v", name, got)
		}
		if !withinScopes(nil, name) {
			t.Errorf("%s is not within everything", name)
		}
	}
}

// TestClientFiles: what clients were told before Touchmark was installed is asked, too, and changes count.
func TestClientFiles(t *testing.T) {
	host := podman.Host{Root: t.TempDir()}
	put := func(path, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(host.RegistriesConf(), "")
	put(install.LookasideFile(host), "docker:\n  quay.io:\n    lookaside: http://127.0.0.1:7467/lookaside/quay.io\n")
	put(install.DisplacedFile(host), "docker:\n  quay.io/acme:\n    lookaside: https://acme.example/signatures\n")
	put(filepath.Join(host.RegistriesDir(), "other.yaml"), "docker:\n  other.example:\n    lookaside: https://other.example/signatures\n")
	files := &clientFiles{host: host}
	if err := files.load(); err != nil {
		t.Fatal(err)
	}
	for physical, want := range map[string]string{
		"quay.io/acme/app": "https://acme.example/signatures", "quay.io/other/app": "", "other.example/app": "https://other.example/signatures", "third.example/app": "",
	} {
		if got, ok := files.chain(physical); got != want || ok != (want != "") {
			t.Errorf("%s: lookaside %q, %v, want %q", physical, got, ok, want)
		}
	}

	again := func() { files.looked = time.Now().Add(-time.Hour) }
	if names, err := files.logical("proxy.example/app"); err != nil || !slices.Equal(names, []string{"proxy.example/app"}) {
		t.Errorf("names %q, %v", names, err)
	}
	put(host.RegistriesConf(), "[[registry]]\nprefix = \"quay.io/team\"\nlocation = \"proxy.example\"\n")
	again()
	if names, err := files.logical("proxy.example/app"); err != nil || !slices.Equal(names, []string{"proxy.example/app", "quay.io/team/app"}) {
		t.Errorf("names after a change: %q, %v", names, err)
	}
	put(host.RegistriesConf(), "[[registry")
	again()
	if names, err := files.logical("proxy.example/app"); err == nil {
		t.Errorf("names by a broken file: %q", names)
	}
	if _, err := files.source("proxy.example/app", true); err == nil {
		t.Error("a source by a broken file")
	}
	put(host.RegistriesConf(), "")
	again()
	if names, err := files.logical("proxy.example/app"); err != nil || len(names) != 1 {
		t.Errorf("names after the file was mended: %q, %v", names, err)
	}
}

// TestRegistryAuthFile: REGISTRY_AUTH_FILE takes the place of what "podman login" wrote.
func TestRegistryAuthFile(t *testing.T) {
	host := podman.Host{Root: t.TempDir()}
	for file, user := range map[string]string{host.AuthFiles()[0]: "login", filepath.Join(host.Root, "other.json"): "other"} {
		text := fmt.Sprintf(`{"auths": {"quay.io": {"auth": %q}}}`, base64.StdEncoding.EncodeToString([]byte(user+":secret")))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for file, want := range map[string]string{"": "login", filepath.Join(host.Root, "other.json"): "other"} {
		t.Setenv("REGISTRY_AUTH_FILE", file)
		files := &clientFiles{host: host}
		if err := files.load(); err != nil {
			t.Fatal(err)
		}
		source, err := files.source("quay.io/acme/app", true)
		if err != nil {
			t.Fatal(err)
		}
		found, err := authn.Resolve(t.Context(), source.Keychain, source.Repository)
		if err != nil {
			t.Fatal(err)
		}
		config, err := authn.Authorization(t.Context(), found)
		if err != nil || config.Username != want {
			t.Errorf("REGISTRY_AUTH_FILE=%s: %q, %v, want %s", file, config.Username, err, want)
		}
	}
}
