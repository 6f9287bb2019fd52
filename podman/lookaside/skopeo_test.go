package lookaside_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/countersign"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/identity"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/verify"
	"github.com/touchmark/touchmark/podman"
	"github.com/touchmark/touchmark/podman/access"
	"github.com/touchmark/touchmark/podman/lookaside"
)

// release wants alice.
const release = `apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata: {name: release}
spec:
  images: [{glob: "registry.example/acme/**"}]
  authorities:
  - name: team
    keyless: {trustRootRef: test, identities: [{issuer: ` + coretest.Issuer + `, subject: alice@acme.example}]}
`

// world is a host with the real skopeo on it, and a private registry that it calls registry.example, and other.example too.
type world struct {
	*coretest.Sigstore
	skopeo string
	dir    string // files of the host; everybody may read them
	inner  string // the registry, for those who push: without credentials
	outer  string // the same registry, for everybody else: with
	rules  *policy.Set
	gate   *gate.Gate
	access *access.Access
}

const user, password = "alice", "open-sesame"

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{Sigstore: coretest.New(t), skopeo: coretest.RequireTool(t, "skopeo"), inner: coretest.NewRegistry(t, true)}
	dir, err := os.MkdirTemp("", "touchmark-host-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	w.dir = dir
	front := httptest.NewServer(private(w.inner))
	t.Cleanup(front.Close)
	w.outer = strings.TrimPrefix(front.URL, "http://")

	set, err := policy.Parse(t.Context(), []byte(release), policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if w.gate, err = gate.New(gate.Config{Policy: set, Roots: []*trust.Root{w.TrustedRoot(t)}}); err != nil {
		t.Fatal(err)
	}
	w.rules = set
	var conf strings.Builder
	for _, logical := range []string{"registry.example", "other.example"} {
		fmt.Fprintf(&conf, "[[registry]]\nprefix = %q\nlocation = %q\ninsecure = true\n", logical, w.outer)
	}
	w.write(t, "etc/containers/registries.conf", conf.String())
	w.write(t, "root/.config/containers/auth.json", fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, w.outer, base64.StdEncoding.EncodeToString([]byte(user+":"+password))))
	if err := os.Chmod(w.path("root/.config/containers/auth.json"), 0o600); err != nil {
		t.Fatal(err)
	}
	if w.access, err = access.Load(podman.Host{Root: dir}); err != nil {
		t.Fatal(err)
	}
	_, c := hostKey()
	ours := []map[string]any{{"type": "signedBy", "keyType": "GPGKeys", "keyPath": c.Public, "signedIdentity": map[string]string{"type": "matchRepository"}}}
	rules, err := json.Marshal(map[string]any{"default": []any{map[string]string{"type": "reject"}}, "transports": map[string]any{"docker": map[string]any{"registry.example": ours, "other.example": ours}}})
	if err != nil {
		t.Fatal(err)
	}
	w.write(t, "etc/containers/policy.json", string(rules))
	return w
}

// private lets those through who know the password, and tells nobody else what there is.
func private(registry string) http.Handler {
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: registry})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, ok := r.BasicAuth(); !ok || u != user || p != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="private"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
			return
		}
		proxy.ServeHTTP(w, r)
	})
}

func (w *world) path(file string) string { return filepath.Join(w.dir, file) }

