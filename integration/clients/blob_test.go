package clients

import (
	"strings"
	"testing"

	"github.com/touchmark/touchmark/integration/internal/lab"
)

// Files are signed into bundles, of the new kind and of the old one, and verified by both cosigns and by our own verifier.
func TestFiles(t *testing.T) {
	start(t)
	cs := cosigns(t)
	for _, c := range cs {
		w := newKeyedWorld(t, c, true)
		file := w.file(t, "file", []byte("content\n"))
		tampered := w.file(t, "tampered", []byte("Content\n"))
		variables := w.variables(t)
		for _, m := range modes {
			t.Run(c.name+" "+m.String(), func(t *testing.T) {
				bundle := w.call(w.path(m.short()+".json"), "file.bundle.json")
				w.does(t, c.client, "signs a file, "+m.String(), nil, args([]string{"sign-blob", "--yes"}, w.sign(t, c, m, alice), []string{"--bundle", bundle, file})...)
				if !m.legacy {
					ours := args([]string{"verify-bundle", "--trusted-root", w.Root, "--bundle", bundle})
					if r := (lab.Command{Program: conformance}).Run(t, args(ours, w.signer(m, alice), []string{file})...); r.Status != 0 {
						t.Errorf("our verifier refuses it: %s", r.Output())
					}
					if r := (lab.Command{Program: conformance}).Run(t, args(ours, w.signer(m, alice), []string{tampered})...); r.Status != 1 || !strings.Contains(r.Stderr, "artifact digest") {
						t.Errorf("our verifier accepts another file: %s", r.Output())
					}
					if r := (lab.Command{Program: conformance}).Run(t, args(ours, w.stranger(m), []string{file})...); r.Status != 1 {
						t.Errorf("our verifier accepts another signer: %s", r.Output())
					}
				}
				for _, c := range cs {
					env, changed := []string(nil), "could not verify message: invalid signature"
					common := args([]string{"verify-blob"}, c.form(m), []string{"--trusted-root", w.Root, "--bundle", bundle})
					if m.legacy { // no --trusted-root for these
						env, changed = variables, "matching bundle to payload"
						common = args([]string{"verify-blob"}, c.form(m), []string{"--rekor-url", w.Stack.URL, "--bundle", bundle})
					}
					w.does(t, c.client, "verifies a file, "+m.String(), env, args(common, w.signer(m, alice), []string{file})...)
					w.refuses(t, c.client, "verifies a file, "+m.String(), "changed", changed, env, args(common, w.signer(m, alice), []string{tampered})...)
					w.refuses(t, c.client, "verifies a file, "+m.String(), "signed by somebody else", m.reason(alice, bob), env, args(common, w.stranger(m), []string{file})...)
				}
			})
		}
	}
}
