package clients

import (
	"strings"
	"testing"

	"github.com/touchmark/touchmark/integration/internal/lab"
)

// The Sigstore is killed. What was signed before still verifies, with nothing running and after a restart; signing goes on; and the log goes on where it was.
func TestClientsAfterACrash(t *testing.T) {
	start(t)
	cs, rekor := cosigns(t), rekorCLI(t)
	w := newWorld(t, false)
	policy := w.Policy(t)
	images := map[string]mode{}
	signAll := func(seed int64) {
		t.Helper()
		for _, c := range cs {
			for _, m := range []mode{{}, {legacy: true}} {
				image := w.call(w.Image(t, "acme/"+strings.NewReplacer(" ", "-").Replace(c.name)+"-"+m.short(), seed), "$IMAGE")
				w.does(t, c.client, "signs an image, "+m.String(), nil, args([]string{"sign", "--yes"}, w.sign(t, c, m, alice), []string{image})...)
				images[image] = m
				seed++
			}
		}
	}
	verifyAll := func() {
		t.Helper()
		for image, m := range images {
			lab.Touchmark(t, 0, "verify", "--policy", policy, "--trusted-root", w.Root, image)
			for _, c := range cs {
				w.does(t, c.client, "verifies an image, "+m.String(), nil, args([]string{"verify"}, c.form(m), []string{"--trusted-root", w.Root}, w.signer(m, alice), []string{image})...)
			}
		}
	}
	signAll(100)
	w.logInfo(t, rekor, false)
	late := args([]string{"sign", "--yes"}, w.sign(t, cs[0], mode{}, alice), []string{w.call(w.Image(t, "acme/late", 200), "$IMAGE")})

	w.Stack.Kill()
	verifyAll()
	w.refuses(t, cs[0].client, "signs an image, "+mode{}.String(), "the Sigstore is down", "connection refused", nil, late...)

	w.Up(t, strings.TrimPrefix(w.Stack.URL, "http://"))
	w.logInfo(t, rekor, true)
	signAll(300)
	w.logInfo(t, rekor, true)
	verifyAll()
}