func (w *world) write(t testing.TB, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(w.path(file)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(w.path(file), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// push pushes an image, signed by somebody unless by is empty.
func (w *world) push(t testing.TB, tag string, seed int64, by string) name.Digest {
	t.Helper()
	image := coretest.Image(t, seed)
	d := coretest.Push(t, w.inner+"/acme/app:"+tag, image)
	if by == "" {
		return d
	}
	raw, err := bundle.Marshal(w.SignDigest(t, coretest.Digest(t, image), coretest.SignOptions{Identity: identity.Identity{SAN: identity.SAN{Kind: identity.Email, Value: by}, Issuer: coretest.Issuer}}))
	if err != nil {
		t.Fatal(err)
	}
	subject, err := remote.Head(d)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := attach.WriteBundle(t.Context(), attach.Source{Repository: d.Context()}, *subject, raw, verify.PredicateImageSignature, coretest.Start); err != nil {
		t.Fatal(err)
	}
	return d
}

// config is the configuration of this host's lookaside.
func (w *world) config() lookaside.Config {
	key, _ := hostKey()
	return lookaside.Config{
		Admitter: w.gate, Key: key, Logical: w.access.Table().Logical, Source: w.access.Source,
		Required: func(logical string) bool { return !strings.HasPrefix(logical, w.outer) }, // which policy.json rejects
	}
}

// use makes a server the lookaside of the registry.
func (w *world) use(t *testing.T, server string) {
	t.Helper()
	w.write(t, "etc/containers/registries.d/touchmark.yaml", fmt.Sprintf("docker:\n  %s:\n    lookaside: %s/lookaside/%[1]s\n    lookaside-staging: file://%s\n", w.outer, server, w.path("staging")))
}

// copy has skopeo copy an image into a directory, as podman would pull it, under an account of the host.
func (w *world) copy(t *testing.T, image string, uid int, authfile string) (output string, err error) {
	t.Helper()
	home, err := os.MkdirTemp("", "touchmark-home-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(home)
	if uid != os.Geteuid() {
		if err := os.Chown(home, uid, uid); err != nil {
			t.Fatal(err)
		}
	}
	args := []string{"--policy", w.path("etc/containers/policy.json"), "--registries.d", w.path("etc/containers/registries.d"), "--registries-conf", w.path("etc/containers/registries.conf"),
		"copy", "--src-tls-verify=false", "--authfile", authfile, "docker://" + image, "dir:" + filepath.Join(home, "image")}
	cmd := exec.CommandContext(t.Context(), w.skopeo, args...)
	cmd.Env, cmd.Dir = []string{"HOME=" + home, "PATH=/usr/bin:/bin", "TMPDIR=" + home}, home
	if uid != os.Geteuid() {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// pull copies as the agent's own account.
func (w *world) pull(t *testing.T, image string) (output string, err error) {
	t.Helper()
	return w.copy(t, image, os.Geteuid(), w.path("root/.config/containers/auth.json"))
}

// require holds what skopeo did against what it should; an empty want is success.
func require(t *testing.T, what, output string, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("%s: %v: %s", what, err, output)
	case want != "" && err == nil:
		t.Errorf("%s: admitted: %s", what, output)
	case !strings.Contains(output, want):
		t.Errorf("%s: %s, want %q", what, output, want)
	}
}

func TestSkopeoObeys(t *testing.T) {
	w := newWorld(t)
	w.push(t, "good", 1, "alice@acme.example")
	w.push(t, "bad", 2, "mallory@evil.example")
	unsigned := w.push(t, "unsigned", 3, "")
	w.use(t, serve(t, w.config()))
	for image, want := range map[string]string{
		"registry.example/acme/app:good":     "",
		"registry.example/acme/app:bad":      "mallory@evil.example",
		"registry.example/acme/app:unsigned": "registry.example/acme/app is not signed",
		// POD-11: the same place under another name, of which no policy is.
		"other.example/acme/app:good": "is not accepted",
	} {
		output, err := w.pull(t, image)
		require(t, image, output, err, want)
		if strings.HasPrefix(image, "registry.example") && want != "" && !strings.Contains(output, "for more: touchmark why") {
			t.Errorf("%s: no command that tells more: %s", image, output)
		}
	}
	output, _ := w.pull(t, "registry.example/acme/app:unsigned")
	t.Logf("skopeo says: %s", output)
	if !strings.Contains(output, "touchmark why registry.example/acme/app@"+unsigned.DigestStr()) {
		t.Errorf("%s", output)
	}
}

// What a client gets from a lookaside that is not ours any more.
func TestPOD10_Replay(t *testing.T) {
	w := newWorld(t)
	good := w.push(t, "good", 1, "alice@acme.example")
	other := w.push(t, "other", 4, "alice@acme.example")
	record := func(d name.Digest, back time.Duration) string {
		c := w.config()
		_, at := hostKey()
		key, err := countersign.Open(t.Context(), at) // without what was signed before
		if err != nil {
			t.Fatal(err)
		}
		c.Key, c.Now = key, func() time.Time { return time.Now().Add(-back) }
		res, err := http.Get(fmt.Sprintf("%s/lookaside/%s/acme/app@%s/signature-1", serve(t, c), w.outer, strings.Replace(d.DigestStr(), ":", "=", 1)))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var blob bytes.Buffer
		if _, err := blob.ReadFrom(res.Body); err != nil || blob.Len() == 0 || blob.Bytes()[0] == 0 {
			t.Fatalf("%q, %v", &blob, err)
		}
		return blob.String()
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:0") // the port stays the same when another process takes it
	if err != nil {
		t.Fatal(err)
	}
	var replayed atomic.Value
	thief := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/signature-1") {
			http.NotFound(rw, r)
			return
		}
		_, _ = rw.Write([]byte(replayed.Load().(string)))
	})}
	go func() { _ = thief.Serve(listener) }()
	defer thief.Close()
	w.use(t, "http://"+listener.Addr().String())
	for _, tt := range []struct {
		name     string
		replayed string
		image    string
		want     string
	}{
		{"nine minutes old", record(good, 9*time.Minute), "registry.example/acme/app:good", ""},
		{"eleven minutes old", record(good, 11*time.Minute), "registry.example/acme/app:good", "Source image rejected"},
		{"POD-08: of another digest", record(other, 0), "registry.example/acme/app:good", "Source image rejected"},
		{"POD-08: of another name", record(good, 0), "other.example/acme/app:good", "Source image rejected"},
		{"nothing", "", "registry.example/acme/app:good", "signature"},
	} {
		replayed.Store(tt.replayed)
		output, err := w.pull(t, tt.image)
		require(t, tt.name, output, err, tt.want)
		if tt.want != "" {
			t.Logf("%s: %s", tt.name, output)
		}
	}
}

func TestRotationWithSkopeo(t *testing.T) {
	w := newWorld(t)
	w.push(t, "good", 1, "alice@acme.example")
	_, shared := hostKey()
	c := countersign.Config{Key: w.path("key"), Public: shared.Public + ".rotated", Host: "node-1.example"}
	t.Cleanup(func() { os.Remove(c.Public) })
	for file, from := range map[string]string{c.Key: shared.Key, c.Public: shared.Public} {
		data, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rules, err := os.ReadFile(w.path("etc/containers/policy.json"))
	if err != nil {
		t.Fatal(err)
	}
	w.write(t, "etc/containers/policy.json", strings.ReplaceAll(string(rules), shared.Public, c.Public))
	open := func() *countersign.Key {
		key, err := countersign.Open(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	pull := func(what string, key *countersign.Key, want string) {
		t.Helper()
		config := w.config()
		config.Key = key
		w.use(t, serve(t, config))
		output, err := w.pull(t, "registry.example/acme/app:good")
		require(t, what, output, err, want)
	}
	previous := open()
	pull("before", previous, "")
	if err := countersign.Rotate(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	pull("rotated, the agent still has the previous key", previous, "")
	pull("rotated, the agent has the new key", open(), "")
	if err := countersign.Retire(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	pull("retired, previous key", previous, "Source image rejected")
	pull("retired, new key", open(), "")
}

// Bob has an account on the host, and no credentials.
func TestPOD13_PrivateImagesOfOthers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can act as another user")
	}
	const bob = 65534
	w := newWorld(t)
	w.push(t, "good", 1, "alice@acme.example")
	bad := w.push(t, "bad", 2, "mallory@evil.example")
	agent := serve(t, w.config())
	w.use(t, agent)
	w.write(t, "none.json", `{"auths": {}}`)

	output, err := w.pull(t, "registry.example/acme/app:good")
	require(t, "root", output, err, "")
	output, err = w.copy(t, "registry.example/acme/app:good", bob, w.path("none.json"))
	require(t, "bob", output, err, "unauthorized")

	// He asks the agent itself, about images that root pulled a moment ago and about one that is not there.
	curl := coretest.RequireTool(t, "curl")
	ask := func(uid int, digest string) string {
		cmd := exec.CommandContext(t.Context(), curl, "--silent", "--show-error", "--output", "-",
			fmt.Sprintf("%s/lookaside/%s/acme/app@%s/signature-1", agent, w.outer, strings.Replace(digest, ":", "=", 1)))
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("curl: %v: %q", err, out)
		}
		return strings.ReplaceAll(string(out), digest, "DIGEST")
	}
	if got := ask(0, bad.DigestStr()); !strings.Contains(got, "mallory@evil.example") {
		t.Errorf("root is told %q", got)
	}
	missing := v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("0", 64)}
	want := ask(bob, missing.String())
	if !strings.HasPrefix(want, "\x00") || strings.Contains(want, "alice") || strings.Contains(want, "mallory") {
		t.Errorf("about an image that is not there, bob is told %q", want)
	}
	if got := ask(bob, bad.DigestStr()); got != want {
		t.Errorf("bob is told %q about an image that is there, and %q about one that is not", got, want)
	}
	t.Logf("bob is told %q", want)
}
