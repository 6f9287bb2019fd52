package registryproxy

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/crane"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/trust"
)

// realLab is a lab with the real gate: images are admitted that alice has signed in the Sigstore of the test.
type realLab struct {
	*lab
	sigstore *coretest.Sigstore
}

const realPolicy = `apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata: {name: release}
spec:
  images: [{glob: "registry.acme.example/app/**"}]
  authorities:
  - name: release-team
    keyless:
      identities: [{issuer: "` + coretest.Issuer + `", subject: alice@acme.example}]
`

func newRealLab(t testing.TB, referrers bool, opts ...labOption) *realLab {
	t.Helper()
	sigstore, clock := coretest.New(t), coretest.NewClock(time.Now())
	opts = append([]labOption{withReferrers(referrers), withConfig(func(c *Config) { c.Admitter, c.Now = realGate(t, sigstore, clock), clock.Now })}, opts...)
	l := newLab(t, opts...)
	l.clock = clock
	return &realLab{l, sigstore}
}

// realGate is a gate that has decided nothing yet.
func realGate(t testing.TB, sigstore *coretest.Sigstore, clock *coretest.Clock) *gate.Gate {
	t.Helper()
	set, err := policy.Parse(t.Context(), []byte(realPolicy), policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	g, err := gate.New(gate.Config{Policy: set, Roots: []*trust.Root{sigstore.TrustedRoot(t)}, Now: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// sign writes a bundle and a legacy signature beside an image.
func (l *realLab) sign(repository string, x interface{ RawManifest() ([]byte, error) }, mediaType, by string) {
	l.t.Helper()
	raw := rawManifest(l.t, x)
	src := attach.Source{Repository: l.ref(repository).Context()}
	digest := sum(raw)
	subject := v1.Descriptor{Digest: digest, Size: int64(len(raw)), MediaType: "application/vnd.oci.image.manifest.v1+json"}
	if mediaType != "" {
		subject.MediaType = types.MediaType(mediaType)
	}
	evidence := l.sigstore.SignDigest(l.t, coretest.Digest(l.t, x), coretest.SignOptions{Identity: coretest.Email(by)})
	body, err := bundle.Marshal(evidence)
	if err != nil {
		l.t.Fatal(err)
	}
	if _, err := attach.WriteBundle(l.t.Context(), src, subject, body, "https://sigstore.dev/cosign/sign/v1", time.Now()); err != nil {
		l.t.Fatal(err)
	}
}

func (l *realLab) pushReal(rest string, seed int64) v1.Image {
	l.t.Helper()
	img := coretest.Image(l.t, seed)
	l.push(rest, img)
	return img
}

func (l *realLab) pushRealIndex(rest string, seed int64) v1.ImageIndex {
	l.t.Helper()
	index := coretest.Index(l.t, seed)
	coretest.Push(l.t, l.ref(rest).String(), index)
	return index
}

// forms are the two ways in which registries list what refers to an image.
var forms = map[string]bool{"referrers API": true, "fallback tag": false}

func TestRealGate_OnlySignedImagesArePulled(t *testing.T) {
	for form, referrers := range forms {
		t.Run(form, func(t *testing.T) {
			l := newRealLab(t, referrers)
			good := l.pushReal("app/web:good", 1)
			l.pushReal("app/web:unsigned", 2)
			mallory := l.pushReal("app/web:mallory", 3)
			other := l.pushReal("other/web:good", 4)
			l.sign("app/web", good, "", "alice@acme.example")
			l.sign("app/web", mallory, "", "mallory@acme.example")
			l.sign("other/web", other, "", "alice@acme.example")

			l.want(l.get("/v2/app/web/manifests/good"), http.StatusOK, "")
			l.want(l.get("/v2/app/web/blobs/"+layerDigests(t, good)[0].String()), http.StatusOK, "")
			for tag, reason := range map[string]string{
				"app/web/manifests/unsigned": "not signed",
				"app/web/manifests/mallory":  "mallory@acme.example",
				"other/web/manifests/good":   "no policy",
			} {
				r := l.want(l.get("/v2/"+tag), http.StatusForbidden, codeDenied)
				if !strings.Contains(r.message(), reason) {
					t.Errorf("%s: %s", tag, r.message())
				}
				if host := strings.TrimPrefix(l.upstream.URL, "http://"); strings.Contains(string(r.body), host) {
					t.Errorf("%s: the upstream's address is in %s", tag, r.body)
				}
			}
			// PX-23: signed at the registry after it was refused here, and pullable without a restart within 30 s.
			l.sign("app/web", mallory, "", "alice@acme.example")
			l.clock.Advance(10 * time.Second)
			l.want(l.get("/v2/app/web/manifests/mallory"), http.StatusOK, "")
		})
	}
}

func TestRealGate_ChildrenOfASignedIndex(t *testing.T) {
	for form, referrers := range forms {
		t.Run(form, func(t *testing.T) {
			l := newRealLab(t, referrers)
			index, bad := l.pushRealIndex("app/web:good", 1), l.pushRealIndex("app/web:bad", 10)
			l.sign("app/web", index, "application/vnd.oci.image.index.v1+json", "alice@acme.example")
			child := children(t, index)[0].String()
			for range 2 {
				l.want(l.get("/v2/app/web/manifests/"+child), http.StatusOK, "") // found by searching the tags
				l.want(l.get("/v2/app/web/manifests/good"), http.StatusOK, "")
				l.want(l.get("/v2/app/web/manifests/"+children(t, bad)[0].String()), http.StatusForbidden, codeDenied)
				l.want(l.get("/v2/app/web/manifests/bad"), http.StatusForbidden, codeDenied)
				img, err := index.Image(children(t, index)[1])
				if err != nil {
					t.Fatal(err)
				}
				l.want(l.get("/v2/app/web/blobs/"+layerDigests(t, img)[0].String()), http.StatusOK, "")
			}
		})
	}
}

func TestRealGate_PX25_EvidenceOutage(t *testing.T) {
	for form, referrers := range forms {
		t.Run(form, func(t *testing.T) {
			for _, status := range []int{500, 503, 401, 403} {
				l := newRealLab(t, referrers)
				l.sign("app/web", l.pushReal("app/web:v1", 1), "", "alice@acme.example")
				l.setLie(func(w http.ResponseWriter, r *http.Request) bool {
					if strings.Contains(r.URL.Path, "/referrers/") || strings.Contains(r.URL.Path, "/manifests/sha256-") {
						w.WriteHeader(status)
						return true
					}
					return false
				})
				l.want(l.get("/v2/app/web/manifests/v1"), http.StatusServiceUnavailable, codeUnavailable)
				l.setLie(nil)
				l.want(l.get("/v2/app/web/manifests/v1"), http.StatusOK, "")
			}
		})
	}
}

func TestCrane_PullsWhatIsAdmittedAndShowsWhyNot(t *testing.T) {
	for form, referrers := range forms {
		t.Run(form, func(t *testing.T) {
			l := newRealLab(t, referrers)
			host := strings.TrimPrefix(l.url, "http://")
			good := l.pushReal("app/web:good", 1)
			index := l.pushRealIndex("app/web:multi", 5)
			l.pushReal("app/web:bad", 2)
			l.sign("app/web", good, "", "alice@acme.example")
			l.sign("app/web", index, "application/vnd.oci.image.index.v1+json", "alice@acme.example")

			for _, tag := range []string{"good", "multi"} {
				img, err := crane.Pull(host+"/app/web:"+tag, crane.WithPlatform(&v1.Platform{OS: "linux", Architecture: "amd64"}))
				if err != nil {
					t.Fatal(err)
				}
				if err := validate.Image(img); err != nil { // fetches and checks every byte
					t.Errorf("%s: %v", tag, err)
				}
			}
			if _, err := crane.Manifest(host + "/app/web:good"); err != nil {
				t.Error(err)
			}
			if digest, err := crane.Digest(host + "/app/web:good"); err != nil || digest != digestOf(t, good).String() {
				t.Error(digest, err)
			}
			if tags, err := crane.ListTags(host + "/app/web"); err != nil || len(tags) < 3 {
				t.Error(tags, err)
			}
			_, err := crane.Manifest(host + "/app/web:bad")
			if err == nil || !strings.Contains(err.Error(), "DENIED") || !strings.Contains(err.Error(), "is not signed; policy release wants") {
				t.Errorf("crane says %v", err)
			}
			if _, err := crane.Pull(host + "/app/web:bad"); err == nil {
				t.Error("crane pulled an unsigned image")
			}
			if err := crane.Push(good, host+"/app/web:pushed"); err == nil {
				t.Error("crane pushed through the proxy")
			}
		})
	}
}

func TestSkopeo_CopiesWhatIsAdmittedAndShowsWhyNot(t *testing.T) {
	skopeo := coretest.RequireTool(t, "skopeo")
	dir := t.TempDir()
	policyFile := filepath.Join(dir, "policy.json") // skopeo's own policy: whatever the proxy serves
	if err := os.WriteFile(policyFile, []byte(`{"default":[{"type":"insecureAcceptAnything"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for form, referrers := range forms {
		t.Run(form, func(t *testing.T) {
			l := newRealLab(t, referrers)
			host := strings.TrimPrefix(l.url, "http://")
			good := l.pushReal("app/web:good", 1)
			index := l.pushRealIndex("app/web:multi", 5)
			l.pushReal("app/web:bad", 2)
			l.sign("app/web", good, "", "alice@acme.example")
			l.sign("app/web", index, "application/vnd.oci.image.index.v1+json", "alice@acme.example")
			run := func(args ...string) (string, error) {
				out, err := exec.CommandContext(t.Context(), skopeo, append([]string{"--policy", policyFile, "--tmpdir", t.TempDir()}, args...)...).CombinedOutput()
				return string(out), err
			}
			for _, args := range [][]string{
				{"copy", "--src-tls-verify=false", "docker://" + host + "/app/web:good", "dir:" + t.TempDir()},
				{"copy", "--src-tls-verify=false", "--all", "docker://" + host + "/app/web:multi", "dir:" + t.TempDir()},
				{"copy", "--src-tls-verify=false", "docker://" + host + "/app/web@" + digestOf(t, good).String(), "dir:" + t.TempDir()},
				{"inspect", "--tls-verify=false", "docker://" + host + "/app/web:multi"},
			} {
				if out, err := run(args...); err != nil {
					t.Errorf("skopeo %v: %v\n%s", args, err, out)
				}
			}
			out, err := run("copy", "--src-tls-verify=false", "docker://"+host+"/app/web:bad", "dir:"+t.TempDir())
			if err == nil || !strings.Contains(out, "denied") || !strings.Contains(out, "is not signed; policy release wants") {
				t.Errorf("skopeo says %v %s", err, out)
			}
		})
	}
}
