package oracles

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/verify"
)

// sigstoreGo returns the directory of sigstore-go's module. It ships bundles that others made, with the trust roots to verify them.
func sigstoreGo(tb testing.TB) string {
	tb.Helper()
	out, err := exec.CommandContext(tb.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/sigstore/sigstore-go").Output()
	if err != nil {
		tb.Fatalf("finding sigstore-go in the module cache: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// read returns the content of a file.
func read(tb testing.TB, path string) []byte {
	tb.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return content
}

// glob returns the files that match a pattern in sigstore-go's module; none is a failure: a renamed directory must not pass as "everything verified".
func glob(tb testing.TB, pattern string) []string {
	tb.Helper()
	files, err := filepath.Glob(filepath.Join(sigstoreGo(tb), filepath.FromSlash(pattern)))
	if err != nil {
		tb.Fatal(err)
	}
	if len(files) == 0 {
		tb.Fatalf("sigstore-go ships no %s", pattern)
	}
	return files
}

// fixtures returns every bundle that sigstore-go ships under every trust root that it ships: good ones, ones with two signatures, ones under foreign roots.
func fixtures(tb testing.TB) []sample {
	tb.Helper()
	bundles := append(glob(tb, "examples/bundle-*.json"), glob(tb, "pkg/testing/data/bundles/*.json")...)
	var samples []sample
	for _, rootFile := range glob(tb, "pkg/testing/data/trusted-roots/*.json") {
		for _, bundleFile := range bundles {
			s := sample{
				name:   filepath.Base(bundleFile) + " under " + filepath.Base(rootFile),
				bundle: read(tb, bundleFile), root: read(tb, rootFile),
			}
			s.describe(tb)
			keyFile := strings.TrimSuffix(bundleFile, ".sigstore.json")
			keyFile = filepath.Join(filepath.Dir(filepath.Dir(keyFile)), "public-keys", filepath.Base(keyFile)+".pem")
			if _, err := os.Stat(keyFile); err == nil {
				block, _ := pem.Decode(read(tb, keyFile))
				if s.key, err = x509.ParsePKIXPublicKey(block.Bytes); err != nil {
					tb.Fatal(err)
				}
				s.withoutLog = true
			}
			samples = append(samples, s)
		}
	}
	return samples
}

// describe fills in what a bundle claims to be about. That is for a test to do only: a verifier must know it beforehand.
func (s *sample) describe(tb testing.TB) {
	tb.Helper()
	var b struct {
		DSSEEnvelope     *struct{ Payload []byte }
		MessageSignature *struct {
			MessageDigest *struct{ Digest []byte }
		}
	}
	if err := json.Unmarshal(s.bundle, &b); err != nil {
		tb.Fatalf("%s: %v", s.name, err)
	}
	if b.DSSEEnvelope == nil {
		// One fixture leaves the digest out; sigstore-go's tests say what was signed.
		sum := sha256.Sum256([]byte("test content"))
		if s.digest = verify.SHA256(sum); b.MessageSignature.MessageDigest != nil {
			s.digest.Value = b.MessageSignature.MessageDigest.Digest
		}
		return
	}
	var statement struct {
		Subject       []struct{ Digest map[string]string }
		PredicateType string
	}
	if err := json.Unmarshal(b.DSSEEnvelope.Payload, &statement); err != nil {
		tb.Fatalf("%s: %v", s.name, err)
	}
	s.predicateType = statement.PredicateType
	for algorithm, text := range statement.Subject[0].Digest {
		var err error
		if s.digest, err = parseDigest(algorithm, text); err != nil {
			tb.Fatalf("%s: %v", s.name, err)
		}
	}
}

// decode64 decodes standard base64, the only alphabet of bundles.
func decode64(text string) ([]byte, error) { return base64.StdEncoding.DecodeString(text) }
