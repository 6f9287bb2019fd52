package proxy_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/crypto/bcrypt"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/integration/internal/lab"
)

// distribution starts distribution's registry, which lets alice in.
func distribution(t *testing.T) string {
	t.Helper()
	program, dir, address := lab.Tool(t, "registry-v3.1.2"), t.TempDir(), lab.FreeAddress(t)
	hash, err := bcrypt.GenerateFromPassword([]byte("alice"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	users, config := filepath.Join(dir, "users"), filepath.Join(dir, "config.yaml")
	for file, text := range map[string]string{
		users: fmt.Sprintf("alice:%s\n", hash),
		config: fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %q}}\nhttp: {addr: %q}\nauth: {htpasswd: {realm: test, path: %q}}\n",
			filepath.Join(dir, "data"), address, users),
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), program, "serve", config)
	cmd.Env = append(lab.Environment(t), "OTEL_TRACES_EXPORTER=none")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if resp, err := http.Get("http://" + address + "/v2/"); err == nil {
			resp.Body.Close()
			return address
		}
		if time.Now().After(deadline) {
			t.Fatal("the registry does not answer")
		}
	}
}

// PX-17: stock clients log in to the proxy with what they have for the registry behind it, which decides who may read.
func TestPX17_StockClientsArePassedThrough(t *testing.T) {
	upstream := distribution(t)
	for i, image := range []string{"good", "bad"} {
		ref, err := name.ParseReference(upstream + "/" + image + ":1")
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(ref, coretest.Image(t, int64(i+1)), remote.WithAuth(&authn.Basic{Username: "alice", Password: "alice"})); err != nil {
			t.Fatal(err)
		}
	}
	w := newFronted(t, "registries:\n- {name: registry.acme.example, upstream: \"http://"+upstream+"\", passThrough: true}\n")
	// Each has a home of its own: skopeo finds the login of oras, too.
	ofItsOwn := func(program string) lab.Command {
		home := t.TempDir()
		return lab.Command{Program: program, Env: []string{"HOME=" + home, "DOCKER_CONFIG=" + home, "REGISTRY_AUTH_FILE=" + home + "/auth.json"}}
	}
	skopeo, oras := ofItsOwn(coretest.RequireTool(t, "skopeo")), ofItsOwn(lab.Tool(t, "oras-v1.3.6"))
	if r := skopeo.Run(t, "login", "--tls-verify=false", "-u", "mallory", "-p", "alice", w.host); r.Status == 0 {
		t.Errorf("mallory logged in: %s", r.Output())
	}
	for login, c := range map[string]struct {
		command lab.Command
		login   []string
		pull    func(image string) []string
	}{
		"skopeo": {skopeo, []string{"login", "--tls-verify=false"}, func(image string) []string {
			return []string{"--insecure-policy", "copy", "--src-tls-verify=false", "docker://" + image, "dir:" + t.TempDir()}
		}},
		"oras": {oras, []string{"login", "--plain-http"}, func(image string) []string {
			return []string{"copy", "--from-plain-http", "--to-oci-layout", image, filepath.Join(t.TempDir(), "layout") + ":1"}
		}},
	} {
		if r := c.command.Run(t, c.pull(w.host+"/good:1")...); r.Status == 0 || !deniedText.MatchString(r.Output()) {
			t.Errorf("%s without a login: %d %s", login, r.Status, r.Output())
		}
		if r := c.command.Run(t, append(c.login, "-u", "alice", "-p", "alice", w.host)...); r.Status != 0 {
			t.Errorf("%s login: %s", login, r.Output())
		}
		if r := c.command.Run(t, c.pull(w.host+"/good:1")...); r.Status != 0 {
			t.Errorf("%s: %s\nproxy: %s", login, r.Output(), w.log)
		}
		if r := c.command.Run(t, c.pull(w.host+"/bad:1")...); r.Status == 0 || !deniedText.MatchString(r.Output()) {
			t.Errorf("%s of what is refused: %d %s", login, r.Status, r.Output())
		}
	}
}
