package signcmd

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/commandtest"
)

const provenance = `{"buildDefinition":{"buildType":"t"},"runDetails":{"builder":{"id":"b"}}}`

// file writes a file into a directory of the test's own.

func TestA003_A041_Blobs(t *testing.T) {
	server, root, key, _ := commandtest.Stack(t)
	_, foreign, _, _ := commandtest.Stack(t)
	content, tampered, predicate := commandtest.WriteFile(t, "app.tar", "content"), commandtest.WriteFile(t, "app.tar", "Content"), commandtest.WriteFile(t, "predicate.json", provenance)
	alice := []string{"--certificate-identity", "alice@acme.example", "--certificate-oidc-issuer", server}
	bob := []string{"--certificate-identity", "bob@acme.example", "--certificate-oidc-issuer", server}
	byKey := []string{"--key", commandtest.PublicKey(t, key)}
	dir := t.TempDir()
	for name, signer := range map[string][]string{"alice": {"--as", "alice@acme.example"}, "key": {"--key", key}, "nolog": {"--key", key, "--tlog-upload=false"}} {
		args := slices.Concat([]string{"--server", server, "--trusted-root", root}, signer)
		for kind, command := range map[string][]string{"signed": {"sign-blob"}, "attested": {"attest-blob", "--type", "slsaprovenance1", "--predicate", predicate}} {
			status, stdout, stderr := touchmark(t, slices.Concat(command, args, []string{"--bundle", filepath.Join(dir, kind+name), content})...)
			if status != 0 || stdout != "" || !strings.Contains(stderr, kind+": "+content) {
				t.Fatalf("%s %s: status %d, %s%s", kind, name, status, stdout, stderr)
			}
		}
	}
	trusted := []string{"--trusted-root", root}
	signed := func(name string) []string {
		return []string{"verify-blob", "--bundle", filepath.Join(dir, "signed"+name)}
	}
	attested := func(name, kind string) []string {
		return []string{"verify-blob-attestation", "--type", kind, "--bundle", filepath.Join(dir, "attested"+name)}
	}
	for _, tt := range []struct {
		name   string
		args   [][]string
		file   string
		status int
		want   string
	}{
		{"alice's", [][]string{signed("alice"), trusted, alice}, content, 0, "signed by alice@acme.example"},
		{"alice's, changed", [][]string{signed("alice"), trusted, alice}, tampered, 1, "artifact digest"},
		{"not bob's", [][]string{signed("alice"), trusted, bob}, content, 1, "wanted is"},
		{"not a key's", [][]string{signed("alice"), trusted, byKey}, content, 1, "refused"},
		{"a foreign root", [][]string{signed("alice"), {"--trusted-root", foreign}, alice}, content, 1, "refused"},
		{"one root of two", [][]string{signed("alice"), {"--trusted-root", "a=" + foreign, "--trusted-root", "b=" + root}, alice}, content, 0, "verified"},
		{"no root of two", [][]string{signed("alice"), {"--trusted-root", "a=" + foreign, "--trusted-root", "b=" + foreign}, alice}, content, 1, "under trust root b"},
		{"key's", [][]string{signed("key"), trusted, byKey}, content, 0, "verified"},
		{"without a log", [][]string{signed("nolog"), trusted, byKey}, content, 1, "log"},
		{"without a log, accepted", [][]string{signed("nolog"), byKey, {"--insecure-ignore-tlog"}}, content, 0, "verified"},
		{"attested", [][]string{attested("alice", "slsaprovenance1"), trusted, alice}, content, 0, "verified"},
		{"attested, changed", [][]string{attested("alice", "slsaprovenance1"), trusted, alice}, tampered, 1, "refused"},
		{"attested something else", [][]string{attested("alice", "spdx"), trusted, alice}, content, 1, "wanted is https://spdx.dev/Document"},
		{"an attestation is no signature", [][]string{{"verify-blob", "--bundle", filepath.Join(dir, "attestedalice")}, trusted, alice}, content, 1, "refused"},
		{"a signature is no attestation", [][]string{{"verify-blob-attestation", "--type", "slsaprovenance1", "--bundle", filepath.Join(dir, "signedalice")}, trusted, alice}, content, 1, "refused"},
		{"the statement", [][]string{attested("key", "slsaprovenance1"), trusted, byKey, {"-o", "statement"}}, content, 0, `"predicateType":"https://slsa.dev/provenance/v1"`},
		{"no bundle", [][]string{{"verify-blob"}, trusted, alice}, content, 2, "--bundle is missing"},
		{"no such bundle", [][]string{signed("none"), trusted, alice}, content, 2, "--bundle"},
		{"no bundle in it", [][]string{{"verify-blob", "--bundle", content}, trusted, alice}, content, 1, "refused"},
		{"no such file", [][]string{signed("alice"), trusted, alice}, content + ".none", 2, "no such file"},
		{"a directory", [][]string{signed("alice"), trusted, alice}, dir, 2, "directory"},
		{"nobody", [][]string{signed("alice"), trusted}, content, 2, "who must have signed"},
		{"two", [][]string{signed("alice"), trusted, alice, byKey}, content, 2, "who must have signed"},
		{"no root", [][]string{signed("alice"), alice}, content, 2, "--trusted-root"},
		{"no type", [][]string{{"verify-blob-attestation", "--bundle", filepath.Join(dir, "attestedalice")}, trusted, alice}, content, 2, "--type is missing"},
		{"wrong type", [][]string{attested("alice", "sbom"), trusted, alice}, content, 2, "slsaprovenance1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, stdout, stderr := touchmark(t, append(slices.Concat(tt.args...), tt.file)...)
			if status != tt.status || !strings.Contains(stdout+stderr, tt.want) {
				t.Errorf("status %d, want %d with %q; %s%s", status, tt.status, tt.want, stdout, stderr)
			}
		})
	}
	status, stdout, _ := touchmark(t, append(slices.Concat(signed("alice"), trusted, alice), "-o", "json", content)...)
	var result struct {
		Digest string
		Signer struct{ Identity struct{ Issuer string } }
	}
	if err := json.Unmarshal([]byte(stdout), &result); err != nil || status != 0 || result.Signer.Identity.Issuer != server || !strings.HasPrefix(result.Digest, "sha256:") {
		t.Errorf("status %d, %v, %s", status, err, stdout)
	}
}

