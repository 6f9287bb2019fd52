package proxy_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/integration/internal/lab"
	"github.com/touchmark/touchmark/registry-proxy/config"
	"github.com/touchmark/touchmark/registry-proxy/service"
)

const rules = `apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata: {name: good}
spec:
  images: [{glob: "registry.acme.example/good"}, {glob: "registry.acme.example/private"}]
  authorities: [{static: {action: pass}}]
`

// world is a proxy in front of a registry with good, bad and private images; alice may read all of it, bob all but the
// private ones, and nobody else anything.
type world struct {
	file, host string        // of the proxy: its configuration, and its host and port
	log        *bytes.Buffer // to be read when nobody asks
}

func newWorld(t *testing.T, more string) *world {
	t.Helper()
	upstream := coretest.NewRegistry(t, true)
	for i, name := range []string{"good", "bad", "private"} {
		coretest.Push(t, upstream+"/"+name+":1", coretest.Image(t, int64(i+1)))
	}
	return newFronted(t, "registries:\n- {name: registry.acme.example, upstream: \"http://"+upstream+"\", prefix: acme}\n"+
		"- {name: registry.other.example, upstream: \"http://"+upstream+"\", prefix: other}\n"+more)
}

// newFronted starts a proxy with these registries, and whatever else its file says; where it listens may come first.
func newFronted(t *testing.T, registries string) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{log: new(bytes.Buffer), file: filepath.Join(dir, "proxy.yaml")}
	var users strings.Builder
	for _, name := range []string{"alice", "bob"} {
		hash, err := bcrypt.GenerateFromPassword([]byte(name), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&users, "%s:%s\n", name, hash)
	}
	if !strings.HasPrefix(registries, "listen:") {
		registries = "listen: 127.0.0.1:0\n" + registries
	}
	for name, text := range map[string]string{
		"policy.yaml": rules, "users": users.String(),
		"proxy.yaml": registries + "policy: policy.yaml\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := service.New(t.Context(), service.Config{
		Read: func() (*config.Config, error) { return config.Load(w.file) },
		Load: func(ctx context.Context, file string, roots []*trust.Root) (*policy.Set, []*trust.Root, error) {
			set, err := policy.Load(ctx, file, policy.Options{})
			return set, roots, err
		},
		Logger: slog.New(slog.NewJSONHandler(w.log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	w.host = strings.TrimPrefix(s.URL(), "http://")
	return w
}

const logins = `auth:
  htpasswd: users
  access:
  - {subjects: ["user:alice"], repositories: ["**"]}
  - {subjects: ["user:bob"], repositories: [registry.acme.example/good, registry.acme.example/bad]}
`

// deniedText is how clients show that they were refused by their rights: some say nothing but the status.
var deniedText = regexp.MustCompile(`(?i)denied|unauthorized|authentication required|403|401|no basic auth|credential not found`)

// Stock clients log in as they do anywhere, read what they may, and are told why they may not. Each is given its
// credentials and asked for an image at the proxy's own address.
func TestPX17_StockClientsLogIn(t *testing.T) {
	w := newWorld(t, logins)
	type client struct {
		login func(t *testing.T, home, user string) lab.Result
		pull  func(t *testing.T, home, image string) lab.Result
	}
	command := func(program, home string) lab.Command {
		return lab.Command{Program: program, Env: []string{"HOME=" + home, "DOCKER_CONFIG=" + home, "REGISTRY_AUTH_FILE=" + home + "/auth.json"}}
	}
	// docker's own file, as "docker login" writes it, for clients that have no login of their own.
	file := func(t *testing.T, home, user string) lab.Result {
		r := command(lab.Tool(t, "crane-v0.22.1"), home).Run(t, "auth", "login", "--insecure", "-u", user, "-p", user, w.host)
		return r
	}
	for name, c := range map[string]client{
		"crane": {file, func(t *testing.T, home, image string) lab.Result {
			return command(lab.Tool(t, "crane-v0.22.1"), home).Run(t, "pull", "--insecure", image, filepath.Join(home, "image.tar"))
		}},
		"oras": {func(t *testing.T, home, user string) lab.Result {
			return command(lab.Tool(t, "oras-v1.3.6"), home).Run(t, "login", "--plain-http", "-u", user, "-p", user, w.host)
		}, func(t *testing.T, home, image string) lab.Result {
			return command(lab.Tool(t, "oras-v1.3.6"), home).Run(t, "copy", "--from-plain-http", "--to-oci-layout", image, filepath.Join(home, "layout:1"))
		}},
		"skopeo": {func(t *testing.T, home, user string) lab.Result {
			return command(coretest.RequireTool(t, "skopeo"), home).Run(t, "login", "--tls-verify=false", "-u", user, "-p", user, w.host)
		}, func(t *testing.T, home, image string) lab.Result {
			return command(coretest.RequireTool(t, "skopeo"), home).Run(t, "--insecure-policy", "copy", "--src-tls-verify=false", "docker://"+image, "dir:"+filepath.Join(home, "image"))
		}},
		"cosign": {file, func(t *testing.T, home, image string) lab.Result {
			return command(lab.Tool(t, "cosign-v3.1.3"), home).Run(t, "tree", "--allow-http-registry", image)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, user := range []string{"alice", "bob", "nobody"} {
				home := t.TempDir()
				if user != "nobody" {
					if r := c.login(t, home, user); r.Status != 0 {
						t.Fatalf("%s cannot log in: %s", user, r.Output())
					}
				}
				for image, who := range map[string]string{"good": "alice bob", "private": "alice", "bad": ""} {
					r := c.pull(t, home, w.host+"/acme/"+image+":1")
					if want := strings.Contains(who, user); (r.Status == 0) != want {
						t.Errorf("%s %s: status %d\n%s\nproxy: %s", user, image, r.Status, r.Output(), w.log)
					} else if !want && !deniedText.MatchString(r.Output()) {
						t.Errorf("%s %s is told %s", user, image, r.Output())
					}
				}
			}
			home := t.TempDir()
			if r := c.login(t, home, "mallory"); name != "crane" && name != "cosign" && r.Status == 0 { // these two only write the file
				t.Errorf("mallory logged in: %s", r.Output())
			}
		})
	}
}

// install writes what "touchmark client-config" prints to a host.
func (w *world) install(t *testing.T, h *lab.Host, client string) {
	t.Helper()
	out := lab.Touchmark(t, 0, "client-config", client, "--config", w.file, "--url", "http://"+w.host).Stdout
	for _, part := range regexp.MustCompile(`(?m)^# (/\S+)\n`).FindAllStringSubmatchIndex(out, -1) {
		end := len(out)
		if next := regexp.MustCompile(`(?m)^# /\S+\n`).FindStringIndex(out[part[1]:]); next != nil {
			end = part[1] + next[0]
		}
		h.Write(t, out[part[2]:part[3]], out[part[1]:end])
	}
}

// With the files of client-config, podman pulls by the registry's own name, from the proxy and from nowhere else.
func TestClientConfig_Podman(t *testing.T) {
	w := newWorld(t, logins)
	h := lab.NewHost(t, lab.Debian13)
	h.Write(t, "/etc/containers/policy.json", `{"default":[{"type":"insecureAcceptAnything"}]}`)
	w.install(t, h, "podman")
	root := h.Root()
	if r := root.Run(t, "podman", "pull", "registry.acme.example/good:1"); r.Status == 0 || !deniedText.MatchString(r.Output()) {
		t.Errorf("without a login: %s", r.Output())
	}
	root.Must(t, 0, "podman", "login", "--tls-verify=false", "-u", "alice", "-p", "alice", w.host)
	root.Must(t, 0, "podman", "pull", "registry.acme.example/good:1")
	root.Must(t, 0, "skopeo", "inspect", "--no-tags", "docker://registry.acme.example/private:1")
	for _, args := range [][]string{
		{"podman", "pull", "registry.acme.example/bad:1"},
		{"skopeo", "inspect", "--no-tags", "docker://registry.acme.example/bad:1"},
		{"buildah", "pull", "registry.acme.example/bad:1"},
	} {
		if r := root.Run(t, args...); r.Status == 0 || !strings.Contains(r.Output(), "no policy") {
			t.Errorf("%v: %d %s", args, r.Status, r.Output())
		}
	}
}

// With the files of client-config, containerd pulls by the registry's own name; it says which registry it means by itself.
func TestClientConfig_Containerd(t *testing.T) {
	w := newWorld(t, logins)
	c := lab.NewContainerd(t)
	c.Write(t, lab.ContainerdConfig, lab.ContainerdSettings(3, ""))
	w.install(t, c.Host, "containerd")
	c.Start(t)
	pull := func(image, user string) lab.Result {
		return c.Ctr(t, "images", "pull", "--hosts-dir", lab.CertsD, "--user", user+":"+user, image)
	}
	if r := pull("registry.acme.example/good:1", "alice"); r.Status != 0 {
		t.Errorf("good: %s\nproxy: %s", r.Output(), w.log)
	}
	for image, user := range map[string]string{"registry.acme.example/bad:1": "alice", "registry.other.example/good:1": "alice", "registry.acme.example/private:1": "bob"} {
		if r := pull(image, user); r.Status == 0 || !deniedText.MatchString(r.Output()) {
			t.Errorf("%s for %s: %d %s", image, user, r.Status, r.Output())
		}
	}
}

// PX-16: a proxy on loopback that asks for no login answers to its own names. Whoever gave it another one in /etc/hosts is told.
func TestPX16_AliasIsToldWhatToDo(t *testing.T) {
	w := newWorld(t, "names: [known.example]\n")
	h := lab.NewHost(t, lab.Debian13)
	h.Write(t, "/etc/containers/policy.json", `{"default":[{"type":"insecureAcceptAnything"}]}`)
	h.Write(t, "/etc/hosts", "127.0.0.1 localhost alias.example known.example\n")
	h.Install(t, lab.Tool(t, "crane-v0.22.1"), "/usr/local/bin/crane")
	_, port, _ := strings.Cut(w.host, ":")
	for _, args := range [][]string{
		{"podman", "pull", "--tls-verify=false"},
		{"skopeo", "inspect", "--tls-verify=false", "--no-tags"},
		{"crane", "manifest", "--insecure"},
	} {
		ask := func(host string) lab.Result {
			image := host + ":" + port + "/acme/good:1"
			if args[0] == "skopeo" {
				image = "docker://" + image
			}
			return h.Root().Run(t, append(args, image)...)
		}
		if r := ask("known.example"); r.Status != 0 {
			t.Errorf("%s: %s", args[0], r.Output())
		}
		if r := ask("alias.example"); r.Status == 0 || !strings.Contains(r.Output(), "names in proxy.yaml") {
			t.Errorf("%s is told %s", args[0], r.Output())
		}
	}
}
