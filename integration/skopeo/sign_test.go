package skopeo

import (
	"fmt"
	"html"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/integration/internal/lab"
	"github.com/touchmark/touchmark/services/issuer/issuertest"
)

const (
	alice    = "alice@acme.example"
	password = "correct horse battery"
)

// world is a Sigstore where alice has an account, and a host whose clients write signatures to the registry.
type world struct {
	*lab.World
	host *lab.Host
}

func newWorld(t *testing.T) world {
	t.Helper()
	w := world{lab.New(t, true), lab.NewHost(t, lab.Debian13)}
	w.host.Write(t, "/etc/containers/registries.conf", "[[registry]]\nlocation = \""+w.Registry+"\"\ninsecure = true\n")
	w.host.Write(t, "/etc/containers/registries.d/acme.yaml", "docker:\n  "+w.Registry+":\n    use-sigstore-attachments: true\n")
	w.host.Write(t, "/etc/hosts", "127.0.0.1 localhost\n") // where skopeo waits for the browser
	w.host.Write(t, "/etc/containers/policy.json", `{"default":[{"type":"insecureAcceptAnything"}]}`)
	add := lab.Command{Program: lab.Program(), Stdin: []byte(password + "\n")}
	if r := add.Run(t, "user", "add", alice, "--password-stdin", "--data", filepath.Dir(filepath.Dir(w.Root))); r.Status != 0 {
		t.Fatal(r.Output())
	}
	return w
}

// config writes the file of client-config on the host and returns its path there.
func (w world) config(t *testing.T, name string, args ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	lab.Touchmark(t, 0, append([]string{"client-config", "skopeo", "--server", w.Stack.URL, "--file", file}, args...)...)
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the file: %v, %v", info, err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	w.host.Write(t, "/root/"+name, string(text))
	return "/root/" + name
}

// signedBy checks that one person, and no other, is found to have signed.
func (w world) signedBy(t *testing.T, image, person string) {
	t.Helper()
	for who, status := range map[string]int{person: 0, "bob@acme.example": 1} {
		r := lab.Command{Program: lab.Program()}.Run(t, "verify", "--trusted-root", w.Root, "--certificate-identity", who, "--certificate-oidc-issuer", w.Stack.URL, image)
		if r.Status != status {
			t.Errorf("%s verified as %s: status %d, want %d\n%s", image, who, r.Status, status, r.Output())
		}
	}
}

func (w world) push(t *testing.T, repository string) string {
	t.Helper()
	image := w.Registry + "/" + repository + ":1"
	coretest.Push(t, image, lab.Busybox(t, "hello\n"))
	return image
}

// TestSign: skopeo and podman sign with nobody there, with a token of a person and of a machine.
func TestSign(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	secret := filepath.Join(t.TempDir(), "ci.secret")
	if err := os.WriteFile(secret, []byte(lab.Touchmark(t, 0, "client", "add", "ci", "--data", filepath.Dir(filepath.Dir(w.Root))).Stdout), 0o600); err != nil {
		t.Fatal(err)
	}
	from := w.push(t, "unsigned")
	root := w.host.Root()
	root.Must(t, 0, "podman", "pull", from)
	for _, who := range []struct {
		name string
		args []string
	}{
		{alice, []string{"--as", alice}},
		{"ci@clients.127.0.0.1", []string{"--fulcio-auth-flow", "client_credentials", "--oidc-client-id", "ci", "--oidc-client-secret-file", secret}},
	} {
		config := w.config(t, "token.yaml", who.args...)
		for client, command := range map[string][]string{
			"skopeo": {"skopeo", "copy", "--sign-by-sigstore", config, "docker://" + from, "docker://"},
			"podman": {"podman", "push", "--sign-by-sigstore", config, from, ""},
		} {
			image := fmt.Sprintf("%s/%s/%s:1", w.Registry, client, strings.Split(who.name, "@")[0])
			command[len(command)-1] += image
			r := root.Run(t, command...)
			if r.Status != 0 {
				t.Errorf("%s as %s: status %d\n%s", client, who.name, r.Status, r.Output())
				continue
			}
			w.signedBy(t, image, who.name)
		}
	}
}

// TestSignEveryPlatform: a copy of a multi-platform image with --all signs the index and each platform.
func TestSignEveryPlatform(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	from, to := w.Image(t, "unsigned", 7), w.Registry+"/signed:1"
	w.host.Root().Must(t, 0, "skopeo", "copy", "--all", "--sign-by-sigstore", w.config(t, "token.yaml", "--as", alice), "docker://"+from, "docker://"+to)
	for _, image := range append(lab.Platforms(t, to), to) {
		w.signedBy(t, image, alice)
	}
}