func TestBlobRefuses(t *testing.T) {
	server, _, key, _ := commandtest.Stack(t)
	content, bundle := commandtest.WriteFile(t, "app.tar", "content"), filepath.Join(t.TempDir(), "bundle")
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"no bundle", []string{"sign-blob", "--key", key, content}, "--bundle is missing"},
		{"two files", []string{"sign-blob", "--key", key, "--bundle", bundle, content, content}, "exactly one file"},
		{"no such file", []string{"sign-blob", "--key", key, "--bundle", bundle, content + ".none"}, "no such file"},
		{"no predicate", []string{"attest-blob", "--key", key, "--bundle", bundle, "--type", "custom", content}, "--predicate is missing"},
		{"no type", []string{"attest-blob", "--key", key, "--bundle", bundle, "--predicate", content, content}, "--type is missing"},
		{"predicate of another shape", []string{"attest-blob", "--key", key, "--bundle", bundle, "--type", "spdx", "--predicate", commandtest.WriteFile(t, "p", provenance), content}, "spdxVersion is missing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, stdout, stderr := touchmark(t, append(tt.args, "--server", server)...)
			if status != 2 || !strings.Contains(stderr, tt.want) {
				t.Errorf("status %d, %s%s", status, stdout, stderr)
			}
			if _, err := os.Stat(bundle); err == nil {
				t.Error("a bundle was written")
			}
		})
	}
}

// An attestation of an image is written in both forms, and a predicate that is refused leaves no trace.
func TestAttestImage(t *testing.T) {
	server, root, key, image := commandtest.Stack(t)
	predicate := commandtest.WriteFile(t, "predicate.json", provenance)
	status, stdout, stderr := touchmark(t, "attest", "--server", server, "--key", key, "--trusted-root", root, "--type", "slsaprovenance1", "--predicate", predicate, image)
	if status != 0 || !strings.Contains(stdout, "attested: ") || !strings.Contains(stdout, "https://slsa.dev/provenance/v1") || strings.Count(stdout, "log index") != 1 {
		t.Errorf("status %d, %s%s", status, stdout, stderr)
	}
	status, stdout, stderr = touchmark(t, "attest", "--server", server, "--key", key, "--recursive", "-o", "json", "--type", "custom", "--predicate", predicate, image)
	if status != 0 || !bytes.Contains([]byte(stdout), []byte(`"platform": "linux/arm64"`)) {
		t.Errorf("status %d, %s%s", status, stdout, stderr)
	}
	status, stdout, stderr = touchmark(t, "attest", "--server", server, "--key", key, "--type", "cyclonedx", "--predicate", predicate, image)
	if status != 2 || !strings.Contains(stderr, "bomFormat is missing") || stdout != "" {
		t.Errorf("status %d, %s%s", status, stdout, stderr)
	}
}
