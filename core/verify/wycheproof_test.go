package verify

import (
	"crypto"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/bundle"
)

// wycheproofModule holds the vectors. It has no Go package, so it cannot stand in go.mod; integration/tools.sh fetches it into the module cache.
const wycheproofModule = "github.com/C2SP/wycheproof@v0.0.0-20250901140545-b51abcfb8daf"

// wycheproofFiles are the vectors of the algorithms that this package verifies.
var wycheproofFiles = []struct {
	name string
	hash crypto.Hash
	pss  bool
}{
	{"ecdsa_secp256r1_sha256_test", crypto.SHA256, false}, {"ecdsa_secp256r1_sha512_test", crypto.SHA512, false},
	{"ecdsa_secp384r1_sha256_test", crypto.SHA256, false}, {"ecdsa_secp384r1_sha384_test", crypto.SHA384, false}, {"ecdsa_secp384r1_sha512_test", crypto.SHA512, false},
	{"ecdsa_secp521r1_sha512_test", crypto.SHA512, false}, {"ed25519_test", 0, false},
	{"rsa_signature_2048_sha256_test", crypto.SHA256, false}, {"rsa_signature_2048_sha384_test", crypto.SHA384, false}, {"rsa_signature_2048_sha512_test", crypto.SHA512, false},
	{"rsa_signature_3072_sha256_test", crypto.SHA256, false}, {"rsa_signature_3072_sha384_test", crypto.SHA384, false}, {"rsa_signature_3072_sha512_test", crypto.SHA512, false},
	{"rsa_signature_4096_sha256_test", crypto.SHA256, false}, {"rsa_signature_4096_sha384_test", crypto.SHA384, false}, {"rsa_signature_4096_sha512_test", crypto.SHA512, false},
	{"rsa_pss_2048_sha256_mgf1_0_test", crypto.SHA256, true}, {"rsa_pss_2048_sha256_mgf1_32_test", crypto.SHA256, true}, {"rsa_pss_2048_sha384_mgf1_48_test", crypto.SHA384, true},
	{"rsa_pss_3072_sha256_mgf1_32_test", crypto.SHA256, true}, {"rsa_pss_4096_sha256_mgf1_32_test", crypto.SHA256, true}, {"rsa_pss_4096_sha384_mgf1_48_test", crypto.SHA384, true},
	{"rsa_pss_4096_sha512_mgf1_32_test", crypto.SHA512, true}, {"rsa_pss_4096_sha512_mgf1_64_test", crypto.SHA512, true},
}

// wycheproofVectors is one of the files.
type wycheproofVectors struct {
	TestGroups []struct {
		PublicKeyDER string `json:"publicKeyDer"`
		Tests        []struct {
			ID      int `json:"tcId"`
			Comment string
			Msg     string
			Sig     string
			Result  string
		}
	}
}

func wycheproofDir(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", wycheproofModule).Output()
	var module struct{ Dir string }
	if err == nil {
		err = json.Unmarshal(out, &module)
	}
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("CI=true asks for every test; fetching %s: %v", wycheproofModule, err)
		}
		t.Skipf("fetching %s: %v", wycheproofModule, err)
	}
	return filepath.Join(module.Dir, "testvectors_v1")
}

// TestA157_LIB32_Wycheproof judges each vector as a signature over a text, by a known key and by a certificate's, and as a whole bundle with a signature over the
// digest of that text. With -short it judges every sixteenth.
//
// Some verdicts differ from the vectors' by intent: see [byAnotherScheme]. "Acceptable" PKCS #1 v1.5 signatures, which lack a NULL in the encoded digest, are refused.
func TestA157_LIB32_Wycheproof(t *testing.T) {
	t.Parallel()
	dir := wycheproofDir(t)
	vectors, valid, whole := 0, 0, 0
	for _, file := range wycheproofFiles {
		text, err := os.ReadFile(filepath.Join(dir, file.name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		var all wycheproofVectors
		if err := json.Unmarshal(text, &all); err != nil {
			t.Fatal(err)
		}
		for _, group := range all.TestGroups {
			pub, err := x509.ParsePKIXPublicKey(unhex(t, group.PublicKeyDER))
			if err != nil {
				t.Fatalf("%s: %v", file.name, err)
			}
			key := Key{Name: "key", Public: pub, Hash: file.hash}
			for _, v := range group.Tests {
				vectors++
				if testing.Short() && vectors%16 != 0 {
					continue
				}
				msg, sig := unhex(t, v.Msg), unhex(t, v.Sig)
				want := v.Result == "valid" || byAnotherScheme(v.Comment, file.hash)
				if want {
					valid++
				}
				r := run{Input: Input{Evidence: &bundle.Evidence{Payload: &bundle.Payload{Text: msg, Signature: sig}}}}
				if _, err := r.verifySignature(key, true); (err == nil) != want {
					t.Errorf("%s %d (%s) by a known key: %v, want accepted %v", file.name, v.ID, v.Comment, err, want)
				}
				certified := v.Result == "valid" && !file.pss || file.pss && v.Comment == "PKCS #1 v1.5 signature with "+file.hash.String()
				if _, err := r.verifySignature(key, false); (err == nil) != certified {
					t.Errorf("%s %d (%s) by a certificate: %v, want accepted %v", file.name, v.ID, v.Comment, err, certified)
				}
				if file.hash == 0 || len(sig) == 0 {
					continue // pure Ed25519 signs no digest; no bundle holds an empty signature
				}
				whole++
				if got := acceptsBundle(t, key, msg, sig); got != want {
					t.Errorf("%s %d (%s): the bundle is accepted %v, want %v", file.name, v.ID, v.Comment, got, want)
				}
			}
		}
	}
	t.Logf("%d vectors, of which %d verify; %d as bundles", vectors, valid, whole)
	if vectors < 3469 || (valid < 500 || whole < 3000) && !testing.Short() {
		t.Error("there are fewer vectors than there were")
	}
}

// byAnotherScheme reports whether a vector is a good signature by its key, though not of the scheme or with the length of salt that its file is about. A public key says
// neither, so that both schemes and any salt are accepted from a known key, as the reference does.
func byAnotherScheme(comment string, hash crypto.Hash) bool {
	for _, kind := range []string{"RSASSA-PSS signature", "PKCS #1 v1.5 signature with " + hash.String(), "s_len changed to "} {
		if strings.HasPrefix(comment, kind) {
			return true
		}
	}
	return false
}

// acceptsBundle sends a signature over the digest of a message through a bundle, and verifies that.
func acceptsBundle(t *testing.T, key Key, msg, sig []byte) bool {
	t.Helper()
	h := key.Hash.New()
	h.Write(msg)
	name := strings.ToLower(strings.ReplaceAll(key.Hash.String(), "-", ""))
	artifact := Digest{Algorithm: name, Value: h.Sum(nil)}
	text, err := bundle.Marshal(&bundle.Evidence{
		Form: bundle.FormBundle, MediaType: bundle.MediaTypeV03, KeyHint: "key",
		Message: &bundle.Message{DigestAlgorithm: name, Digest: artifact.Value, Signature: sig},
	})
	if err != nil {
		t.Fatal(err)
	}
	evidence, err := bundle.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Verify(Input{Evidence: evidence, Artifact: artifact, Signer: Keyed(key), InsecureIgnoreLog: true})
	return err == nil
}

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	raw, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
