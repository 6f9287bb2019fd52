package clients

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/integration/internal/lab"
)

// npmVersions are the versions of the packages that are pinned.
func npmVersions(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("npm/package.json")
	if err != nil {
		t.Fatal(err)
	}
	var manifest struct{ Dependencies map[string]string }
	if err := json.Unmarshal(text, &manifest); err != nil {
		t.Fatal(err)
	}
	return manifest.Dependencies
}

// javaScript is Sigstore's JavaScript packages, driven by npm/sigstore.mjs.
func javaScript(t *testing.T) client {
	t.Helper()
	versions := npmVersions(t)
	return client{
		Command: lab.Node(t, coretest.RequireTool(t, "node")), shown: "node",
		name: fmt.Sprintf("@sigstore/sign %s and @sigstore/verify %s", versions["@sigstore/sign"], versions["@sigstore/verify"]),
	}
}

// script is a call of npm/sigstore.mjs.
func script(args ...string) []string { return append([]string{"sigstore.mjs"}, args...) }

// Sigstore's JavaScript packages sign, and cosign verifies; cosign signs, and they verify. See npm/sigstore.mjs.
func TestJavaScript(t *testing.T) {
	start(t)
	c := javaScript(t)
	cosign := cosigns(t)[0]
	w := newWorld(t, true)
	content := []byte("content\n")
	file, tampered := w.file(t, "file", content), w.file(t, "tampered", []byte("Content\n"))
	statement := w.file(t, "statement.json", coretest.Statement(sha256.Sum256(content), "https://slsa.dev/provenance/v1", slsa))
	for form, signed := range map[string]string{"message": file, "dsse": statement} {
		r := w.does(t, c, "signs a file ("+form+")", nil, script("sign", w.Signing, w.token(t, alice), form, signed)...)
		bundle := w.file(t, "file."+form+".json", []byte(r.Stdout))
		w.does(t, c, "verifies a bundle ("+form+")", nil, script("verify", w.Root, bundle, signed, alice, w.Stack.URL)...)
		w.refuses(t, c, "verifies a bundle ("+form+")", "signed by somebody else", "certificate identity error", nil, script("verify", w.Root, bundle, signed, bob, w.Stack.URL)...)
		w.refuses(t, c, "verifies a bundle ("+form+")", "another issuer", "invalid certificate extension", nil, script("verify", w.Root, bundle, signed, alice, "https://issuer.example")...)
		command := []string{"verify-blob"}
		if form == "dsse" {
			command = []string{"verify-blob-attestation", "--type", "slsaprovenance1"}
		}
		common := args(command, []string{"--trusted-root", w.Root, "--bundle", bundle}, w.signer(mode{}, alice))
		w.does(t, cosign.client, map[string]string{"message": "verifies a file, keyless, bundle", "dsse": "verifies a file's attestation"}[form], nil, append(common, file)...)
		if r := w.run(t, cosign.client, nil, append(common, tampered)...); r.Status == 0 {
			t.Errorf("cosign accepts the bundle for another file: %s", r.Output())
		}
	}
	w.refuses(t, c, "verifies a bundle (message)", "changed", "signature verification failed", nil, script("verify", w.Root, w.path("file.message.json"), tampered, alice, w.Stack.URL)...)

	bundle := w.path("file.bundle.json")
	w.does(t, cosign.client, "signs a file, "+mode{}.String(), nil, args([]string{"sign-blob", "--yes"}, w.sign(t, cosign, mode{}, alice), []string{"--bundle", bundle, file})...)
	w.does(t, c, "verifies a bundle (message)", nil, script("verify", w.Root, bundle, file, alice, w.Stack.URL)...)
	stranger := newWorld(t, true)
	w.refuses(t, c, "verifies a bundle (message)", "of another Sigstore", "VerificationError", nil, script("verify", w.call(stranger.Root, "other_trusted_root.json"), bundle, file, alice, w.Stack.URL)...)
}

// Over Rekor v2 the same, but for one thing: this version of @sigstore/verify compares the entry of an envelope with the payload alone. Its version 4.1.3, which needs
// Node 22, knows better.
func TestJavaScriptRekorV2(t *testing.T) {
	start(t)
	c, cosign := javaScript(t), cosigns(t)[0]
	w := newWorld(t, true)
	w.rekorV2()
	content := []byte("content\n")
	file := w.file(t, "file", content)
	statement := w.file(t, "statement.json", coretest.Statement(sha256.Sum256(content), "https://slsa.dev/provenance/v1", slsa))

	const what = "signs a file over Rekor v2 "
	message := w.file(t, "file.message.json", []byte(w.does(t, c, what+"(message)", nil, script("sign", w.Signing, w.token(t, alice), "message", file)...).Stdout))
	w.does(t, c, "verifies a bundle made over Rekor v2 (message)", nil, script("verify", w.Root, message, file, alice, w.Stack.URL)...)
	w.refuses(t, c, "verifies a bundle made over Rekor v2 (message)", "signed by somebody else", "certificate identity error", nil, script("verify", w.Root, message, file, bob, w.Stack.URL)...)

	dsse := w.file(t, "file.dsse.json", []byte(w.does(t, c, what+"(dsse)", nil, script("sign", w.Signing, w.token(t, alice), "dsse", statement)...).Stdout))
	w.refuses(t, c, "verifies a bundle made over Rekor v2 (message)", "any with an envelope", "digest mismatch", nil, script("verify", w.Root, dsse, statement, alice, w.Stack.URL)...)
	common := []string{"verify-blob-attestation", "--type", "slsaprovenance1", "--trusted-root", w.Root, "--bundle", dsse}
	w.does(t, cosign.client, "verifies a file's attestation", nil, args(common, w.signer(mode{}, alice), []string{file})...)
	w.refuses(t, cosign.client, "verifies a file's attestation", "signed by somebody else", mode{}.reason(alice, bob), nil, args(common, w.signer(mode{}, bob), []string{file})...)
}
