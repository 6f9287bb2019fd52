package clients

import (
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/crane"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/integration/internal/lab"
)

// What cosign says of the image that it verified, for each form.
const (
	typeBundle = `"type":"https://sigstore.dev/cosign/sign/v1"`
	typeLegacy = `"type":"cosign container image signature"`
)

// newKeyedWorld is a world with a key pair made by cosign, and somebody else's public key.
func newKeyedWorld(t *testing.T, c cosign, withReferrers bool) *world {
	t.Helper()
	w := newWorld(t, withReferrers)
	w.keyPair(t, c)
	other, err := keys.MarshalPublic(coretest.NewKey(t).Public())
	if err != nil {
		t.Fatal(err)
	}
	w.file(t, "other.pub", other)
	return w
}

// verifyImage lets everybody verify an image that was signed in this mode, and refuse it in the name of somebody else.
func (w *world) verifyImage(t *testing.T, m mode, image string) {
	t.Helper()
	lab.Touchmark(t, 0, args([]string{"verify", "--trusted-root", w.Root}, w.signer(m, alice), []string{image})...)
	lab.Touchmark(t, 1, args([]string{"verify", "--trusted-root", w.Root}, w.stranger(m), []string{image})...)
	for _, c := range cosigns(t) {
		common := args([]string{"verify"}, c.form(m), []string{"--trusted-root", w.Root})
		r := w.does(t, c.client, "verifies an image, "+m.String(), nil, args(common, w.signer(m, alice), []string{image})...)
		if want := map[bool]string{false: typeBundle, true: typeLegacy}[m.legacy]; !strings.Contains(r.Stdout, want) {
			t.Errorf("%s verified something else, want %s: %s", c.name, want, r.Stdout)
		}
		w.refuses(t, c.client, "verifies an image, "+m.String(), "signed by somebody else", m.reason(alice, bob), nil, args(common, w.stranger(m), []string{image})...)
	}
}

func TestImages(t *testing.T) {
	start(t)
	for i, c := range cosigns(t) {
		w := newKeyedWorld(t, c, i == 0)
		for j, m := range modes {
			t.Run(c.name+" "+m.String(), func(t *testing.T) {
				image := w.call(w.Image(t, "acme/"+m.short(), int64(10*i+j)), "$IMAGE")
				w.does(t, c.client, "signs an image, "+m.String(), nil, args([]string{"sign", "--yes"}, w.sign(t, c, m, alice), []string{image})...)
				w.verifyImage(t, m, image)
			})
		}
	}
}

// What touchmark signs, both cosigns verify, in both forms. The forms lie side by side; a copy without the bundles shows that the legacy one is enough.
func TestImagesOfTouchmark(t *testing.T) {
	start(t)
	cs := cosigns(t)
	w := newKeyedWorld(t, cs[0], true)
	touchmark := lab.Command{Program: lab.Program(), Env: []string{"COSIGN_PASSWORD=" + password}}
	for i, key := range []bool{false, true} {
		who := []string{"--as", alice}
		if key {
			who = []string{"--key", w.path("cosign.key")}
		}
		image := w.call(w.Image(t, "acme/"+mode{key: key}.short(), int64(i)), "$IMAGE")
		if r := touchmark.Run(t, args([]string{"sign", "--server", w.Stack.URL, "--trusted-root", w.Root}, who, []string{image})...); r.Status != 0 {
			t.Fatal(r.Output())
		}
		w.verifyImage(t, mode{key: key}, image)
		w.verifyImage(t, mode{key: key, legacy: true}, w.call(withoutBundles(t, image), "$IMAGE"))
	}
}

// withoutBundles copies an image and its .sig signatures to another repository.
func withoutBundles(t *testing.T, image string) string {
	t.Helper()
	repository, _, _ := strings.Cut(image, ":1")
	copied := strings.Replace(image, repository, repository+"-copy", 1)
	digest, err := crane.Digest(image)
	if err != nil {
		t.Fatal(err)
	}
	tag := strings.Replace(digest, ":", "-", 1) + ".sig"
	for from, to := range map[string]string{image: copied, repository + ":" + tag: repository + "-copy:" + tag} {
		if err := crane.Copy(from, to); err != nil {
			t.Fatal(err)
		}
	}
	return copied
}

// An image that mallory signed, with cosign or with touchmark, is refused by all, who say who it was.
func TestMallory(t *testing.T) {
	start(t)
	cs := cosigns(t)
	w := newWorld(t, false)
	policy := w.Policy(t)
	for i, m := range []mode{{legacy: false}, {legacy: true}} {
		for j, c := range cs {
			image := w.call(w.Image(t, "acme/"+m.short(), int64(10*i+j)), "$IMAGE")
			w.does(t, c.client, "signs an image, "+m.String(), nil, args([]string{"sign", "--yes"}, w.sign(t, c, m, mallory), []string{image})...)
			if r := lab.Touchmark(t, 1, "verify", "--policy", policy, "--trusted-root", w.Root, image); !strings.Contains(r.Stderr, mallory) {
				t.Errorf("touchmark does not name %s: %s", mallory, r.Stderr)
			}
			for _, c := range cs {
				common := args([]string{"verify"}, c.form(m), []string{"--trusted-root", w.Root})
				w.refuses(t, c.client, "verifies an image, "+m.String(), "signed by mallory", m.reason(mallory, alice), nil, args(common, w.signer(m, alice), []string{image})...)
				if r := w.run(t, c.client, nil, args(common, w.signer(m, mallory), []string{image})...); r.Status != 0 {
					t.Errorf("%s does not verify who signed: %s", c.name, r.Output())
				}
			}
		}
	}
}
