package podmandoctor_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/countersign"
	"github.com/touchmark/touchmark/podman/doctor"
)

func chmod(path string, mode os.FileMode) func(*testing.T, *world) {
	return func(t *testing.T, w *world) {
		if err := os.Chmod(w.Path(path), mode); err != nil {
			t.Fatal(err)
		}
	}
}

func write(path, text string) func(*testing.T, *world) {
	return func(t *testing.T, w *world) { w.Write(t, path, text) }
}

func (w *world) read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(w.Path(path))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

const registriesConf = "/etc/containers/registries.conf"

func (w *world) registries(t *testing.T, text string) { t.Helper(); w.Write(t, registriesConf, text) }
func (w *world) registriesAlso(t *testing.T, text string) {
	t.Helper()
	w.Write(t, registriesConf, string(w.read(t, registriesConf))+text)
}
func (w *world) registriesFirst(t *testing.T, text string) {
	t.Helper()
	w.Write(t, registriesConf, text+string(w.read(t, registriesConf)))
}

func podmanPulls(image string) func(*testing.T, *world) bool {
	return func(t *testing.T, w *world) bool { return w.gets(t, w.Root(), "podman", "pull", "--quiet", image) }
}

// byPolicy is what a client does that reads another policy.json: CRI-O is no package of Debian 12.
func byPolicy(path string) func(*testing.T, *world) bool {
	return func(t *testing.T, w *world) bool { return w.copies(t, bad, "--policy", path) }
}

// runs runs what follows a prefix in a file of the host, as systemd and cron do.
func runs(path, prefix string) func(*testing.T, *world) bool {
	return func(t *testing.T, w *world) bool {
		_, command, _ := strings.Cut(string(w.read(t, path)), prefix)
		return w.gets(t, w.Root(), "sh", "-c", command)
	}
}

// proxy starts a proxy that refuses everything, and is what the host is to pull through.
func (w *world) proxy(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/" {
			return
		}
		out.WriteHeader(http.StatusForbidden)
		fmt.Fprint(out, `{"errors":[{"code":"DENIED","message":"refused"}]}`)
	}))
	t.Cleanup(server.Close)
	w.throughProxy = strings.TrimPrefix(server.URL, "http://")
	return w.throughProxy
}

func throughProxy(w *world, c *doctor.Config) { c.Intent.Proxies = []string{w.throughProxy} }

// sign makes a signature with a key's files.
func sign(t *testing.T, k keyFiles, repository, digest string) []byte {
	dir := t.TempDir()
	c := countersign.Config{Key: filepath.Join(dir, "key"), Public: filepath.Join(dir, "gpg")}
	for path, data := range map[string][]byte{c.Key: k.secret, c.Public: k.public} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Error(err)
		}
	}
	key, err := countersign.Open(t.Context(), c)
	if err != nil {
		t.Error(err)
		return nil
	}
	blob, err := key.Countersign(repository, digest, time.Now())
	if err != nil {
		t.Error(err)
	}
	return blob
}
