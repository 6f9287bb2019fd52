package clients

import (
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/crane"

	"github.com/touchmark/touchmark/integration/internal/lab"
)

// rekorV2 makes the signers of a world use the log's v2 API.
func (w *world) rekorV2() {
	const file = "signing_config_rekor_v2.v0.2.json"
	w.Signing = w.call(w.Trust(file), file)
}

// readV2 are the flags with which a cosign reads signatures of this log. It tells no time, and cosign 2 takes that of a timestamp authority only if told to.
func (c cosign) readV2() []string {
	if c.verifyBundle == nil {
		return nil
	}
	return args(c.verifyBundle, []string{"--use-signed-timestamps"})
}

// reasonV2 is what it says of a signature by another key. cosign 3 looks for the entry of the key that is wanted, and cosign 2 at the entry that is there.
func (c cosign) reasonV2(m mode, by, want string) string {
	if m.key && c.verifyBundle == nil {
		return "verifying inclusion: calculated root"
	}
	return m.reason(by, want)
}

// verifyImageV2 lets everybody verify an image that was signed in this mode over Rekor v2, and refuse it in the name of somebody else.
func (w *world) verifyImageV2(t *testing.T, m mode, image string) {
	t.Helper()
	const what = "verifies an image signed over Rekor v2, "
	lab.Touchmark(t, 0, args([]string{"verify", "--trusted-root", w.Root}, w.signer(m, alice), []string{image})...)
	lab.Touchmark(t, 1, args([]string{"verify", "--trusted-root", w.Root}, w.stranger(m), []string{image})...)
	for _, c := range cosigns(t) {
		common := args([]string{"verify"}, c.readV2(), []string{"--trusted-root", w.Root})
		w.does(t, c.client, what+m.String(), nil, args(common, w.signer(m, alice), []string{image})...)
		w.refuses(t, c.client, what+m.String(), "signed by somebody else", c.reasonV2(m, alice, bob), nil, args(common, w.stranger(m), []string{image})...)
	}
}

// What both cosigns sign over Rekor v2, images and files, all verify. cosign 2.6 still sends whole envelopes, which the log takes for what cosign 3 sends.
func TestRekorV2(t *testing.T) {
	start(t)
	cs := cosigns(t)
	for i, c := range cs {
		w := newKeyedWorld(t, c, i == 0)
		w.rekorV2()
		file := w.file(t, "file", []byte("content\n"))
		tampered := w.file(t, "tampered", []byte("Content\n"))
		for j, m := range modes[:2] { // no log of Rekor v2 signs what legacy signatures need
			t.Run(c.name+" "+m.String(), func(t *testing.T) {
				image := w.call(w.Image(t, "acme/"+m.short(), int64(10*i+j)), "$IMAGE")
				w.does(t, c.client, "signs an image over Rekor v2, "+m.String(), nil, args([]string{"sign", "--yes"}, w.sign(t, c, m, alice), []string{image})...)
				w.verifyImageV2(t, m, image)

				bundle := w.call(w.path(m.short()+".json"), "file.bundle.json")
				w.does(t, c.client, "signs a file over Rekor v2, "+m.String(), nil, args([]string{"sign-blob", "--yes"}, w.sign(t, c, m, alice), []string{"--bundle", bundle, file})...)
				w.verifyFile(t, m, bundle, file, tampered)
			})
		}
	}
}

// verifyFile lets everybody verify a file that was signed in this mode, and refuse another one.
func (w *world) verifyFile(t *testing.T, m mode, bundle, file, tampered string) {
	t.Helper()
	ours := lab.Command{Program: conformance}
	common := args([]string{"verify-bundle", "--trusted-root", w.Root, "--bundle", bundle}, w.signer(m, alice))
	if r := ours.Run(t, args(common, []string{file})...); r.Status != 0 {
		t.Errorf("our verifier refuses it: %s", r.Output())
	}
	if r := ours.Run(t, args(common, []string{tampered})...); r.Status != 1 || !strings.Contains(r.Stderr, "artifact digest") {
		t.Errorf("our verifier accepts another file: %s", r.Output())
	}
	for _, c := range cosigns(t) {
		common := args([]string{"verify-blob"}, c.readV2(), []string{"--trusted-root", w.Root, "--bundle", bundle}, w.signer(m, alice))
		w.does(t, c.client, "verifies a file signed over Rekor v2, "+m.String(), nil, args(common, []string{file})...)
		w.refuses(t, c.client, "verifies a file signed over Rekor v2, "+m.String(), "changed", "could not verify message: invalid signature", nil, args(common, []string{tampered})...)
	}
}

// What touchmark signs over Rekor v2, all verify. It says that there is no .sig, and there is none.
func TestRekorV2ImagesOfTouchmark(t *testing.T) {
	start(t)
	w := newKeyedWorld(t, cosigns(t)[0], false)
	w.rekorV2()
	touchmark := lab.Command{Program: lab.Program(), Env: []string{"COSIGN_PASSWORD=" + password}}
	for i, key := range []bool{false, true} {
		who := []string{"--server", w.Stack.URL, "--as", alice}
		if key {
			who = []string{"--key", w.path("cosign.key")}
		}
		image := w.call(w.Image(t, "acme/"+mode{key: key}.short(), int64(i)), "$IMAGE")
		r := touchmark.Run(t, args([]string{"sign", "--signing-config", w.Signing, "--trusted-root", w.Root}, who, []string{image})...)
		if r.Status != 0 || !strings.Contains(r.Stdout, "no .sig signatures: ") {
			t.Fatal(r.Output())
		}
		tags, err := crane.ListTags(strings.TrimSuffix(image, ":1"))
		if err != nil {
			t.Fatal(err)
		}
		for _, tag := range tags {
			if strings.HasSuffix(tag, ".sig") {
				t.Errorf("there is %s", tag)
			}
		}
		w.verifyImageV2(t, mode{key: key}, image)
	}
}

// An image that mallory signed over Rekor v2 is refused by all, who say who it was; and, under a trust root without this log, whoever is wanted.
func TestRekorV2Mallory(t *testing.T) {
	start(t)
	cs := cosigns(t)
	w, other := newWorld(t, true), newWorld(t, true)
	w.rekorV2()
	policy := w.Policy(t)
	image := w.call(w.Image(t, "acme/app", 1), "$IMAGE")
	w.does(t, cs[0].client, "signs an image over Rekor v2, "+mode{}.String(), nil, args([]string{"sign", "--yes"}, w.sign(t, cs[0], mode{}, mallory), []string{image})...)
	if r := lab.Touchmark(t, 1, "verify", "--policy", policy, "--trusted-root", w.Root, image); !strings.Contains(r.Stderr, mallory) {
		t.Errorf("touchmark does not name %s: %s", mallory, r.Stderr)
	}
	lab.Touchmark(t, 1, args([]string{"verify", "--trusted-root", other.Root}, w.signer(mode{}, mallory), []string{image})...)
	for _, c := range cs {
		common := args([]string{"verify"}, c.readV2(), []string{"--trusted-root", w.Root})
		w.refuses(t, c.client, "verifies an image signed over Rekor v2, "+mode{}.String(), "signed by mallory", mode{}.reason(mallory, alice), nil, args(common, w.signer(mode{}, alice), []string{image})...)
		if r := w.run(t, c.client, nil, args(common, w.signer(mode{}, mallory), []string{image})...); r.Status != 0 {
			t.Errorf("%s does not verify who signed: %s", c.name, r.Output())
		}
	}
}
