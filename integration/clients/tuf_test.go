package clients

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/integration/internal/lab"
)

// After "cosign initialize" both versions of cosign need no flag that says whom to trust. cosign 3 needs none that says where to sign either.
func TestInitialize(t *testing.T) {
	start(t)
	w := newWorld(t, true)
	mirror, root := w.Stack.URL+"/tuf", w.call(w.Trust("root.json"), "root.json")
	strangers := newWorld(t, true)
	for i, c := range cosigns(t) {
		c.Env = append(c.Env, "TUF_ROOT="+w.path("tuf-"+c.name))
		w.does(t, c.client, "follows the TUF repository", nil, "initialize", "--mirror", mirror, "--root", root)
		for j, m := range []mode{{}, {legacy: true}} {
			image := w.call(w.Image(t, "acme/"+m.short(), int64(10*i+j)), "$IMAGE")
			where, form := []string(nil), c.signBundle
			if m.legacy {
				form = c.signLegacy
			}
			if m.legacy || i > 0 { // what can use no signing config
				where = []string{"--fulcio-url", w.Stack.URL, "--rekor-url", w.Stack.URL}
			}
			w.does(t, c.client, "signs an image after initialize, "+m.String(), nil,
				args([]string{"sign", "--yes"}, form, where, []string{"--identity-token", w.token(t, alice), image})...)
			verify := args([]string{"verify"}, c.form(m))
			w.does(t, c.client, "verifies an image after initialize, "+m.String(), nil, args(verify, w.signer(m, alice), []string{image})...)
			w.refuses(t, c.client, "verifies an image after initialize, "+m.String(), "signed by somebody else", m.reason(alice, bob), nil,
				args(verify, w.signer(m, bob), []string{image})...)
			lab.Touchmark(t, 0, args([]string{"verify", "--trusted-root", w.Root}, w.signer(m, alice), []string{image})...)
		}
		// Another Sigstore's first root does not lead to this one's files.
		other := c.client
		other.Env = append(other.Env, "TUF_ROOT="+w.path("other-"+c.name))
		if r := w.run(t, other, nil, "initialize", "--mirror", mirror, "--root", strangers.Trust("root.json")); r.Status == 0 {
			t.Errorf("%s follows a repository that its root does not name: %s", c.name, r.Output())
		}
	}
}

// The JavaScript client and our own follow the repository to the same bytes, and go on after kill -9.
func TestFollowers(t *testing.T) {
	start(t)
	versions := npmVersions(t)
	w := newWorld(t, true)
	js := client{Command: lab.Node(t, coretest.RequireTool(t, "node")), name: "@sigstore/tuf " + versions["@sigstore/tuf"], shown: "node"}
	mirror, root := w.Stack.URL+"/tuf", w.call(w.Trust("root.json"), "root.json")
	want, err := os.ReadFile(w.Root)
	if err != nil {
		t.Fatal(err)
	}
	out := w.path("fetched.json")
	for range 2 {
		r := w.does(t, js, "follows the TUF repository", nil, "tuf.mjs", mirror, root, w.path("cache"))
		if r.Stdout != string(want) {
			t.Errorf("%s got something else: %s", js.name, r.Stdout)
		}
		lab.Touchmark(t, 0, "trust", "fetch", "--mirror", mirror, "--root", root, "--out", out, "--cache", w.path("touchmark-cache"))
		if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, want) {
			t.Errorf("touchmark got something else, %v: %s", err, got)
		}
		w.Stack.Kill()
		w.Up(t, strings.TrimPrefix(w.Stack.URL, "http://"))
	}
}