var (
	deviceURL    = regexp.MustCompile(`\s(http://127\.0\.0\.1:[0-9]+/device\?user_code=\S+)\s`)
	authorizeURL = regexp.MustCompile(`\s(http://127\.0\.0\.1:[0-9]+/issuer/authorize\?\S+)\s`)
	shownCode    = regexp.MustCompile(`<strong class="code long">([A-Z0-9]+)</strong>`)
)

// TestSignIn: people sign in as skopeo asks them to, in a browser elsewhere or by copying a code.
func TestSignIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	from := w.push(t, "unsigned")
	for _, c := range []struct {
		name   string
		args   []string
		person func(t *testing.T, d *lab.Dialogue)
	}{
		{"device", nil, func(t *testing.T, d *lab.Dialogue) {
			if p := issuertest.New(t, false).Open(d.Find(t, deviceURL)[1]).SignIn(alice, password); p.Status != 200 {
				t.Errorf("status %d\n%s", p.Status, p.Body)
			}
		}},
		{"normal", []string{"--fulcio-auth-flow", "normal"}, func(t *testing.T, d *lab.Dialogue) {
			p := issuertest.New(t, false).Open(d.Find(t, authorizeURL)[1]).SignIn(alice, password)
			code := shownCode.FindStringSubmatch(p.Body)
			if code == nil {
				t.Fatalf("no code, status %d\n%s", p.Status, p.Body)
			}
			if _, err := d.Stdin.Write([]byte(html.UnescapeString(code[1]) + "\n")); err != nil {
				t.Error(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			image := w.Registry + "/" + c.name + ":1"
			d := w.host.Root().Start(t, "skopeo", "copy", "--sign-by-sigstore", w.config(t, c.name+".yaml", c.args...), "docker://"+from, "docker://"+image)
			c.person(t, d)
			if r := d.Wait(); r.Status != 0 {
				t.Fatalf("status %d\n%s", r.Status, r.Output())
			}
			w.signedBy(t, image, alice)
		})
	}
}

// TestNotSigned: where nobody may sign, nothing is signed.
func TestNotSigned(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	from := w.push(t, "unsigned")
	config := w.config(t, "token.yaml", "--as", alice)
	text, err := os.ReadFile(w.host.Path(config))
	if err != nil {
		t.Fatal(err)
	}
	token := regexp.MustCompile(`oidcIDToken: (\S+)`).FindSubmatch(text)
	w.host.Write(t, "/root/forged.yaml", strings.Replace(string(text), string(token[1]), string(token[1][:len(token[1])-8])+"AAAAAAAA", 1))
	to := w.Registry + "/forged:1"
	if r := w.host.Root().Run(t, "skopeo", "copy", "--sign-by-sigstore", "/root/forged.yaml", "docker://"+from, "docker://"+to); r.Status == 0 || !strings.Contains(r.Stderr, "Fulcio") {
		t.Errorf("a forged token: status %d\n%s", r.Status, r.Output())
	}
	// Where registries.d does not say that signatures are written, a push says so.
	w.host.Write(t, "/etc/containers/registries.d/acme.yaml", "docker:\n  "+w.Registry+":\n    use-sigstore-attachments: false\n")
	if r := w.host.Root().Run(t, "skopeo", "copy", "--sign-by-sigstore", config, "docker://"+from, "docker://"+to); r.Status == 0 || !strings.Contains(r.Stderr, "disabled by configuration") {
		t.Errorf("without use-sigstore-attachments: status %d\n%s", r.Status, r.Output())
	}
	for _, c := range []struct {
		status int
		args   []string
		want   string
	}{
		{2, []string{"--fulcio-auth-flow", "password"}, "is not normal, device or client_credentials"},
		{2, []string{"--as", alice, "--identity-token", "x"}, "only one"},
		{2, []string{"--file", "/nowhere/x"}, "--file"},
		{3, []string{"--server", "http://127.0.0.1:1"}, "127.0.0.1:1"},
	} {
		r := lab.Touchmark(t, c.status, append([]string{"client-config", "skopeo", "--server", w.Stack.URL}, c.args...)...)
		if !strings.Contains(r.Stderr, c.want) {
			t.Errorf("%s: %q, want %q", c.args, r.Stderr, c.want)
		}
	}
}
