package clients

import (
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/crane"

	"github.com/touchmark/touchmark/integration/internal/lab"
)

// expect runs a client and wants it to succeed, or to fail with this text.
func (w *world) expect(t *testing.T, c client, want string, env []string, args ...string) {
	t.Helper()
	r := w.run(t, c, env, args...)
	if (r.Status == 0) != (want == "") || !strings.Contains(r.Output(), want) {
		t.Errorf("%s: status %d, want %q\n%s\n%s", c.name, r.Status, want, w.line(c, args), r.Output())
	}
}

// ours is touchmark, with the services as it is told of them.
func (w *world) ours() client {
	return client{Command: lab.Command{Program: lab.Program(), Env: []string{"COSIGN_PASSWORD=" + password}}, name: "touchmark", shown: "touchmark"}
}

// as says who signs with touchmark.
func (w *world) as(m mode) []string {
	if m.key {
		return []string{"--signing-config", w.Signing, "--trusted-root", w.Root, "--key", w.path("cosign.key")}
	}
	return []string{"--server", w.Stack.URL, "--signing-config", w.Signing, "--trusted-root", w.Root, "--as", alice}
}

// What touchmark attests, both cosigns verify, in both forms. The forms lie side by side; a copy without the bundles shows that the older one is enough.
func TestAttestationsOfTouchmark(t *testing.T) {
	start(t)
	cs := cosigns(t)
	w := newKeyedWorld(t, cs[0], true)
	variables := w.variables(t)
	for i, kind := range []struct{ name, predicate string }{
		{"slsaprovenance1", slsa},
		{"slsaprovenance", `{"builder":{"id":"https://acme.example/builder"},"buildType":"https://acme.example/build"}`},
		{"spdxjson", `{"spdxVersion":"SPDX-2.3","SPDXID":"SPDXRef-DOCUMENT"}`},
		{"cyclonedx", `{"bomFormat":"CycloneDX","specVersion":"1.6"}`},
		{"vuln", `{"invocation":{},"scanner":{"uri":"https://acme.example/scanner"},"metadata":{"scanStartedOn":"2026-01-02T03:04:05Z","scanFinishedOn":"2026-01-02T03:04:05Z"}}`},
		{"openvex", `{"@context":"https://openvex.dev/ns/v0.2.0","statements":[]}`},
		{"custom", `{"reviewed":true}`},
		{"https://acme.example/review/v1", `{"reviewed":true}`},
	} {
		t.Run(kind.name, func(t *testing.T) {
			predicate := w.file(t, "predicate.json", []byte(kind.predicate))
			for j, m := range []mode{{}, {key: true}} {
				image := w.Image(t, "acme/"+m.short(), int64(10*i+j))
				w.expect(t, w.ours(), "", nil, args([]string{"attest", "--type", kind.name, "--predicate", predicate}, w.as(m), []string{image})...)
				legacy := onlyAttestation(t, image)
				for _, c := range cs {
					common := args([]string{"verify-attestation", "--type", kind.name}, c.verifyBundle, []string{"--trusted-root", w.Root})
					w.expect(t, c.client, "", nil, args(common, w.signer(m, alice), []string{image})...)
					w.expect(t, c.client, m.reason(alice, bob), nil, args(common, w.stranger(m), []string{image})...)
					m := mode{legacy: true, key: m.key}
					common = args([]string{"verify-attestation", "--type", kind.name}, c.form(m), []string{"--rekor-url", w.Stack.URL})
					w.expect(t, c.client, "", variables, args(common, w.signer(m, alice), []string{legacy})...)
					w.expect(t, c.client, m.reason(alice, bob), variables, args(common, w.stranger(m), []string{legacy})...)
				}
			}
		})
	}
}

// onlyAttestation copies an image and its .att to another repository.
func onlyAttestation(t *testing.T, image string) string {
	t.Helper()
	repository, _, _ := strings.Cut(image, ":1")
	copied := strings.Replace(image, repository, repository+"-copy", 1)
	digest, err := crane.Digest(image)
	if err != nil {
		t.Fatal(err)
	}
	tag := strings.Replace(digest, ":", "-", 1) + ".att"
	for from, to := range map[string]string{image: copied, repository + ":" + tag: repository + "-copy:" + tag} {
		if err := crane.Copy(from, to); err != nil {
			t.Fatal(err)
		}
	}
	return copied
}

// Files that touchmark signs and attests, both cosigns verify, and the reverse, over both versions of the log.
func TestFilesOfTouchmark(t *testing.T) {
	start(t)
	cs := cosigns(t)
	for _, v2 := range []bool{false, true} {
		w := newKeyedWorld(t, cs[0], true)
		if v2 {
			w.rekorV2()
		}
		file, tampered := w.file(t, "file", []byte("content\n")), w.file(t, "tampered", []byte("Content\n"))
		predicate := w.file(t, "predicate.json", []byte(slsa))
		signed, attested := w.path("signed.json"), w.path("attested.json")
		kind := []string{"--type", "slsaprovenance1"}
		check := func(t *testing.T, m mode) {
			t.Helper()
			trusted := []string{"--trusted-root", w.Root}
			for _, c := range append([]cosign{{client: w.ours()}}, cs...) {
				read := c.verifyBundle
				if c.name != "touchmark" && v2 {
					read = c.readV2()
				}
				verify := args([]string{"verify-blob", "--bundle", signed}, read, trusted)
				verifyAttestation := args([]string{"verify-blob-attestation", "--bundle", attested}, kind, read, trusted)
				for _, common := range [][]string{verify, verifyAttestation} {
					w.expect(t, c.client, "", nil, args(common, w.signer(m, alice), []string{file})...)
					for _, wrong := range [][]string{args(common, w.signer(m, alice), []string{tampered}), args(common, w.stranger(m), []string{file})} {
						if r := w.run(t, c.client, nil, wrong...); r.Status == 0 {
							t.Errorf("%s accepts it: %s", c.name, w.line(c.client, wrong))
						}
					}
				}
			}
		}
		for _, m := range []mode{{}, {key: true}} {
			name := map[bool]string{false: " over Rekor v1, ", true: " over Rekor v2, "}[v2] + m.String()
			t.Run("by touchmark"+name, func(t *testing.T) {
				w.expect(t, w.ours(), "", nil, args([]string{"sign-blob", "--bundle", signed}, w.as(m), []string{file})...)
				w.expect(t, w.ours(), "", nil, args([]string{"attest-blob", "--bundle", attested, "--predicate", predicate}, kind, w.as(m), []string{file})...)
				check(t, m)
			})
			c := cs[0] // 2.6.5 has nothing in this that 3.1.3 has not
			t.Run("by cosign"+name, func(t *testing.T) {
				w.expect(t, c.client, "", nil, args([]string{"sign-blob", "--yes", "--bundle", signed}, w.sign(t, c, m, alice), []string{file})...)
				w.expect(t, c.client, "", nil, args([]string{"attest-blob", "--yes", "--bundle", attested, "--predicate", predicate}, kind, w.sign(t, c, m, alice), []string{file})...)
				check(t, m)
			})
		}
	}
}
