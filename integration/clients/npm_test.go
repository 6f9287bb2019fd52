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

// Sigstore's JavaScript packages sign, and cosign verifies; cosign signs, and they verify. See npm/sigstore.mjs.
func TestJavaScript(t *testing.T) {
	start(t)
	versions := npmVersions(t)
	c := client{Command: lab.Node(t, coretest.RequireTool(t, "node")), name: fmt.Sprintf("@sigstore/sign %s and @sigstore/verify %s", versions["@sigstore/sign"], versions["@sigstore/verify"]), shown: "node"}
	cosign := cosigns(t)[0]
	w := newWorld(t, true)
	content := []byte("content\n")
	file, tampered := w.file(t, "file", content), w.file(t, "tampered", []byte("Content\n"))
	statement := w.file(t, "statement.json", coretest.Statement(sha256.Sum256(content), "https://slsa.dev/provenance/v1", slsa))
	script := func(args ...string) []string { return append([]string{"sigstore.mjs"}, args...) }
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
